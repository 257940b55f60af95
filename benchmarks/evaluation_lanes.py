"""Lane graphs at the size of OpenLane-V2's validation set: our evaluation and the official devkit's.

At the default size there are 4,806 frames of 300 predicted lanes and 100 traffic elements with 300 × 300 topologies.
They are made one after another, while the clock stands still, because all of them together would take 2 GB. The devkit
runs in an environment of its own on the first frames, and its time is scaled: it grows linearly with the frames.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.evaluation_row import Row
from tests.evaluation.generated_lanes import generate_lanes

from admlops.environments import ensure_official
from admlops.errors import EnvError
from admlops.evaluation.lane_files import OFFICIAL_NAMES, official_lane_graphs
from admlops.evaluation.lane_graph import FRAMES_AT_ONCE, OPENLANE_1_0, OPENLANE_1_1, evaluate_lane_graphs
from admlops.evaluation.lanes import LanePrediction, LaneTruth
from admlops.paths import find_layout

FRAMES = 4806
SAMPLES = 6019
"""The frames that stand for the default number of samples."""

OFFICIAL_FRAMES = 16
SEED = 30

Frame = tuple[LaneTruth, LanePrediction]


class Clock:
    """Frames from a generator; `made_s` is the time it took to make them."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self.frames = frames
        self.made_s = 0.0

    def __iter__(self) -> Iterator[Frame]:
        while True:
            start = time.perf_counter()
            chunk = list(islice(self.frames, FRAMES_AT_ONCE))
            self.made_s += time.perf_counter() - start
            if not chunk:
                return
            yield from chunk


def run(samples: int, folder: Path, *, official: bool = True) -> list[Row]:
    """One line for each devkit; what the official side takes goes to `folder`."""
    count = max(1, round(samples * FRAMES / SAMPLES))
    return [_row(count, protocol, folder, official) for protocol in (OPENLANE_1_1, OPENLANE_1_0)]


def _row(count: int, protocol: str, folder: Path, official: bool) -> Row:
    name = f"OpenLane-V2 ({protocol})"
    clock = Clock(generate_lanes(count, seed=SEED))
    start = time.perf_counter()
    evaluate_lane_graphs(clock, protocol=protocol)
    ours_s = time.perf_counter() - start - clock.made_s
    note = f"{count} frames; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"
    if not official:
        return Row(name=name, ours_s=ours_s, note=note)
    frames = list(generate_lanes(min(count, OFFICIAL_FRAMES), seed=SEED))
    layout = find_layout()
    try:
        environment = ensure_official(layout, OFFICIAL_NAMES[protocol], say=lambda _: None)
    except EnvError as error:
        return Row(name=name, ours_s=ours_s, note=f"{note}; the devkit cannot be installed: {error.message}")
    theirs = official_lane_graphs(frames, protocol=protocol, environment=environment, layout=layout, folder=folder)
    ours = evaluate_lane_graphs(frames, protocol=protocol).values
    return Row(
        name=name,
        ours_s=ours_s,
        official_s=theirs["seconds"] * count / len(frames),
        max_abs_difference=max(abs(value - theirs[key]) for key, value in ours.items()),
        note=f"{note}; official: {theirs['seconds']:.1f} s for {len(frames)} frames, scaled",
    )
