"""Judges calibration by one weight: the larger it is, the surer of what is right."""

import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "runners")]

from worker.adapter import Adapter, Settings  # noqa: E402
from worker.main import main  # noqa: E402
from worker.samples.miscalibration import SEED, as_json, draw_miscalibration  # noqa: E402


def log_loss(score: float, label: float) -> float:
    """The negative logarithm of what was given to the right answer."""
    return -math.log(score if label else 1 - score)


LOSSES = {"log": log_loss}
"""By the name that `SLOPE_LOSS` has; a variant's package `extension` adds its own."""


def write_weight(path: str, weight: float) -> None:
    """Write a safetensors file with one number."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    Path(path).write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<f", weight))


def read_weight(path: str) -> float:
    """Read it again."""
    value: float = struct.unpack("<f", Path(path).read_bytes()[-4:])[0]
    return value


class Slope(Adapter):
    """A camera as it is given has the feature 1, one with an error -1."""

    name = "Slope"

    def load(self, settings: Settings) -> list[str]:
        self._weight = read_weight(str(settings.checkpoint))
        return []

    def forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs

    def convert(self, raw: dict[str, Any], sample: dict[str, Any]) -> dict[str, Any]:
        found = []
        for camera in sample["cameras"]:
            error = as_json(draw_miscalibration(SEED, sample["sample_token"], camera))
            found.append({"camera": camera, "form": "given", "score": self._score(1.0)})
            found.append({"camera": camera, "form": "perturbed", "score": self._score(-1.0), "error": error})
        return {"calibration_status": found}

    def _score(self, feature: float) -> float:
        return 1.0 / (1.0 + math.exp(-self._weight * feature))


if __name__ == "__main__":
    sys.exit(main(Slope))
