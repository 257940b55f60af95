"""From the lines of `telemetry.jsonl` to joules: the energy of the measured window, and the machine's idle power.

The window is from the first answered sample to the last one, so that loading and warm-up are outside. Each device is
measured by its energy counter where it has one, else by integrating its power; of the counters only differences count:

- NVML's counter (`nvml_counter`) is of the whole board, in millijoules since the driver was loaded. It moves about
  every 0.1 s. Where it falls, the driver was reloaded, and power bridges the gap.
- NVML's power (`nvml_power`), by the trapezoid rule: on some GPUs the readings cover a quarter of the time only.
- RAPL (`rapl`) is of the processor's packages and memory. It wraps around at `max_energy_uj`.

Sources: NVIDIA, NVML API reference, nvmlDeviceGetTotalEnergyConsumption; Z. Yang et al., Part-time Power Measurements,
arXiv 2312.02741; ML.ENERGY, "Measuring GPU Energy: Best Practices"; Linux, powercap.rst.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

COUNTER_STEP_S = 0.1
"""How often NVML's counter moves."""
SHORTEST_WINDOW_S = 1.0
"""Below this a window holds too few steps of a counter to say anything."""
ADVISED_WINDOW_S = 30.0

Line = Mapping[str, Any]
MICROJOULE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Part:
    """The energy of one device over the windows: `gross_j` as drawn; `idle_w` before the run, None if unknown."""

    device: str
    method: str
    gross_j: float
    idle_w: float | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """All measured windows of a run together: a run that was resumed has several.

    Attributes:
        seconds: how long they are.
        samples: answered in them, except the one that each begins with.
        gpu, cpu: the GPUs that the run was on, and the processor with its memory.
        estimate: of the whole machine, where nothing was measured and somebody asked for an estimate.
    """

    count: int
    seconds: float
    samples: int
    gpu: tuple[Part, ...]
    cpu: tuple[Part, ...]
    estimate: tuple[Part, ...] = ()


def read_lines(path: Path) -> list[Line]:
    """Read the lines of a file of telemetry; torn lines are passed over, and there are none without the file."""
    try:
        texts = path.read_bytes().splitlines()
    except OSError:
        return []
    found: list[Line] = []
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("t"), int | float):
            found.append(line)
    return found


def measure(lines: Sequence[Line]) -> Windows | None:
    """Measure the windows of a run; None where there is no window, as in runs from before phases were recorded."""
    sessions = [(idle, window) for idle, window in map(_find_phases, _split_sessions(lines)) if len(window) > 1]
    if not sessions:
        return None
    return Windows(
        count=len(sessions),
        seconds=sum(_duration(window) for _, window in sessions),
        samples=sum(int(window[-1].get("samples", 0)) - int(window[0].get("samples", 0)) for _, window in sessions),
        gpu=_measure_devices(sessions, _gpu_names, _measure_gpu),
        cpu=_measure_devices(sessions, _zone_names, _measure_zone),
        estimate=_read_estimates([window for _, window in sessions]),
    )


def _read_estimates(windows: Sequence[Sequence[Line]]) -> tuple[Part, ...]:
    """The estimates at the ends of the windows; none where a window lacks one."""
    found = [window[-1].get("estimate") for window in windows]
    if any(one is None for one in found):
        return ()
    known = [one for one in found if one is not None]
    method = " and ".join(dict.fromkeys(str(one["method"]) for one in known))
    return (Part(device="machine", method=method, gross_j=sum(float(one["energy_j"]) for one in known), idle_w=None),)


def _split_sessions(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """A session's clock begins at 0; a resumed run has more than one."""
    own: list[Line] = []
    for line in lines:
        if own and line["t"] < own[-1]["t"]:
            yield own
            own = []
        own.append(line)
    if own:
        yield own


def _find_phases(lines: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """The lines of idleness and those of the window, each with the line that ends it."""
    return _phase(lines, "idle"), _phase(lines, "measure")


def _phase(lines: Sequence[Line], name: str) -> list[Line]:
    inside = [index for index, line in enumerate(lines) if line.get("phase") == name]
    if not inside:
        return []
    return [*lines[inside[0] : inside[-1] + 2]]


def _duration(lines: Sequence[Line]) -> float:
    return float(lines[-1]["t"] - lines[0]["t"]) if lines else 0.0


Measure = Callable[[Sequence[Line], str], tuple[float, str, str] | None]
"""Joules of a device over some lines, the method, and a note; None where nothing of it was read."""
Session = tuple[Sequence[Line], Sequence[Line]]


def _measure_devices(
    sessions: Sequence[Session], names_of: Callable[[Line], Iterable[str]], measure_one: Measure
) -> tuple[Part, ...]:
    names = dict.fromkeys(name for _, window in sessions for line in window for name in names_of(line))
    parts = (_measure_part(sessions, name, measure_one) for name in names)
    return tuple(part for part in parts if part is not None)


def _measure_part(sessions: Sequence[Session], name: str, measure_one: Measure) -> Part | None:
    """One device over all windows; None where one of them was not measured."""
    windows = [measure_one(window, name) for _, window in sessions]
    if any(one is None for one in windows):
        return None
    known = [one for one in windows if one is not None]
    idles = [(measure_one(idle, name), _duration(idle)) for idle, _ in sessions]
    idle = [(one[0], seconds) for one, seconds in idles if one is not None and seconds > 0]
    methods = dict.fromkeys(method for _, method, _ in known)
    return Part(
        device=name,
        method=" and ".join(methods),
        gross_j=sum(joules for joules, _, _ in known),
        idle_w=sum(joules for joules, _ in idle) / sum(seconds for _, seconds in idle) if idle else None,
        note="; ".join(dict.fromkeys(note for _, _, note in known if note)),
    )


def _gpu_names(line: Line) -> list[str]:
    return [_gpu_name(gpu) for gpu in line.get("gpus", ()) if gpu.get("used", True)]


def _gpu_name(gpu: Mapping[str, Any]) -> str:
    return f"GPU {gpu['index']}"


def _zone_names(line: Line) -> list[str]:
    return [str(zone["zone"]) for zone in line.get("rapl", ())]


def _measure_gpu(lines: Sequence[Line], name: str) -> tuple[float, str, str] | None:
    """Joules of a GPU: by its counter where it has one at both ends and moves, else by its power."""
    readings = [
        (float(line["t"]), gpu.get("energy_j"), gpu.get("power_w"))
        for line in lines
        for gpu in line.get("gpus", ())
        if _gpu_name(gpu) == name
    ]
    by_power = _integrate([(t, power) for t, _, power in readings if power is not None])
    counted = [(t, energy) for t, energy, _ in readings if energy is not None]
    if len(counted) < 2 or counted[0][0] != readings[0][0] or counted[-1][0] != readings[-1][0]:
        return None if by_power is None else (by_power, "nvml_power", "")
    restarts = [(before, after) for before, after in pairwise(counted) if after[1] < before[1]]
    joules = sum(max(0.0, after[1] - before[1]) for before, after in pairwise(counted))
    if not restarts:
        if joules == 0 and by_power:
            return by_power, "nvml_power", "the energy counter did not move"
        return joules, "nvml_counter", ""
    gaps = [
        _integrate([(t, power) for t, _, power in readings if power is not None and before[0] <= t <= after[0]])
        for before, after in restarts
    ]
    if any(gap is None for gap in gaps):
        return None if by_power is None else (by_power, "nvml_power", "the driver was loaded anew in between")
    bridged = joules + sum(gap for gap in gaps if gap is not None)
    return bridged, "nvml_counter", "the driver was loaded anew in between; power bridges the gap"


def _integrate(readings: Sequence[tuple[float, float]]) -> float | None:
    """Joules by the trapezoid rule over (seconds, watts); None without two readings."""
    if len(readings) < 2:
        return None
    return sum((after[0] - before[0]) * (after[1] + before[1]) / 2 for before, after in pairwise(readings))


def _measure_zone(lines: Sequence[Line], name: str) -> tuple[float, str, str] | None:
    """Joules of a zone of RAPL; where its counter falls it has wrapped around once."""
    zones = [zone for line in lines for zone in line.get("rapl", ()) if zone["zone"] == name]
    if len(zones) < 2:
        return None
    total = 0
    for before, after in pairwise(zones):
        moved = after["energy_uj"] - before["energy_uj"]
        total += moved if moved >= 0 else moved + after["max_energy_uj"]
    return total * MICROJOULE, "rapl", ""
