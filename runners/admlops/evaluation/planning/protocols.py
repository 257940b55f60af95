"""The planning protocols: as ST-P3 and VAD average over the horizon, and as UniAD takes the value at each step."""

from __future__ import annotations

from admlops.evaluation.base import MetricSpec

STP3 = "stp3.planning"
UNIAD = "uniad.planning"
PROTOCOLS = (STP3, UNIAD)
HORIZONS_S = (1, 2, 3)
FUTURE_STEPS = 6
NAMES = ("L2", "obj_col", "obj_box_col")
PUBLISHED = {"obj_box_col": "collision"}
AVERAGED = ("L2", "obj_box_col")
"""What papers call a value, and of which they give the mean over the horizons."""


def plan_metrics() -> tuple[MetricSpec, ...]:
    """Return the metrics of either protocol: by horizon, then the means over the horizons."""
    specs = []
    for name in NAMES:
        ends = [f"{second}s" for second in HORIZONS_S] + (["avg"] if name in AVERAGED else [])
        unit = "m" if name == "L2" else ""
        specs += [MetricSpec(f"{PUBLISHED.get(name, name)}_{end}", unit=unit, higher_is_better=False) for end in ends]
    return tuple(specs)
