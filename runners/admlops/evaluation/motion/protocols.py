"""VAD's protocol of predicted motion: minADE, minFDE, miss rate and EPA of cars and pedestrians."""

from __future__ import annotations

from admlops.evaluation.base import MetricSpec

VAD_MOTION = "vad.motion"
FUTURE_STEPS = 6
METRICS = tuple(
    MetricSpec(f"{name}_{kind}", unit=unit, higher_is_better=name == "EPA")
    for kind in ("car", "pedestrian")
    for name, unit in (("minADE", "m"), ("minFDE", "m"), ("MR", ""), ("EPA", ""))
)
