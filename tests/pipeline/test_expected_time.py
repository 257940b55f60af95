"""How long a run will take is said before it begins, by the newest run of the same kind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.evaluation.picture_runs import finder, write_picture_run, write_pictures

from admlops.core.paths import Layout, find_layout
from admlops.pipeline.expected_time import find_measured, spell_time
from admlops.results.run_folder import RunFolder

COUNT = 10


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return replace(find_layout(), repository=tmp_path)


@pytest.fixture
def earlier(layout: Layout) -> RunFolder:
    """A run of ten samples: 4 s until its worker was ready, 20 s for the samples."""
    data = write_pictures(layout.repository / "pictures", COUNT)
    run = write_picture_run(layout.runs / "earlier", data, finder(1.0, seed=0))
    times = (("run_started", 100.0), ("worker_started", 100.5), ("worker_ready", 104.0), ("run_ended", 124.0))
    lines = [json.dumps({"t": t, "event": name, "worker": 0}) for name, t in times]
    run.events_path.write_text("\n".join(lines) + "\n")
    return run


def test_the_next_run_of_the_kind_says_how_long_it_will_take(layout: Layout, earlier: RunFolder) -> None:
    header = msgspec.structs.replace(earlier.header, run="now")
    measured = find_measured(layout, header)
    assert measured is not None
    assert (measured.start_s, measured.sample_s, measured.joules) == (4.0, 2.0, None)
    assert measured.say(600, 1) == "about 20 min: earlier took 2 s a sample and 4 s to start"
    assert measured.say(600, 2).startswith("about 10 min: ")
    energy = {"energy": {"j_per_sample": 7.5}}
    earlier.metrics_path.write_text(json.dumps(energy))
    measured = find_measured(layout, header)
    assert measured is not None
    assert measured.say(600, 1).startswith("about 20 min and 4.5 kJ: ")


def test_another_way_of_running_says_nothing(layout: Layout, earlier: RunFolder) -> None:
    own = earlier.header
    engine = {"kind": "onnx", "precision": "auto"}
    drawn = {**own.settings, "options": {"weights": "random:0"}}
    assert find_measured(layout, msgspec.structs.replace(own, run="now", settings=drawn)) is not None
    for other in (
        msgspec.structs.replace(own, run="now", model="YOLOv8"),
        msgspec.structs.replace(own, run="now", settings={**own.settings, "engine": engine}),
        msgspec.structs.replace(own, run="now", settings={**own.settings, "batch": 8}),
        msgspec.structs.replace(own, run="now", device=None),
    ):
        assert find_measured(layout, other) is None


def test_a_run_that_went_on_after_a_stop_is_no_measure(layout: Layout, earlier: RunFolder) -> None:
    earlier.append_event("run_started")
    assert find_measured(layout, msgspec.structs.replace(earlier.header, run="now")) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0314, "0.031 s"), (4.2, "4.2 s"), (44.6, "45 s"), (720, "12 min"), (12600, "3.5 h")]
)
def test_times_are_spelled_for_people(seconds: float, text: str) -> None:
    assert spell_time(seconds) == text
