# ruff: noqa: UP006  adapters run under Python 3.8
"""A stand-in model that takes several samples at once. A sample's outputs depend on nothing but its token.

Options: `fits`, the largest batch that the GPU's memory carries, and `fits_at`, how often the input must be made
smaller before anything fits; `fits_host`, the largest that the machine's memory carries; `hangs`, the smallest batch
that does; `unreadable`, `unconvertible`, `wrong` and `deadly`, tokens whose input cannot be read, whose output is no
record, that make the network raise, and that kill the process; `poisoned`, tokens that break the CUDA context of a
batch; `call_s`, `sample_s` and `pair_s`, the seconds that a call takes, and each sample and each pair of samples in it;
`short`, a batch gives a result too few.
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
    """Boxes whose place is a hash of the sample's token."""

    name = "StandIn"

    def load(self, settings: Settings) -> List[str]:
        self.settings = settings
        self.options = dict(settings.options)
        return []

    def prepare(self, sample: Dict[str, Any]) -> str:
        if sample["sample_token"] in self.options.get("unreadable", ()):
            raise DataError("{} cannot be read".format(sample["sample_token"]))
        return str(sample["sample_token"])

    def forward(self, inputs: str) -> float:
        return self.run_network([inputs])[0]

    def forward_batch(self, inputs: List[str]) -> List[float]:
        results = self.run_network(inputs)
        return results[:-1] if self.options.get("short") else results

    def run_network(self, tokens: List[str]) -> List[float]:
        costs = zip(("call_s", "sample_s", "pair_s"), (1, len(tokens), len(tokens) ** 2))
        time.sleep(sum(self.options.get(name, 0.0) * count for name, count in costs))
        if len(tokens) >= self.options.get("hangs", 999):
            time.sleep(600)
        if len(tokens) > self.options.get("fits", 999) or self.settings.shrink < self.options.get("fits_at", 0):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 79.15 GiB total capacity)")
        if len(tokens) > self.options.get("fits_host", 999):
            raise MemoryError("Unable to allocate 40 GiB")
        if set(tokens) & set(self.options.get("deadly", ())):
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
        if len(tokens) > 1 and set(tokens) & set(self.options.get("poisoned", ())):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if set(tokens) & set(self.options.get("wrong", ())):
            raise ValueError("a tensor has the wrong shape")
        return [int(hashlib.sha256(token.encode()).hexdigest()[:6], 16) / 0xFFFFFF for token in tokens]

    def convert(self, raw: float, sample: Dict[str, Any]) -> Dict[str, Any]:
        if sample["sample_token"] in self.options.get("unconvertible", ()):
            raise ValueError("boxes without end")
        box = {
            "id": 0,
            "class_name": "car",
            "camera": "IMAGE",
            "bbox_xyxy": [0.0, 0.0, 9 * raw, 9.0],
            "confidence": raw,
        }
        return {"detections_2d": [box]}


if __name__ == "__main__":
    sys.exit(main(StandIn))
