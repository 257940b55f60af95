"""How long a run will take, and what energy, by the newest run of the same model in the same way on such a device."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from admlops.core.paths import Layout
from admlops.results.header import RunHeader
from admlops.results.run_folder import RunFolder
from admlops.results.runs import list_runs

DECIDE_SPEED = ("precision", "batch", "graphs")
"""The settings that a speed depends on, beside the engine and the options."""
FEW_SAMPLES = 2
"""A run of fewer samples does not tell the time of one, because its first sample warms up."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What an earlier run took: seconds until its worker was ready, seconds of a worker and joules a sample."""

    run: str
    start_s: float
    sample_s: float
    joules: float | None

    def say(self, samples: int, workers: int) -> str:
        """Return a sentence on a run of so many samples by so many workers."""
        seconds = self.start_s + self.sample_s * samples / workers
        energy = "" if self.joules is None else f" and {_spell_energy(self.joules * samples)}"
        return (
            f"about {spell_time(seconds)}{energy}: {self.run} took {spell_time(self.sample_s)} a sample and "
            f"{spell_time(self.start_s)} to start"
        )


def find_measured(layout: Layout, header: RunHeader) -> Measured | None:
    """Return what the newest complete run of the same model in the same way took; None without one."""
    runs, _ = list_runs(layout)
    for run in reversed(runs):
        if run.header.run != header.run and run.header.state == "complete" and _is_alike(run.header, header):
            measured = measure_run(run)
            if measured is not None:
                return measured
    return None


def spell_time(seconds: float) -> str:
    """Return `0.031 s`, `4.2 s`, `45 s`, `12 min`, `3.5 h`."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _spell_energy(joules: float) -> str:
    return f"{joules:.0f} J" if joules < 1e3 else f"{joules / 1e3:.1f} kJ" if joules < 1e6 else f"{joules / 1e6:.1f} MJ"


def _is_alike(one: RunHeader, other: RunHeader) -> bool:
    return not one.is_submission and not one.neighbours and _way(one) == _way(other)


def _way(header: RunHeader) -> tuple[Any, ...]:
    engine: Mapping[str, Any] = header.engine or {}
    device = None if header.device is None else (header.device.kind, header.device.name)
    settings = [header.settings.get(name) for name in DECIDE_SPEED]
    # Random weights are as fast as others.
    options = {name: value for name, value in (header.settings.get("options") or {}).items() if name != "weights"}
    how = (engine.get("kind"), engine.get("precision"), settings, options)
    # Workers share the device, so the time of one depends on how many there are.
    workers = header.options.get("workers", 1)
    return header.model, header.variant, header.data.version, device, workers, *how


def measure_run(run: RunFolder) -> Measured | None:
    """Return what a run took, by its events; None where it went on after a stop, or ran too few samples."""
    times: dict[str, list[float]] = {}
    workers = set()
    for event in run.events():
        times.setdefault(str(event.get("event")), []).append(float(event["t"]))
        if event.get("event") == "worker_started":
            workers.add(event.get("worker"))
    begun, ready, ended = (times.get(name, []) for name in ("run_started", "worker_ready", "run_ended"))
    samples = sum(run.header.scenes.values())
    if len(begun) != 1 or not ready or len(ended) != 1 or samples < FEW_SAMPLES:
        return None
    return Measured(
        run=run.header.run,
        start_s=ready[0] - begun[0],
        sample_s=(ended[0] - ready[0]) * len(workers) / samples,
        joules=_joules(run),
    )


def _joules(run: RunFolder) -> float | None:
    """Return the energy of a sample [J], if the machine measured it and the run was evaluated."""
    try:
        energy = json.loads(run.metrics_path.read_bytes()).get("energy") or {}
    except (OSError, ValueError):
        return None
    value = energy.get("j_per_sample")
    return None if value is None else float(value)
