"""Telemetry that a machine with a GPU could have written."""

from __future__ import annotations

import json
from pathlib import Path


def write_telemetry(path: Path, *, seconds: int = 60) -> None:
    """Write a line every half second."""
    lines = [
        {
            "t": step / 2,
            "phase": "measure",
            "samples": step,
            "cpu_percent": 40.0 + step % 7,
            "host_memory_mb": 9000.0,
            "worker_memory_mb": 2100.0 + step,
            "gpus": [
                {
                    "index": 0,
                    "used": True,
                    "utilization_percent": 60 + step % 30,
                    "memory_mb": 5200.0 + 3 * step,
                    "power_w": 180.0 + step % 40,
                }
            ],
        }
        for step in range(2 * seconds)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
