# ruff: noqa: UP006, UP035  workers run this file in model environments too
"""An adapter whose network is a pause and whose pictures are real, for `prefetch.py`.

Six pictures of a sample are decoded, scaled and normalized as mm's test pipelines do: by OpenCV to 704x256, float32.
The pause stands for a network on a GPU, which leaves the processor alone while it computes.
"""

import sys
import time
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runners"))

from worker.adapter import Adapter, Settings
from worker.main import main

SIZE = (704, 396)
ROWS = 256
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class Pausing(Adapter):
    """Reads what a network of six cameras reads, and computes nothing."""

    name = "Pausing"

    def load(self, settings: Settings) -> List[str]:
        import cv2

        cv2.setNumThreads(1)
        self._pause_s = float(settings.options["pause_s"])
        self._folder = str(settings.options["pictures"])
        self._reads = bool(settings.options["reads"])
        return []

    def read(self, described: Dict[str, Any]) -> Dict[str, Any]:
        import cv2
        import numpy as np

        if not self._reads:
            return {}
        mean, deviation = (np.array(numbers, dtype=np.float32) for numbers in (MEAN, DEVIATION))
        pictures = []
        for name in sorted(Path(self._folder).glob("*.jpg")):
            picture = cv2.resize(cv2.imread(str(name)), SIZE)[-ROWS:]
            pixels = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.float32)
            pictures.append(((pixels - mean) / deviation).transpose(2, 0, 1))
        return {"img": np.ascontiguousarray(np.stack(pictures))}

    def forward(self, inputs: Any) -> float:
        time.sleep(self._pause_s)
        return float(inputs["img"].sum()) if inputs else 0.0

    def convert(self, raw: float, sample: Dict[str, Any]) -> Dict[str, Any]:
        return {"detections_3d": []}


if __name__ == "__main__":
    sys.exit(main(Pausing))
