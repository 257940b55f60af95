"""The benchmark of the harness runs and says what it promises; how fast is not a test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "harness.py"


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--samples", "80", "--boxes", "20", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_prints_one_json_object_with_the_bare_loop_beside_the_harness() -> None:
    result = json.loads(run("--json"))
    assert (result["samples"], result["boxes"]) == (80, 20)
    for name in ("harness_per_s", "bare_loop_per_s", "with_json_per_s", "harness_share_of_bare_loop", "record_kb"):
        assert result[name] > 0


def test_it_prints_a_table_for_people() -> None:
    table = run()
    assert "harness, one worker" in table
    assert "bare loop" in table
