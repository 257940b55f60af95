# ruff: noqa: UP006, UP035  workers run this file under Python 3.8
"""An adapter that answers at once with boxes of full precision, for `harness.py` and `ray_executor.py`."""

import math
import random
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runners"))

from worker.adapter import Adapter, Settings
from worker.main import main


def make_boxes(count: int) -> List[Dict[str, Any]]:
    """Seeded boxes with every field set, as a detector's are."""
    draw = random.Random(0).random
    return [
        {
            "id": index,
            "class_name": "car",
            "confidence": draw(),
            "attribute": "vehicle.moving",
            "bbox_3d": {
                "center": [draw() * 50, draw() * 50, draw()],
                "size_wlh": [draw() + 1, draw() + 3, draw() + 1],
                "rotation_wxyz": [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)],
                "velocity": [draw(), draw()],
            },
        }
        for index, yaw in enumerate(draw() * 6 for _ in range(count))
    ]


class Instant(Adapter):
    """Takes no time at all, or `pause_s` a sample."""

    name = "Instant"

    def __init__(self) -> None:
        self.answer = []  # type: List[Dict[str, Any]]
        self.pause_s = 0.0

    def load(self, settings: Settings) -> List[str]:
        self.answer = make_boxes(settings.options.get("boxes", 300))
        self.pause_s = settings.options.get("pause_s", 0.0)
        return []

    def forward(self, inputs: Any) -> Any:
        if self.pause_s:
            time.sleep(self.pause_s)
        return self.answer

    def convert(self, raw: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
        return {"detections_3d": raw}


if __name__ == "__main__":
    sys.exit(main(Instant))
