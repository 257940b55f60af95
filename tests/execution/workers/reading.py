# ruff: noqa: UP006  adapters run under Python 3.8
"""A stand-in model whose samples can be read apart from the network. A sample's outputs depend on those before.

Options: `read_s`, the seconds that reading takes; `bytes`, how much a sample is; `unreadable`, `large`, `deadly` and
`strange`, tokens that cannot be read, are ten times as large, kill who reads them, and have no plain form; `marks`, a
folder in which each reading leaves the process's id. Under the name `whole.py` the adapter overrides `prepare`.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "runners"))

from worker.adapter import Adapter, DataError, Settings
from worker.main import main


class StandIn(Adapter):
    """Boxes whose place is a hash of the sample's content and of those before it in the scene."""

    name = "StandIn"

    def load(self, settings: Settings) -> List[str]:
        self.options = dict(settings.options)
        return []

    def start_scene(self, scene: str) -> None:
        self.before, self.described = scene, scene

    def describe(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        earlier, self.described = self.described, sample["sample_token"]
        return {"token": sample["sample_token"], "earlier": earlier, "exact": (0.1 + 0.2, float("inf"))}

    def read(self, described: Dict[str, Any]) -> Dict[str, Any]:
        token = described["token"]
        if self.options.get("marks"):
            Path(self.options["marks"], token).write_text(str(os.getpid()))
        time.sleep(self.options.get("read_s", 0.0))
        if token in self.options.get("unreadable", ()):
            raise DataError(f"{token} cannot be read")
        if token in self.options.get("deadly", ()):
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
        if token in self.options.get("strange", ()):
            return {"pixels": b"", "token": token, "strange": object()}
        count = self.options.get("bytes", 1000) * (10 if token in self.options.get("large", ()) else 1)
        block = hashlib.sha256(repr(sorted(described.items())).encode()).digest()
        return {"pixels": block * (count // len(block)), "token": token, "exact": described["exact"]}

    def place(self, read: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        assert read["token"] == sample["sample_token"], "another sample's input"
        return read

    def forward(self, inputs: Dict[str, Any]) -> float:
        time.sleep(self.options.get("forward_s", 0.0))
        pixels = hashlib.sha256(inputs["pixels"]).hexdigest()
        self.before = hashlib.sha256((self.before + pixels + repr(inputs.get("exact"))).encode()).hexdigest()
        return int(self.before[:6], 16) / 0xFFFFFF

    def forward_batch(self, inputs: List[Dict[str, Any]]) -> List[float]:
        return [self.forward(one) for one in inputs]

    def convert(self, raw: float, sample: Dict[str, Any]) -> Dict[str, Any]:
        box = {"id": 0, "class_name": "car", "camera": "IMAGE", "bbox_xyxy": [0.0, 0.0, 9 * raw, 9.0]}
        return {"detections_2d": [{**box, "confidence": raw}]}


class Whole(StandIn):
    """The same, reading as part of what is no part."""

    def prepare(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        return self.place(self.read(self.describe(sample)), sample)


if __name__ == "__main__":
    sys.exit(main(Whole if Path(sys.argv[0]).stem == "whole" else StandIn))
