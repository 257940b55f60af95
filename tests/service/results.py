"""Runs and a comparison for tests that look at results."""

from __future__ import annotations

import json
from pathlib import Path

from tests.noisy_runs import NoisyRuns, write_noisy_run, write_noisy_runs

from admlops.datasets.base import Dataset
from admlops.evaluation.evaluate import evaluate_run
from admlops.pipeline.compare import take_runs, write_comparison
from admlops.reports import write_report

COMPARISON = "20260101-000000"


def write_results(folder: Path) -> NoisyRuns:
    """Runs `near` and `far` with curves and a report, `other` over other samples, and a comparison of the three."""
    noisy = write_noisy_runs(folder)
    other = write_noisy_run(noisy.layout.runs / "other", noisy.data, "Other", noise=0.4, scenes=1)
    evaluate_run(other, noisy.data, layout=noisy.layout, say=lambda _line: None)
    runs = [noisy.near, noisy.far, other]
    for run in runs:
        write_telemetry(run.telemetry_path)
    rows = take_runs(noisy.layout, runs, lambda _line: None)
    data: list[Dataset] = [noisy.data]
    target = noisy.layout.repository / "comparisons" / COMPARISON
    done = write_comparison(rows, data, target=target, metric=None)
    page = write_report(target / "report.html", done.run_data(), done.summary, data=None)
    noisy.near.report_path.write_bytes(page.read_bytes())
    return noisy


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
