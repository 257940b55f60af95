"""Lane graphs at the size of OpenLane-V2's validation set: our evaluation and the official devkit's.

At the default size there are 4,806 frames of 300 predicted lanes and 100 traffic elements with 300 × 300 topologies.
They are made one after another, while the clock stands still, because all of them together would take 2 GB. The devkit
runs in an environment of its own on the first frames, and its time is scaled: it grows linearly with the frames.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from benchmarks.evaluation_row import Row, Timing, describe_share, official_timing, timed
from tests.evaluation.generated_lanes import generate_lanes

from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.environments import ensure_official
from admlops.evaluation.lane_graph.lanes import LanePrediction, LaneTruth
from admlops.evaluation.lane_graph.official_files import OFFICIAL_NAMES, official_lane_graphs
from admlops.evaluation.lane_graph.protocols import OPENLANE_1_0, OPENLANE_1_1
from admlops.evaluation.lane_graph.scores import FRAMES_AT_ONCE, evaluate_lane_graphs

FRAMES = 4806
SAMPLES = 6019
"""The frames that stand for the default number of samples."""

OFFICIAL_FRAMES = 16
SEED = 30

Frame = tuple[LaneTruth, LanePrediction]


class Clock:
    """Frames from a generator; `made` is the time it took to make them."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self.frames = frames
        self.made = Timing()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with timed() as took:
                chunk = list(islice(self.frames, FRAMES_AT_ONCE))
            self.made = Timing(wall_s=self.made.wall_s + took.wall_s, cpu_s=self.made.cpu_s + took.cpu_s)
            if not chunk:
                return
            yield from chunk


def run(samples: int, folder: Path, *, official: bool = True, official_samples: int | None = None) -> Iterator[Row]:
    """One line for each devkit; what the official side takes goes to `folder`."""
    count = max(1, round(samples * FRAMES / SAMPLES))
    part = min(count, official_samples or OFFICIAL_FRAMES) if official else 0
    for protocol in (OPENLANE_1_1, OPENLANE_1_0):
        yield _row(count, protocol, folder, part)


def _row(count: int, protocol: str, folder: Path, part: int) -> Row:
    name = f"OpenLane-V2 ({protocol})"
    clock = Clock(generate_lanes(count, seed=SEED))
    with timed() as ours:
        evaluate_lane_graphs(clock, protocol=protocol)
    ours.wall_s, ours.cpu_s = ours.wall_s - clock.made.wall_s, ours.cpu_s - clock.made.cpu_s
    row = Row(name=name, ours=ours, peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    if not part:
        return row
    frames = list(generate_lanes(part, seed=SEED))
    layout = find_layout()
    try:
        environment = ensure_official(layout, OFFICIAL_NAMES[protocol], say=lambda _: None)
    except EnvError as error:
        return replace(row, note=f"the devkit cannot be installed: {error.message}")
    load = os.getloadavg()[0]
    theirs = official_lane_graphs(frames, protocol=protocol, environment=environment, layout=layout, folder=folder)
    values = evaluate_lane_graphs(frames, protocol=protocol).values
    return replace(
        row,
        official=official_timing(theirs, load=load, factor=count / part),
        measured=describe_share(part, count, "frames"),
        max_abs_difference=max(abs(value - theirs[key]) for key, value in values.items()),
        note=f"official: {theirs['seconds']:.1f} s, {theirs['cpu_seconds'] / part:.2f} s CPU a frame",
    )
