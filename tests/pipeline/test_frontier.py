"""What ways of running a model give and cost: which are beaten, and the page with its filter and export."""

from __future__ import annotations

import base64
import csv
import io
import re

from tests.noisy_runs import NoisyRuns

from admlops.pipeline.frontier import Point, Way, dominates, find_points, mark_dominated, to_csv
from admlops.reports.frontier import render_frontier

WAY = Way(model="A", variant="v", engine="", precision="half", weights="", device="cpu")


def point(run: str, protocol: str = "p", **values: float | None) -> Point:
    return Point(way=WAY, fault="none", protocol=protocol, metric="NDS", dataset="d", run=run, values=values)


def test_a_way_is_beaten_by_one_that_has_all_it_has() -> None:
    assert dominates({"score": 0.5, "p99_ms": 10.0}, {"score": 0.4, "p99_ms": 10.0})
    assert not dominates({"score": 0.5, "p99_ms": 11.0}, {"score": 0.4, "p99_ms": 10.0})
    assert not dominates({"score": 0.5}, {"score": 0.4, "p99_ms": 10.0}), "its time is not known"
    assert not dominates({"score": 0.4}, {"score": 0.4})
    assert dominates({"score": 0.4, "energy_j": 1.0, "p99_ms": 1.0}, {"score": 0.4, "energy_j": 2.0, "p99_ms": None})
    marked = mark_dominated([point("best", score=0.5), point("worse", score=0.4), point("other", "q", score=0.1)])
    assert {one.run: one.dominated_by for one in marked} == {"best": None, "worse": "best", "other": None}


def test_the_page_of_two_runs(noisy_runs: NoisyRuns) -> None:
    points = find_points([noisy_runs.near, noisy_runs.far])
    assert {one.dominated_by for one in points if one.run == "far"} == {"near"}
    assert {one.dominated_by for one in points if one.run == "near"} == {None}
    page = render_frontier(points)
    assert page.count('class="beaten"') == sum(one.dominated_by is not None for one in points)
    assert 'data-filter="model"' in page
    export = re.search(r"data:text/csv;base64,([A-Za-z0-9+/=]+)", page)
    assert export is not None
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(export[1]).decode())))
    assert [row["run"] for row in rows] == [one.run for one in points]
    assert base64.b64decode(export[1]).decode() == to_csv(points)
