"""Questions to NanoDet's own modules, answered as JSON or arrays. Runs in the model's environment, not under pytest.

inspect_nanodet.py MODEL_FOLDER QUESTION FOLDER
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [sys.argv[1]]

import demo  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from nanodet import boxes, conversion, weights  # noqa: E402
from nanodet.classes import CLASSES  # noqa: E402
from nanodet.config import read_config  # noqa: E402
from nanodet.pictures import place  # noqa: E402
from PIL import Image  # noqa: E402

from worker.adapter import DataError, Settings  # noqa: E402

CONFIG = Path(sys.argv[1]) / "configs" / "nanodet-g-416.json"


def stated(folder: Path) -> dict[str, Any]:
    """What the code says of itself, to be held against model.toml."""
    config = read_config(CONFIG)
    return {"classes": CLASSES, "min_confidence": config.min_confidence, "nms_iou": config.nms_iou}


def suppressed(folder: Path) -> list[int]:
    """Which of the boxes in boxes.npz stay."""
    given = np.load(folder / "boxes.npz")
    kept = boxes.suppress(given["corners"], given["confidences"], given["classes"], 0.6)
    return [int(one) for one in kept]


def decoded(folder: Path) -> dict[str, Any]:
    """The boxes of one cell whose distributions have a single bin each, and of one with two equal bins."""
    config = read_config(CONFIG)
    scores = [np.zeros(((416 // stride) ** 2, 80), np.float32) for stride in config.strides]
    distances = [np.zeros((len(level), 44), np.float32) for level in scores]
    cell = 5 * 26 + 7
    scores[1][cell, 2] = 0.9
    sides = np.full((4, 11), -100.0, np.float32)
    for side, bin_ in enumerate((1, 2, 3, 4)):
        sides[side, bin_] = 0.0
    sides[3, 5] = 0.0
    distances[1][cell] = sides.reshape(-1)
    found = boxes.decode(scores, distances, config)
    return {
        "corners": found.corners.tolist(),
        "confidences": found.confidences.tolist(),
        "classes": found.classes.tolist(),
    }


def placed(folder: Path) -> dict[str, Any]:
    """A picture of 832x416 that brightens from left to right, as the network gets it; and boxes on the way back."""
    ramp = np.tile(np.linspace(0, 255, 832)[None, :, None], (416, 1, 3)).astype(np.uint8)
    ramp[..., 0] = 10
    picture = place(Image.fromarray(ramp), read_config(CONFIG))
    mean, std = np.array([103.53, 116.28, 123.675]), np.array([57.375, 57.12, 58.395])
    pixels = picture.pixels * std[:, None, None] + mean[:, None, None]
    back = picture.placement.to_original(np.array([[0.0, 104.0, 416.0, 312.0], [-9.0, 100.0, 208.0, 208.0]]))
    return {
        "above": pixels[:, 50, 200].tolist(),
        "left": pixels[:, 200, 10].tolist(),
        "right": pixels[:, 200, 400].tolist(),
        "back": back.tolist(),
    }


def converted(folder: Path) -> list[str]:
    """Run the graph on input.f4 and write each output's values to <name>.f4; returns the outputs' names."""
    model = conversion.to_onnx(weights.read_graph_model(folder / "weights.safetensors"))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = np.fromfile(folder / "input.f4", np.float32).reshape(1, 3, 416, 416)
    names = [output.name for output in session.get_outputs()]
    for name, values in zip(names, session.run(names, {session.get_inputs()[0].name: pixels}), strict=True):
        values.tofile(folder / f"{name}.f4")
    return names


def refused(folder: Path) -> list[str]:
    """What is said of a graph with an unknown operation, of files that are none, and of pictures that are none."""
    said = []
    output = {"y": {"name": "y:0", "tensorShape": {"dim": [{"size": "1"}]}}}
    graph = weights.GraphModel({"inputs": {}, "outputs": output}, [{"name": "y", "op": "Softmax"}], {})
    (folder / "no.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (folder / "no.json").write_text('{"input_size": 416, "colour": "blue"}')
    attempts: list[Callable[[], Any]] = [
        lambda: conversion.to_onnx(graph),
        lambda: weights.read_graph_model(folder / "no.safetensors"),
        lambda: read_config(folder / "no.json"),
    ]
    for attempt in attempts:
        try:
            attempt()
        except ValueError as error:
            said.append(str(error))
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    adapter = demo.NanoDet()
    adapter._config = read_config(CONFIG)
    for cameras in ({"IMAGE": {"path": str(folder / "torn.jpg")}}, {"IMAGE": {"path": str(folder / "none.jpg")}}, {}):
        try:
            adapter.prepare({"sample_token": "t", "cameras": cameras})
        except DataError as error:
            said.append(str(error))
    return said


def batched(folder: Path) -> bool:
    """Whether three samples give the same to the last bit alone, together, and in another order."""
    adapter = demo.NanoDet()
    adapter.load(Settings(config=str(CONFIG), checkpoint=str(folder / "weights.safetensors")))
    rng = np.random.default_rng(0)
    samples = []
    for number, (width, height) in enumerate(((640, 360), (300, 500), (416, 416))):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(path)
        samples.append({"sample_token": str(number), "cameras": {"IMAGE": {"path": str(path)}}})
    inputs = [adapter.prepare(sample) for sample in samples]

    def outputs(raws: list[Any], order: list[int]) -> list[Any]:
        return [adapter.convert(raw, samples[index]) for raw, index in zip(raws, order, strict=True)]

    alone = outputs([adapter.forward(one) for one in inputs], [0, 1, 2])
    together = outputs(adapter.forward_batch(inputs), [0, 1, 2])
    turned = outputs(adapter.forward_batch(inputs[::-1]), [2, 1, 0])[::-1]
    return alone == together == turned and all(one["detections_2d"] for one in alone)


if __name__ == "__main__":
    questions = {f.__name__: f for f in (stated, suppressed, decoded, placed, converted, refused, batched)}
    print(json.dumps(questions[sys.argv[2]](Path(sys.argv[3]))))
