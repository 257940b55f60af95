"""The energy of a run that is evaluated, with what follows for its scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from admlops.evaluation.context import Context
from admlops.evaluation.energy.carbon import Carbon
from admlops.evaluation.energy.report import describe_energy, find_cars, refuse_shared, summarize_energy
from admlops.evaluation.energy.windows import read_lines


def describe_run(context: Context, metrics: Mapping[str, Any], carbon: Carbon | None) -> dict[str, Any]:
    """Return `energy` of metrics.json, from the telemetry of the run; `metrics` is the rest of that file."""
    run = context.run
    on_gpu = run.header.device_kind == "cuda"
    if run.header.neighbours:
        energy = refuse_shared(run.header.neighbours, on_gpu=on_gpu)
    else:
        energy = summarize_energy(read_lines(run.telemetry_path), on_gpu=on_gpu)
    right, accuracy = find_cars(metrics["details"], metrics["metrics"])
    known = () if run.header.shared else context.metadata
    times = [entry.inference_time for entry in known if entry.inference_time is not None]
    return describe_energy(
        energy,
        carbon=carbon,
        right=right,
        accuracy=accuracy,
        time_s=sum(times) / len(times) if times else None,
        samples=sum(entry.status == "ok" for entry in context.metadata),
    )
