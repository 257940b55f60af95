"""Finds what is red in a picture (PPM): one box, or none, and a boat that is not there."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

from worker.adapter import Adapter, DataError, Settings
from worker.main import main

Box = tuple[int, int, int, int]


class Red(Adapter):
    """The box round all pixels of pure red."""

    name = "Red"

    def load(self, settings: Settings) -> list[str]:
        """There is nothing to load."""
        return []

    def prepare(self, sample: dict[str, Any]) -> tuple[int, bytes]:
        """The picture's width and its pixels, three bytes each."""
        camera = sample["cameras"]["IMAGE"]
        try:
            kind, size, _, pixels = Path(camera["path"]).read_bytes().split(b"\n", 3)
        except (OSError, ValueError) as error:
            raise DataError("{} cannot be read: {}".format(camera["path"], error)) from error
        if kind != b"P6" or size.split() != [b"%d" % camera["width"], b"%d" % camera["height"]]:
            raise DataError("{} is not a picture of {}x{}".format(camera["path"], camera["width"], camera["height"]))
        return camera["width"], pixels

    def forward(self, inputs: tuple[int, bytes]) -> Box | None:
        """x1, y1, x2, y2."""
        width, pixels = inputs
        red = [i // 3 for i in range(0, len(pixels), 3) if pixels[i : i + 3] == b"\xff\x00\x00"]
        if not red:
            return None
        columns = [i % width for i in red]
        return min(columns), red[0] // width, max(columns) + 1, red[-1] // width + 1

    def convert(self, raw: Box | None, sample: dict[str, Any]) -> dict[str, Any]:
        """A car where there is red; the boat is of a class that the ground truth does not have."""
        boxes = [] if raw is None else [("car", raw, 0.9)]
        boxes.append(("boat", (0, 0, 5, 5), 0.8))
        return {
            "detections_2d": [
                {"id": i, "camera": "IMAGE", "class_name": name, "bbox_xyxy": list(box), "confidence": confidence}
                for i, (name, box, confidence) in enumerate(boxes)
            ]
        }


if __name__ == "__main__":
    sys.exit(main(Red))
