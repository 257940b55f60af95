"""Charts: whole XML, the page's colours, ids of their own, the same bytes each time, nothing where there is nothing."""

from __future__ import annotations

import ast
import re
from xml.etree import ElementTree as ET

import pytest
from tests.reports.fabricate import DETECTION, make_metadata, make_run

from admlops.core.paths import find_layout
from admlops.evaluation.statistics.ranking import Axis
from admlops.pipeline.run_data import Reading
from admlops.reports import charts

SERIES = charts.Series(label="A", index=0)
BOTH = [SERIES, charts.Series(label="B", index=1)]
SAMPLES = make_metadata("A", failed=2)
ODD = "B $x_1$ <b>"
TIMES = {"A": [s.inference_time for s in SAMPLES if s.inference_time], ODD: [0.2, 0.21, 0.25]}


def axis(name: str, *, scale: str = "score", **values: float) -> Axis:
    return Axis(name=name, protocol=DETECTION, scale=scale, values=values)


THREE = [axis("mAP", A=0.3, B=0.5), axis("NDS", A=0.4, B=0.2), axis("mATE", scale="1 - error", A=0.6, B=0.5)]


def draw_all() -> dict[str, str | None]:
    telemetry = make_run().telemetry
    return {
        "radar": charts.draw_radar(THREE, BOTH, name="radar"),
        "scores": charts.draw_scores(THREE, charts.Series(label="A", index=0), name="scores"),
        "histogram": charts.draw_latency_histogram(TIMES, name="histogram"),
        "ecdf": charts.draw_latency_ecdf(TIMES, name="ecdf"),
        "timeline": charts.draw_timeline(SAMPLES, name="timeline", series=SERIES),
        "memory": charts.draw_telemetry(telemetry, "memory", name="memory"),
        "curve": charts.draw_precision_recall({"A": ([0, 0.5], [1, 0.7])}, ["A"], title=ODD, name="curve"),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, str | None]:
    return draw_all()


def texts(svg: str | None) -> set[str]:
    assert svg is not None
    return {text.text or "" for text in ET.fromstring(svg).iter() if text.tag.endswith("text")}


def test_every_chart_is_whole_xml_with_ids_of_its_own_and_a_label(drawn: dict[str, str | None]) -> None:
    for name, svg in drawn.items():
        assert svg is not None
        root = ET.fromstring(svg)
        ids = [value for part in root.iter() if (value := part.get("id"))]
        assert all(value.startswith(f"{name}-") for value in ids)
        assert len(ids) == len(set(ids))
        referred = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
        assert referred <= set(ids)
        assert root.get("aria-label")


def test_colours_are_the_pages_variables(drawn: dict[str, str | None]) -> None:
    for svg in drawn.values():
        assert svg is not None
        assert re.findall(r"(?<!&)#[0-9a-f]{6}\b", svg) == []
        assert "var(--series-1)" in svg
        assert "DejaVu" not in svg


def test_the_same_input_gives_the_same_bytes(drawn: dict[str, str | None]) -> None:
    assert draw_all() == drawn


def test_text_stays_text_and_cannot_inject_markup_or_formulas(drawn: dict[str, str | None]) -> None:
    assert ODD in texts(drawn["curve"])
    assert {"mAP", "NDS", "1 − mATE"} <= texts(drawn["radar"])


def test_the_timeline_names_its_scenes_first_frames_and_failures(drawn: dict[str, str | None]) -> None:
    assert {"scene-0103", "scene-0916", "first frame of a scene", "failed"} <= texts(drawn["timeline"])


def test_a_radar_needs_three_axes_and_two_models() -> None:
    assert charts.draw_radar(THREE[:2], BOTH, name="x") is None
    assert charts.draw_radar(THREE, BOTH[:1], name="x") is None
    lopsided = [*THREE[:2], axis("mAVE", A=0.5)]
    assert charts.draw_radar(lopsided, BOTH, name="x") is None


def test_nothing_to_draw_is_none() -> None:
    assert charts.draw_scores(THREE, charts.Series(label="C", index=2), name="x") is None
    assert charts.draw_latency_histogram({"A": []}, name="x") is None
    assert charts.draw_latency_ecdf({}, name="x") is None
    assert charts.draw_timeline([], name="x", series=SERIES) is None
    assert charts.draw_telemetry([Reading(t=0, cpu_percent=3)], "utilisation", name="x") is None
    assert charts.draw_telemetry([Reading(t=0), Reading(t=1)], "power", name="x") is None


@pytest.mark.parametrize("times", [[0.1], [0.1, 0.1, 0.1, 0.1, 0.1], [0.1, 5.0], [0.1] * 50 + [9.0]])
def test_a_histogram_of_odd_times_is_drawn(times: list[float]) -> None:
    svg = charts.draw_latency_histogram({"A": times}, name="x")
    assert svg is not None
    ET.fromstring(svg)


def test_a_thinned_curve_keeps_its_ends() -> None:
    recall = [index / 1000 for index in range(1001)]
    thin = charts.thin_curve(recall, recall, points=11)
    assert (len(thin[0]), thin[0][0], thin[0][-1]) == (11, 0.0, 1.0)
    assert charts.thin_curve([], []) == ([], [])


def test_every_bar_is_drawn_in_one_style() -> None:
    """Whatever draws a bar, on the page or for a paper, takes its looks and its width from one place."""
    calls = []
    for path in (find_layout().root / "runners" / "admlops" / "reports").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("bar", "barh")
            ):
                calls.append((path.name, ast.unparse(node)))
    assert {name for name, _ in calls} == {"charts.py", "data_charts.py", "plots.py"}
    for name, call in calls:
        assert "BAR_SHARE" in call, (name, call)
        assert "**looks" in call, (name, call)
        assert not re.search(r"\b(color|hatch|edgecolor|linewidth)=", call), (name, call)
