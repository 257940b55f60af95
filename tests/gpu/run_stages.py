"""Run the stages one after the other, each with its own limit, within one total: `python run_stages.py --help`.

A stage is a program. It starts only while enough of the total is left for it, gets at most its limit, and is ended with
all it has started when that is over; what it had written by then stays. `run.json` says what became of each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reporting import write_result

HERE = Path(__file__).resolve().parent

TAIL_CHARACTERS = 1500
RESERVE_S = 5.0
"""Kept back for writing and for the machine's own."""


@dataclass(frozen=True)
class Stage:
    """One stage: the most and the least time [s] that it is given."""

    name: str
    limit_s: float
    least_s: float

    @property
    def program(self) -> Path:
        return HERE / f"{self.name}.py"


STAGES = (
    Stage("stage_0_machine", 30, 5),
    Stage("stage_1_compile", 300, 60),
    Stage("stage_2_operations", 60, 15),
    Stage("stage_7_lidar", 45, 15),
    Stage("stage_3_outputs", 220, 45),
    Stage("stage_4_latency", 190, 45),
    Stage("stage_9_graphs", 90, 30),
    Stage("stage_5_reading", 60, 20),
    Stage("stage_6_engines", 180, 10),
    Stage("stage_8_mmcv2", 420, 200),
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    done: dict[str, Any] = {}
    for stage in STAGES:
        number = stage.name.split("_")[1]
        if options.only and number not in options.only.split(","):
            continue
        left_s = options.budget_s - (time.monotonic() - began) - RESERVE_S
        done[stage.name] = run(stage, left_s, options)
        print(f"[{time.monotonic() - began:.0f} s] {stage.name}: {done[stage.name]['status']}", flush=True)
        seconds = round(time.monotonic() - began, 1)
        write_result(options.out / "run.json", {"budget_s": options.budget_s, "seconds": seconds, "stages": done})
    return 1 if any(one["status"] in ("failed", "timed out") for one in done.values()) else 0


def run(stage: Stage, left_s: float, options: argparse.Namespace) -> dict[str, Any]:
    """Run one stage within what is left of the total; say what became of it."""
    if left_s < stage.least_s:
        reason = f"{left_s:.0f} s are left and it needs {stage.least_s:.0f} s"
        return {"status": "not started", "reason": reason, "seconds": 0.0}
    limit_s = min(stage.limit_s * options.patience, left_s)
    began = time.monotonic()
    command = [options.python, str(stage.program), "--device", options.device, "--out", str(options.out)]
    command += ["--scenes", str(options.scenes), "--limit-s", f"{limit_s:.1f}", "--models", options.models]
    command += ["--tiny"] if options.tiny else []
    log = options.log or options.out / "log.txt"
    with log.open("ab") as output:
        output.write(f"\n== {stage.name}\n".encode())
        output.flush()
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            process.wait(timeout=limit_s)
            late = False
        except subprocess.TimeoutExpired:
            late = True
        finally:
            end_group(process)
    seconds = round(time.monotonic() - began, 1)
    return close(
        stage, options.out / f"{stage.name}.json", late=late, code=process.returncode, seconds=seconds, log=log
    )


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a stage and all it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def close(stage: Stage, path: Path, *, late: bool, code: int, seconds: float, log: Path) -> dict[str, Any]:
    """The stage's state for `run.json`; its own file says the same, also where the stage could not write it."""
    try:
        own: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        own = {"stage": stage.name, "status": "running", "reason": "", "results": {}}
    if late:
        own.update(status="timed out", reason=f"ended after {seconds:.0f} s; what it had by then is kept")
    elif own["status"] == "running":
        tail = log.read_bytes()[-TAIL_CHARACTERS:].decode(errors="replace")
        own.update(status="failed", reason=f"exit code {code}: {tail}")
    own["seconds"] = seconds
    write_result(path, own)
    return {"status": own["status"], "reason": own["reason"], "seconds": seconds}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the results go")
    parser.add_argument("--scenes", type=Path, required=True, help="the synthetic scenes, with scenes.json")
    parser.add_argument("--device", default="cuda:0", help="cuda:0, or cpu to try the script (default: %(default)s)")
    parser.add_argument("--budget-s", type=float, default=570, help="seconds for everything (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=1.0, help="times every stage's limit: for a slow machine")
    parser.add_argument("--only", default="", help="numbers of stages, such as 0,3 (default: all)")
    parser.add_argument("--models", default="", help="networks, such as MapTR,VAD (default: all that are here)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter with torch (default: this one)")
    parser.add_argument("--log", type=Path, help="where output goes (default: log.txt beside the results)")
    parser.add_argument("--tiny", action="store_true", help="the fewest repetitions: to see that it runs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
