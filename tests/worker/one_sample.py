# ruff: noqa: UP006, UP035  adapters run under Python 3.8
"""An adapter for the tests of standalone mode. It prints, from Python and past it; its options come by variables."""

import os
import sys
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

from worker.adapter import Adapter, DataError, Settings
from worker.main import main


class OneSample(Adapter):
    name = "OneSample"

    def load(self, settings: Settings) -> List[str]:
        print("loading on", settings.device)
        os.write(1, b"a library speaks\n")
        return []

    def prepare(self, sample: Dict[str, Any]) -> Any:
        if os.environ.get("FAIL") == "data":
            raise DataError("{} cannot be decoded".format(sample["lidar"]["path"]))
        return sorted(sample["cameras"])

    def forward(self, inputs: Any) -> Any:
        if os.environ.get("FAIL") == "model":
            raise ValueError("wrong shape")
        return len(inputs)

    def convert(self, raw: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
        return {"map_elements": [{"id": raw, "type": "divider", "points": [[0.0, 1.5], [2.0, 3.0]], "confidence": 0.5}]}


if __name__ == "__main__":
    sys.exit(main(OneSample))
