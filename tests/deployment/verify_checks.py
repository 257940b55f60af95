"""Holds small ONNX files, wrong in one way each, against a network in NumPy; runs in tools/onnx.

Usage: verify_checks.py RUNNERS_FOLDER OUT_FOLDER. Prints JSON: case → what `worker.verify` found of it.

The network: found = image · rig + memory, and remembered = found. The rig comes from a camera's extrinsics.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])
FOLDER = Path(sys.argv[2])

import numpy as np  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from worker.adapter import Adapter  # noqa: E402
from worker.network import PIXELS, Network, Paired, TensorSpec  # noqa: E402
from worker.onnx_file import FileError, save  # noqa: E402
from worker.parting import Seen, every_tensor, first_parting  # noqa: E402
from worker.rows import pair_rows  # noqa: E402
from worker.runtimes.base import load_runtime  # noqa: E402
from worker.samples.moved_rig import move_rig  # noqa: E402
from worker.verify import compare, verify_file  # noqa: E402

RUNTIME = load_runtime({"id": "onnxruntime", "file": str(Path(sys.argv[1]) / "worker" / "runtimes" / "onnxruntime.py")})
FLOAT, HALF, DOUBLE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE
POSE = {"translation": [1.5, 0.0, 1.6], "rotation_wxyz": [0.5, -0.5, 0.5, -0.5]}
SAMPLES = [
    {"scene": "scene-1", "sample_token": str(i), "cameras": {"CAM_FRONT": {"sensor2ego": POSE}}} for i in range(4)
]


class Small(Adapter):
    name = "Small"

    def prepare(self, sample: dict[str, Any]) -> Any:
        return sample


class SmallNetwork(Network):
    carried: Mapping[str, str] = {"remembered": "memory"}

    def inputs(self) -> Sequence[TensorSpec]:
        return (
            TensorSpec("image", "float32", (3, 4)),
            TensorSpec("rig", "float32", (4, 4)),
            TensorSpec("memory", "float32", (3, 4)),
        )

    def outputs(self) -> Sequence[TensorSpec]:
        return (TensorSpec("found", "float32", (3, 4)), TensorSpec("remembered", "float32", (3, 4)))

    def feeds(self, sample: Any) -> list[dict[str, Any]]:
        image = np.random.default_rng(int(sample["sample_token"])).standard_normal((3, 4)).astype(np.float32)
        return [{"image": image, "rig": rig_of(sample)}]


class Blind(SmallNetwork):
    """Gets nothing of the rig that a sample has."""

    def feeds(self, sample: Any) -> list[dict[str, Any]]:
        return [{**feed, "rig": np.eye(4, dtype=np.float32)} for feed in super().feeds(sample)]


class Proposals(Network):
    """200 boxes of a picture of 1333x800 pixels, from the best to the worst, and what is said of each."""

    def inputs(self) -> Sequence[TensorSpec]:
        return (TensorSpec("corners", "float32", (200, 4)), TensorSpec("logits", "float32", (200, 3)))

    def outputs(self) -> Sequence[TensorSpec]:
        return (TensorSpec("boxes", "float32", (200, 4), PIXELS), TensorSpec("scores", "float32", (200, 3)))

    def feeds(self, sample: Any) -> list[dict[str, Any]]:
        random = np.random.default_rng(int(sample["sample_token"]))
        corners = random.uniform(0, 1, (200, 4)) * (1333, 800, 1333, 800)
        return [{"corners": corners.astype(np.float32), "logits": random.normal(size=(200, 3)).astype(np.float32)}]

    def pair(self, ours: dict[str, Any], theirs: dict[str, Any]) -> Paired:
        return pair_rows(("boxes", "scores"), "boxes", ours, theirs)


NETWORK = SmallNetwork(Small())


def rig_of(sample: Mapping[str, Any]) -> Any:
    pose = sample["cameras"]["CAM_FRONT"]["sensor2ego"]
    rig = np.eye(4, dtype=np.float32)
    rig[:3, 3] = pose["translation"]
    rig[3] = pose["rotation_wxyz"]
    return rig


def reference(whole: dict[str, Any]) -> dict[str, Any]:
    found = whole["image"] @ whole["rig"] + whole["memory"]
    return {"found": found, "remembered": found}


def value(name: str, shape: list[int], kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[Any],
    *,
    constants: Sequence[tuple[str, Any]] = (),
    inputs: Sequence[str] = ("image", "rig", "memory"),
    opset: int = 17,
    domains: Sequence[str] = (),
) -> Any:
    shapes = {"image": [3, 4], "rig": [4, 4], "memory": [3, 4]}
    graph = helper.make_graph(
        nodes,
        "small",
        [value(name, shapes[name]) for name in inputs],
        [value("found", [3, 4]), value("remembered", [3, 4])],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(kind: str, inputs: list[str], outputs: list[str], **more: Any) -> Any:
    return helper.make_node(kind, inputs, outputs, **more)


def end(product: str = "turned") -> list[Any]:
    return [node("Add", [product, "memory"], ["found"]), node("Identity", ["found"], ["remembered"])]


def right(opset: int = 17) -> Any:
    return model([node("MatMul", ["image", "rig"], ["turned"]), *end()], opset=opset)


def off_by(amount: float) -> Any:
    """Every frame is a little off: carried on by itself that would add up."""
    constants = [("off", np.array([amount], np.float32))]
    return model(
        [node("MatMul", ["image", "rig"], ["exact"]), node("Add", ["exact", "off"], ["turned"]), *end()],
        constants=constants,
    )


def baked_in() -> Any:
    constants = [("constant", rig_of(SAMPLES[0]))]
    return model(
        [node("MatMul", ["image", "constant"], ["turned"]), *end()], constants=constants, inputs=("image", "memory")
    )


def baked_in_unseen() -> Any:
    """The rig is an input that something depends on, and what counts is a constant: only another rig tells."""
    constants = [("constant", rig_of(SAMPLES[0])), ("nothing", np.array([0.0], np.float32))]
    nodes = [
        node("MatMul", ["image", "rig"], ["asked"]),
        node("Mul", ["asked", "nothing"], ["ignored"]),
        node("MatMul", ["image", "constant"], ["baked"]),
        node("Add", ["baked", "ignored"], ["turned"]),
    ]
    return model([*nodes, *end()], constants=constants)


def with_float64() -> Any:
    constants = [("double", np.eye(4, dtype=np.float64))]
    nodes = [
        node("Cast", ["double"], ["single"], to=FLOAT),
        node("MatMul", ["rig", "single"], ["same"]),
        node("MatMul", ["image", "same"], ["turned"]),
    ]
    return model([*nodes, *end()], constants=constants)


def custom() -> Any:
    nodes = [node("BevPool", ["image", "rig"], ["turned"], domain="autoware")]
    return model([*nodes, *end()], domains=["autoware"])


def half() -> Any:
    constants = [("identity", np.eye(4, dtype=np.float16))]
    nodes = [
        node("Cast", ["image"], ["image16"], to=HALF),
        node("MatMul", ["image16", "identity"], ["same16"]),
        node("Cast", ["same16"], ["same"], to=FLOAT),
        node("MatMul", ["same", "rig"], ["turned"]),
    ]
    return model([*nodes, *end()], constants=constants)


def not_finite() -> Any:
    constants = [("zero", np.array([0.0], np.float32))]
    nodes = [node("MatMul", ["image", "rig"], ["product"]), node("Div", ["product", "zero"], ["turned"])]
    return model([*nodes, *end()], constants=constants)


def look(made: Any, name: str, *, device: str = "cpu", called: str | None = None, opset: int = 17) -> dict[str, Any]:
    """What both steps say of a file."""
    file = str(FOLDER / (name + ".onnx"))
    if made is not None:
        save(made, file)
    request = {"file": file, "precision": called, "opset": opset}
    try:
        facts, session = verify_file(NETWORK, RUNTIME, device=device, request=request)
    except FileError as error:
        return {"file": {"fault": error.fault, "reason": str(error)}}
    tensors, worst = compare(NETWORK, reference, session.run, SAMPLES)
    assert worst is not None
    return {"file": facts, "tensors": [one.to_json() for one in tensors], "worst": [worst.rig, worst.number]}


def fell_back() -> dict[str, Any]:
    """A package that has the GPU's provider, whose libraries do not load: ONNX Runtime takes the CPU and warns."""
    import onnxruntime

    own = onnxruntime.get_available_providers
    onnxruntime.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    try:
        return look(right(), "fell_back", device="cuda:0")
    finally:
        onnxruntime.get_available_providers = own


def rows() -> dict[str, Any]:
    """Boxes and their scores: in another order, one a little off, and one lost for another."""
    boxes = np.arange(12, dtype=np.float32).reshape(6, 2) * 100
    scores = np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    order = np.array([1, 0, 2, 5, 3, 4])
    moved = boxes[order] + np.float32(0.01)
    found = {}
    cases = {"another order": moved, "one lost": np.concatenate([moved[:5], [[7, 9999]]]), "a pixel": moved + 1}
    for name, own in cases.items():
        paired = pair_rows(
            ("boxes", "scores"),
            "boxes",
            {"boxes": own.astype(np.float32), "scores": scores[order], "other": boxes},
            {"boxes": boxes, "scores": scores, "other": boxes},
        )
        found[name] = {
            "apart": float(np.abs(paired.ours["boxes"] - paired.theirs["boxes"]).max(initial=0.0)),
            "scores": float(np.abs(paired.ours["scores"] - paired.theirs["scores"]).max(initial=0.0)),
            "unpaired": paired.unpaired,
            "rows": len(paired.ours["boxes"]),
        }
    fewer = pair_rows(("boxes",), "boxes", {"boxes": boxes[:5]}, {"boxes": boxes})
    found["fewer"] = {"unpaired": fewer.unpaired, "rows": len(fewer.theirs["boxes"])}
    return found


def proposals(boxes_off: Any, scores_off: Any = 0.0) -> list[Any]:
    """What is found of a file whose boxes and scores are off by so much, a number or one for every row."""
    constants = [
        (name, np.broadcast_to(np.float32(off), shape).copy())
        for name, off, shape in (("boxes_off", boxes_off, (200, 4)), ("scores_off", scores_off, (200, 3)))
    ]
    graph = helper.make_graph(
        [node("Add", ["corners", "boxes_off"], ["boxes"]), node("Add", ["logits", "scores_off"], ["scores"])],
        "proposals",
        [value("corners", [200, 4]), value("logits", [200, 3])],
        [value("boxes", [200, 4]), value("scores", [200, 3])],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    file = str(FOLDER / "proposals.onnx")
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    network = Proposals(Small())
    _, session = verify_file(network, RUNTIME, device="cpu", request={"file": file, "opset": 17})

    def right(whole: dict[str, Any]) -> dict[str, Any]:
        return {"boxes": whole["corners"], "scores": whole["logits"]}

    tensors, _ = compare(network, right, session.run, SAMPLES)
    return [one.to_json() for one in tensors]


def some_rows(count: int, off: float) -> Any:
    """One number a row: `off` in the first rows, which are the best, and 0 in the others."""
    return np.where(np.arange(200) < count, off, 0.0)[:, None]


def blind() -> list[str]:
    """The rigs on which a network is compared that gets nothing of them."""
    tensors, _ = compare(Blind(Small()), reference, reference, SAMPLES)
    return [one.rig for one in tensors]


def parting() -> dict[str, Any]:
    """A file that turns the wrong way in its third module; the first module is folded into the second."""
    constants = [("wrong", np.array([1.01], np.float32))]
    nodes = [
        node("MatMul", ["image", "rig"], ["normed"]),
        node("Relu", ["normed"], ["active"]),
        node("Mul", ["active", "wrong"], ["scaled"]),
        node("Add", ["scaled", "memory"], ["found"]),
        node("Identity", ["found"], ["remembered"]),
    ]
    file = str(FOLDER / "parting.onnx")
    save(model(nodes, constants=constants), file)
    whole = {**NETWORK.feeds(SAMPLES[0])[0], "memory": np.ones((3, 4), np.float32)}
    normed = whole["image"] @ whole["rig"]
    active = np.maximum(normed, 0)
    seen = [
        Seen("body.conv", "Conv2d", normed * 3),
        Seen("body.norm", "BatchNorm2d", normed),
        Seen("body.relu", "ReLU", active),
        Seen("head.scale", "Scale", active),
        Seen("head", "Head", active + whole["memory"]),
    ]
    seen[3] = Seen("head.scale", "Scale", active * 1.5)
    tensors = every_tensor(RUNTIME, file, whole, device="cpu")
    return {"wrong": first_parting(seen, tensors, 1e-3), "right": first_parting(seen[:3], tensors, 1e-3)}


def main() -> None:
    (FOLDER / "garbage.onnx").write_bytes(b"no file of ONNX")
    print(
        json.dumps(
            {
                "right": look(right(), "right", called="auto"),
                "a little off": look(off_by(5e-4), "off"),
                "too far off": look(off_by(5e-3), "far"),
                "baked in": look(baked_in(), "baked"),
                "baked in unseen": look(baked_in_unseen(), "unseen"),
                "float64": look(with_float64(), "double"),
                "opset": look(right(opset=16), "opset"),
                "custom operator": look(custom(), "custom"),
                "half": look(half(), "half", called="fp16"),
                "fp32 called fp16": look(right(), "called", called="fp16"),
                "fp16 called fp32": look(half(), "called32", called="auto"),
                "provider": look(right(), "provider", device="cuda:0"),
                "fell back": fell_back(),
                "rows": rows(),
                "proposals": {
                    "a twentieth of a pixel": proposals(0.05),
                    "half a pixel": proposals(0.5),
                    "half a pixel in three rows": proposals(some_rows(3, 0.5)),
                    "scores off": proposals(0.0, 0.01),
                    "a score off": proposals(0.0, some_rows(1, 0.01)),
                    "a row elsewhere": proposals(some_rows(1, 50.0)),
                    "three rows elsewhere": proposals(some_rows(3, 50.0)),
                    "a row that is no number": proposals(some_rows(1, np.nan)),
                },
                "blind": blind(),
                "not finite": look(not_finite(), "nan"),
                "garbage": look(None, "garbage"),
                "parting": parting(),
                "moved": move_rig(SAMPLES[0])["cameras"]["CAM_FRONT"]["sensor2ego"],
            }
        )
    )


if __name__ == "__main__":
    main()
