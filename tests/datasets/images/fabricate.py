"""Small data sets with known boxes, written in the forms that people have them in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Box = tuple[str, float, float, float, float]
"""Class, x1, y1, x2, y2 [pixels], x2 and y2 exclusive."""

SIZE = (64, 48)
TRUTH: Mapping[str, Sequence[Box]] = {
    "street 1/a.jpg": [("car", 4.0, 8.0, 20.0, 24.0), ("truck", 30.0, 10.0, 62.0, 42.0)],
    "street 1/b.jpg": [],
    "straße/a.jpg": [("car", 0.0, 0.0, 64.0, 48.0)],
}
"""Two pictures have one file name; one holds nothing."""
CLASSES = ("car", "truck")


def draw(path: Path, *, size: tuple[int, int] = SIZE, seed: int = 0, **options: Any) -> Path:
    """Write a picture of noise: two of them are never equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def draw_all(root: Path, names: Iterable[str] = TRUTH) -> None:
    """Write the pictures of the truth below a folder."""
    for number, name in enumerate(names):
        draw(root / name, seed=number)


def write(path: Path, content: Any) -> Path:
    """Write JSON, or text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def write_coco(path: Path, truth: Mapping[str, Sequence[Box]] = TRUTH) -> Path:
    """Write COCO's JSON: x, y, width, height; the categories' ids are COCO's own."""
    numbers = {"car": 3, "truck": 8}
    boxes = [(image, box) for image, own in enumerate(truth.values(), 1) for box in own]
    return write(
        path,
        {
            "info": {"year": 2026},
            "images": [
                {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
                for number, name in enumerate(truth, 1)
            ],
            "categories": [{"id": number, "name": name} for name, number in numbers.items()],
            "annotations": [
                {
                    "id": number,
                    "image_id": image,
                    "category_id": numbers[name],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
                for number, (image, (name, x1, y1, x2, y2)) in enumerate(boxes, 1)
            ],
        },
    )


def write_yolo(root: Path, truth: Mapping[str, Sequence[Box]] = TRUTH, *, split: str = "val") -> Path:
    """Write images/, labels/ and data.yaml: centres and sides as shares; nothing for a picture without objects."""
    draw_all(root / "images" / split, truth)
    width, height = SIZE
    for name, boxes in truth.items():
        lines = [
            f"{CLASSES.index(kind)} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} "
            f"{(x2 - x1) / width} {(y2 - y1) / height}"
            for kind, x1, y1, x2, y2 in boxes
        ]
        if lines:
            write((root / "labels" / split / name).with_suffix(".txt"), "\n".join(lines) + "\n")
    return write(root / "data.yaml", f"path: .\n{split}: images/{split}\nnames:\n  0: car\n  1: truck\n")


def write_kitti(root: Path, truth: Mapping[str, Sequence[Box]]) -> None:
    """Write training/image_2 and training/label_2; the names of pictures have no folders there."""
    draw_all(root / "training" / "image_2", truth)
    for name, boxes in truth.items():
        lines = [f"{kind.capitalize()} 0.00 0 -1.5 {x1} {y1} {x2} {y2} 1 1 1 0 0 9 0" for kind, x1, y1, x2, y2 in boxes]
        write(root / "training" / "label_2" / Path(name).with_suffix(".txt").name, "\n".join(lines))


def write_scalabel(path: Path, truth: Mapping[str, Sequence[Box]]) -> Path:
    """Write a list of frames; x2 and y2 are inclusive."""
    return write(
        path,
        [
            {
                "name": name,
                "labels": [
                    {"id": str(index), "category": kind, "box2d": {"x1": x1, "y1": y1, "x2": x2 - 1, "y2": y2 - 1}}
                    for index, (kind, x1, y1, x2, y2) in enumerate(boxes)
                ],
            }
            for name, boxes in truth.items()
        ],
    )


def write_nuimages(root: Path, truth: Mapping[str, Sequence[Box]]) -> str:
    """Write nuImages' tables and pictures; returns the folder of the tables."""
    version = "v1.0-mini"
    names = {name: f"samples/CAM_FRONT/{Path(name).name}" for name in truth}
    draw_all(root, names.values())
    categories = {"car": "vehicle.car", "truck": "vehicle.truck"}
    data = [
        {
            "token": f"data{number}",
            "sample_token": f"sample{number}",
            "ego_pose_token": "pose",
            "calibrated_sensor_token": "calibration",
            "filename": file,
            "fileformat": "jpg",
            "width": SIZE[0],
            "height": SIZE[1],
            "timestamp": 1_000_000 + number,
            "is_key_frame": True,
            "prev": "",
            "next": "",
        }
        for number, file in enumerate(names.values())
    ]
    sweep = {**data[0], "token": "sweep", "is_key_frame": False, "filename": "sweeps/CAM_FRONT/none.jpg"}
    pose = {"token": "pose", "translation": [0, 0, 0], "rotation": [1, 0, 0, 0], "timestamp": 0}
    tables: dict[str, Any] = {
        "log": [{"token": "log", "logfile": "n001-log", "vehicle": "", "date_captured": "", "location": ""}],
        "sample": [
            {"token": f"sample{number}", "timestamp": 0, "log_token": "log", "key_camera_token": f"data{number}"}
            for number in range(len(data))
        ],
        "sample_data": [*data, sweep],
        "category": [{"token": name, "name": full, "description": ""} for name, full in categories.items()],
        "object_ann": [
            {
                "token": f"object{number}-{index}",
                "sample_data_token": f"data{number}",
                "category_token": kind,
                "attribute_tokens": [],
                "bbox": [int(x1), int(y1), int(x2), int(y2)],
                "mask": None,
            }
            for number, boxes in enumerate(truth.values())
            for index, (kind, x1, y1, x2, y2) in enumerate(boxes)
        ],
        "attribute": [],
        "surface_ann": [],
        "sensor": [{"token": "sensor", "channel": "CAM_FRONT", "modality": "camera"}],
        "calibrated_sensor": [
            {
                "token": "calibration",
                "sensor_token": "sensor",
                "translation": [0, 0, 0],
                "rotation": [1, 0, 0, 0],
                "camera_intrinsic": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
                "camera_distortion": [],
            }
        ],
        "ego_pose": [pose],
    }
    for name, rows in tables.items():
        write(root / version / f"{name}.json", rows)
    return version
