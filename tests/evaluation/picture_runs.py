"""Small data sets of single pictures with cars, and runs on them whose records are given."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from admlops.datasets.base import Dataset, open_data
from admlops.datasets.nuscenes.tables import tokens_digest
from admlops.results.header import DataInfo, DeviceInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.record import Detection2D, Metadata, Outputs
from admlops.results.record_json import make_record
from admlops.results.run_folder import RunFolder

SIZE = (160, 120)
IMAGE = "IMAGE"
Box = tuple[float, float, float, float]
Found = tuple[str, float, Box]
"""Class, confidence, x1 y1 x2 y2."""


def cars_of(index: int) -> list[Box]:
    """The cars of a picture, x1 y1 x2 y2: none in every fourth one, else one to three."""
    return [(10.0 + 45 * k, 20.0 + index % 7, 45.0 + 45 * k, 50.0 + index % 7) for k in range(index % 4)]


def write_pictures(root: Path, count: int) -> Dataset:
    """A folder of pictures with labels in COCO's form: category 3 is car, 8 truck."""
    (root / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        pixels = np.full((SIZE[1], SIZE[0], 3), 120 + index % 100, np.uint8)
        for x1, y1, x2, y2 in cars_of(index):
            pixels[int(y1) : int(y2), int(x1) : int(x2)] = (30, 60, 160)
        Image.fromarray(pixels).save(root / "images" / f"{index:04}.png")
        images.append({"id": index + 1, "file_name": f"{index:04}.png", "width": SIZE[0], "height": SIZE[1]})
        for x1, y1, x2, y2 in cars_of(index):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": index + 1, "category_id": 3, **box})
    categories = [{"id": 3, "name": "car"}, {"id": 8, "name": "truck"}]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (root / "annotations.json").write_text(json.dumps(content))
    return open_data(root)


def write_counted(root: Path, count: int) -> Dataset:
    """The same pictures in a list with numbers of cars alone."""
    write_pictures(root, count)
    (root / "annotations.json").unlink()
    rows = [
        {"image_path": f"images/{index:04}.png", "car_count": len(cars_of(index)), "description": "generated"}
        for index in range(count)
    ]
    (root / "list.json").write_text(json.dumps(rows))
    return open_data(root / "list.json")


def finder(share: float, *, seed: int, as_truck: float = 0.0) -> Callable[[int], list[Found]]:
    """A detector that finds a share of the cars, some of them as trucks, with a false alarm in every fifth picture."""

    def find(index: int) -> list[Found]:
        rng = np.random.default_rng((seed, index))
        found: list[Found] = []
        for x1, y1, x2, y2 in cars_of(index):
            if rng.uniform() < share:
                name = "truck" if rng.uniform() < as_truck else "car"
                found.append((name, float(rng.uniform(0.4, 0.99)), (x1 + 1, y1, x2 + 1, y2)))
        if index % 5 == 0:
            found.append(("car", float(rng.uniform(0.1, 0.6)), (100.0, 80.0, 150.0, 110.0)))
        return found

    return find


def write_picture_run(
    path: Path,
    data: Dataset,
    outputs_of: Callable[[int], Any],
    *,
    model: str = "NanoDet",
    time_s: float = 0.02,
    tokens: Sequence[str] | None = None,
) -> RunFolder:
    """A complete run; `outputs_of` gives what is found in the picture of a number, or the outputs themselves."""
    scenes = data.scenes()
    everything = [token for scene in scenes for token in scene.samples]
    header = RunHeader(
        run=path.name,
        model=model,
        variant="modern",
        environment=EnvironmentInfo(name=f"{model}-modern", digest="d" * 64, backend="venv", python="3.11"),
        data=DataInfo(
            root=str(data.root),
            version=data.version,
            split="all",
            samples_sha256=tokens_digest(tokens or everything),
            synthetic=False,
            kind=data.kind,
        ),
        provenance=Provenance(commit="c" * 40, admlops="0", host="a test"),
        scenes={scene.name: len(scene.samples) for scene in scenes},
        settings={"device": "cpu", "precision": "authors", "options": {}},
        created="2026-01-01T00:00:00+00:00",
        device=DeviceInfo(kind="cpu", name="a processor", ids=["cpu"]),
    )
    run = RunFolder.create(path, header)
    for scene in scenes:
        with run.scene_writer(scene.name) as writer:
            for index, token in enumerate(scene.samples):
                metadata = Metadata(
                    model_name=model,
                    variant="modern",
                    run=path.name,
                    sample_token=token,
                    scene=scene.name,
                    index_in_scene=index,
                    status="ok",
                    inference_time=time_s,
                    end_to_end_time=time_s * 1.5,
                )
                writer.append(make_record(metadata, _outputs(outputs_of(index))))
            writer.commit()
    run.end("complete")
    run.write_manifest()
    return run


def _outputs(found: Any) -> Outputs:
    if isinstance(found, Outputs):
        return found
    return Outputs(
        detections_2d=[
            Detection2D(id=number, camera=IMAGE, class_name=name, bbox_xyxy=box, confidence=confidence)
            for number, (name, confidence, box) in enumerate(found)
        ]
    )
