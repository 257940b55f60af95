"""Results files as runs, without the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from admlops.core.paths import Layout
from admlops.datasets.base import Dataset
from admlops.evaluation.evaluate import evaluate_run
from admlops.pipeline.take_submission import SubmissionRequest, plan_submission, take_submission
from admlops.results.run_folder import RunFolder


def silent(line: str) -> None:
    """Hear a sentence and forget it."""


def take(layout: Layout, file: Path, data: Dataset, **options: Any) -> RunFolder:
    """The run of a file."""
    wanted = {"form": "auto", **options}
    request = SubmissionRequest(file=file, open_data=lambda form: data, **wanted)
    with plan_submission(layout, request) as plan:
        return take_submission(layout, plan, say=silent)


def measure(layout: Layout, run: RunFolder, data: Dataset, **options: Any) -> Mapping[str, Any]:
    """`metrics.json` of a run."""
    return evaluate_run(run, data, layout=layout, say=silent, **options)


def values_of(metrics: Mapping[str, Any], protocol: str) -> dict[str, float | None]:
    """The values of a protocol by name."""
    return {one["name"]: one["value"] for one in metrics["metrics"] if one["protocol"].startswith(protocol)}
