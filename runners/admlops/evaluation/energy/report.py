"""The energy of a run as metrics.json tells it: one number a sample, how it was measured, and what follows from it.

Where a run was on GPUs its energy is that of their boards; on the CPU it is that of the processor's packages and
memory. Both are the whole device's, not the process's. Net energy excludes what the device drew idle before the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from admlops.evaluation.energy.carbon import Carbon
from admlops.evaluation.energy.scores import correct_per_kj, seed_green_score
from admlops.evaluation.energy.windows import (
    ADVISED_WINDOW_S,
    COUNTER_STEP_S,
    SHORTEST_WINDOW_S,
    Line,
    Part,
    Windows,
    measure,
)

NO_PLACE = "no place was named: --country or --intensity"


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy of a run. `method` is None where nothing was measured, and `reason` then says why.

    Attributes:
        scope: what was measured: `GPU boards`, or `CPU packages and memory`.
        net_j: None where idle power is not known, or was not exceeded.
    """

    method: str | None
    scope: str
    reason: str
    windows: Windows | None
    gross_j: float | None = None
    idle_w: float | None = None
    net_j: float | None = None

    @property
    def basis(self) -> str:
        """What `j_per_sample` is: net of idle where it can be, else gross."""
        return "gross" if self.net_j is None else "net of idle"

    @property
    def joules(self) -> float | None:
        """The energy that scores are made of."""
        return self.gross_j if self.net_j is None else self.net_j

    def per_sample(self, joules: float | None) -> float | None:
        """Joules of each answered sample."""
        samples = 0 if self.windows is None else self.windows.samples
        return None if joules is None or not samples else joules / samples

    def to_json(self) -> dict[str, Any]:
        """The form in metrics.json, without carbon and scores."""
        windows = self.windows
        shape: dict[str, Any] = {
            "method": self.method,
            "scope": self.scope,
            "basis": self.basis if self.method else None,
            "j_per_sample": self.per_sample(self.joules),
            "j_per_sample_gross": self.per_sample(self.gross_j),
            "gross_j": self.gross_j,
            "net_j": self.net_j,
            "idle_w": self.idle_w,
            "window_s": None if windows is None else round(windows.seconds, 3),
            "windows": 0 if windows is None else windows.count,
            "samples": 0 if windows is None else windows.samples,
            "reason": self.reason,
        }
        parts = () if windows is None else (*windows.gpu, *windows.cpu, *windows.estimate)
        return {**shape, "parts": [_part_json(part) for part in parts]}


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "device": part.device,
        "method": part.method,
        "gross_j": part.gross_j,
        "idle_w": part.idle_w,
        "note": part.note,
    }


def refuse_shared(neighbours: Sequence[str], *, on_gpu: bool) -> Energy:
    """Return no energy for a run that shared its device with other runs: counters measure the whole device."""
    reason = f"the device was shared with {', '.join(neighbours)}: its energy cannot be told apart"
    return Energy(method=None, scope=_scope(on_gpu), reason=reason, windows=None)


def _scope(on_gpu: bool) -> str:
    return "GPU boards" if on_gpu else "CPU packages and memory"


def summarize_energy(lines: Sequence[Line], *, on_gpu: bool) -> Energy:
    """Make one number of the telemetry of a run."""
    scope = _scope(on_gpu)
    windows = measure(lines)
    if windows is None:
        why = "no measured window in the telemetry" if lines else "there is no telemetry"
        return Energy(method=None, scope=scope, reason=why, windows=None)
    parts = windows.gpu if on_gpu else windows.cpu
    if not parts and windows.estimate:
        parts, scope = windows.estimate, "the whole machine, estimated"
    if not parts:
        lacking = "NVML gives neither energy nor power" if on_gpu else "no RAPL counter may be read on this machine"
        return Energy(method=None, scope=scope, reason=lacking, windows=windows)
    if windows.seconds < SHORTEST_WINDOW_S or windows.samples < 1:
        why = f"the window of {windows.seconds:.2f} s is too short: the counter moves every {COUNTER_STEP_S:g} s"
        return Energy(method=None, scope=scope, reason=why, windows=windows)
    gross = sum(part.gross_j for part in parts)
    idles = [part.idle_w for part in parts]
    idle = None if any(one is None for one in idles) else sum(one for one in idles if one is not None)
    net = None if idle is None else gross - idle * windows.seconds
    return Energy(
        method=" and ".join(dict.fromkeys(part.method for part in parts)),
        scope=scope,
        reason=_remark(windows, parts, net),
        windows=windows,
        gross_j=gross,
        idle_w=idle,
        net_j=net if net is not None and net > 0 else None,
    )


def _remark(windows: Windows, parts: Sequence[Part], net: float | None) -> str:
    """Say what a reader must know of the number; empty where there is nothing."""
    said = list(dict.fromkeys(part.note for part in parts if part.note))
    if windows.seconds < ADVISED_WINDOW_S:
        share = 2 * COUNTER_STEP_S / windows.seconds
        said.append(
            f"a window of {windows.seconds:.1f} s is known to about {share:.0%}; {ADVISED_WINDOW_S:g} s are advised"
        )
    if net is None:
        said.append("idle power was not measured")
    elif net <= 0:
        said.append("no more was drawn than idle, so that there is no net energy")
    return "; ".join(said)


def describe_energy(
    energy: Energy,
    *,
    carbon: Carbon | None,
    right: int | None,
    accuracy: float | None,
    time_s: float | None,
    samples: int,
) -> dict[str, Any]:
    """Return `energy` of metrics.json.

    Args:
        right: the right cars of all samples at the operating threshold; None where cars are not judged.
        accuracy: the count score; None where there is none.
        time_s: the mean time of the model call.
        samples: of the run, as `right` counts them.
    """
    shape = energy.to_json()
    missing: dict[str, str] = {}
    each, gross = energy.per_sample(energy.joules), energy.per_sample(energy.gross_j)
    shape["carbon"] = None if carbon is None or gross is None else _carbon_json(carbon, each, gross, samples)
    if shape["carbon"] is None:
        missing["carbon"] = energy.reason if gross is None else NO_PLACE
    shape["correct_cars_per_kj"] = None
    if each is None or right is None:
        missing["correct_cars_per_kj"] = energy.reason if each is None else "cars are not judged at a threshold"
    else:
        shape["correct_cars_per_kj"] = correct_per_kj(right, each * samples)
    shape["seed_green_score"] = None
    if shape["carbon"] is None or accuracy is None or time_s is None:
        why = missing.get("carbon") or ("cars are not counted" if accuracy is None else "no sample was timed")
        missing["seed_green_score"] = why
    else:
        shape["seed_green_score"] = seed_green_score(accuracy, shape["carbon"]["run_g"] / 1e3, time_s)
    return {**shape, "not_applicable": missing} if missing else shape


def _carbon_json(carbon: Carbon, each: float | None, gross: float, samples: int) -> dict[str, Any]:
    return {
        **carbon.to_json(),
        "g_per_1000_samples": None if each is None else carbon.grams(each * 1e3),
        "g_per_1000_samples_gross": carbon.grams(gross * 1e3),
        "run_g": carbon.grams(gross * samples),
    }


def find_cars(details: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> tuple[int | None, float | None]:
    """Return the right cars and the count score of the first class set, from `details` and `metrics`."""
    at = details.get("cars", {}).get("at_threshold")
    scores = [
        one["value"]
        for one in metrics
        if one["name"] == "count_score" and one["protocol"].startswith(("car_detection.car-", "car_count.car"))
    ]
    return None if at is None else int(at["right"]), next((one for one in scores if one is not None), None)
