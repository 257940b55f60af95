"""A stage's result: one JSON file, written again after every step: one that is cut short leaves what it had.

    {"stage", "device", "status": "done" | "skipped" | "failed" | "timed out", "reason", "seconds", "results": {...}}

Names of numbers end in their unit: `_s`, `_ms`, `_mb` (10⁶ bytes), `_per_s`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ONE_NETWORK = "--network"
"""Says that a stage's program runs for one network alone."""


class Skip(Exception):  # noqa: N818  a reason, not an error
    """The stage, or one case of it, cannot run here. The text says why and what would let it."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every stage is told.

    Attributes:
        device: torch's name of the device, `cuda:0` or `cpu`.
        out: the folder of the results.
        scenes: the folder with the synthetic scenes and `scenes.json`.
        limit_s: how long the stage may take; it plans its repetitions by it.
        tiny: the fewest repetitions and cases: to see that the stage runs.
        models: the networks; all that are here if empty.
    """

    device: str
    out: Path
    scenes: Path
    limit_s: float
    tiny: bool = False
    models: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Report:
    """The results of one stage as they come in."""

    stage: str
    options: Options
    results: dict[str, Any] = field(default_factory=dict)
    status: str = "running"
    reason: str = ""
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def left_s(self) -> float:
        """What is left of the stage's time [s]."""
        return self.options.limit_s - self.seconds

    def add(self, name: str, value: Any) -> None:
        """Keep a result, and write the file."""
        self.results[name] = value
        self.write()

    def write(self) -> None:
        """Write the file; the process of a single network leaves that to the stage's."""
        if ONE_NETWORK in sys.argv:
            return
        write_result(
            self.options.out / f"{self.stage}.json",
            {
                "stage": self.stage,
                "device": self.options.device,
                "status": self.status,
                "reason": self.reason,
                "seconds": round(self.seconds, 1),
                "results": self.results,
            },
        )


def write_result(path: Path, content: dict[str, Any]) -> None:
    """Write JSON in one piece: a reader sees the file before or after, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)


def run_stage(stage: str, work: Callable[[Report], None]) -> int:
    """Run a stage's work as its program: parse the options, and leave the result whatever happens."""
    report = Report(stage=stage, options=parse_options())
    report.write()
    try:
        work(report)
        report.status = "done"
    except Skip as reason:
        report.status, report.reason = "skipped", str(reason)
    except Exception as error:  # noqa: BLE001  a program's edge: the next stage still runs, and the file says why
        report.status, report.reason = "failed", explain(error)
        traceback.print_exc()
    report.write()
    return 1 if report.status == "failed" else 0


def explain(error: BaseException) -> str:
    """An exception in one line: its class, its text, and the last line of code."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(place[0].filename).name}:{place[0].lineno})" if place else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}{where}"


def parse_options() -> Options:
    """The command line that `run_stages.py` makes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--limit-s", type=float, required=True)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--models", default="")
    given, _ = parser.parse_known_args()
    models = tuple(name for name in given.models.split(",") if name)
    return Options(
        device=given.device,
        out=given.out.resolve(),
        scenes=given.scenes.resolve(),
        limit_s=given.limit_s,
        tiny=given.tiny,
        models=models,
    )
