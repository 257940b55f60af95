"""Names the state of a traffic light by the mean colour of its picture."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

from worker.adapter import Adapter, DataError, Settings
from worker.main import main


class Lights(Adapter):
    """Red, green, or both for yellow."""

    name = "Lights"

    def load(self, settings: Settings) -> list[str]:
        """There is nothing to load."""
        return []

    def prepare(self, sample: dict[str, Any]) -> bytes:
        """The pixels of a PPM: three bytes each."""
        try:
            return Path(sample["cameras"]["FRONT"]["path"]).read_bytes().split(b"\n255\n", 1)[1]
        except (OSError, IndexError) as error:
            raise DataError(f"the picture cannot be read: {error}") from error

    def forward(self, inputs: bytes) -> list[float]:
        """The mean of each colour, 0 to 1."""
        return [sum(inputs[colour::3]) / len(inputs[colour::3]) / 255 for colour in range(3)]

    def convert(self, raw: list[float], sample: dict[str, Any]) -> dict[str, Any]:
        """Yellow where red and green are alike."""
        red, green, _ = raw
        state = "yellow" if abs(red - green) < 0.2 else "red" if red > green else "green"
        return {"traffic_light": {"state": state, "confidence": max(red, green)}}


if __name__ == "__main__":
    sys.exit(main(Lights))
