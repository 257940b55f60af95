"""The comparison that docs/fidelity.md rests on: it finds what differs, matches lists, and says it in the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.models.both_ways import find_environment
from tests.models.fidelity import DATA, PAGE, Results, measure_trace, measure_variants, summarize_trace
from tests.models.fidelity_cases import CASES
from tests.models.fidelity_compare import compare, largest
from tests.models.fidelity_page import render

from admlops.catalog import list_models, load_model
from admlops.core.paths import find_layout

ROWS = 60


def decoded(seed: int = 0) -> dict[str, Any]:
    """A list of boxes sorted by score, and a head's logits."""
    chance = np.random.default_rng(seed)
    return {
        "0/output.pts_bbox.boxes_3d": chance.uniform(-50, 50, (ROWS, 9)),
        "0/output.pts_bbox.scores_3d": np.sort(chance.uniform(0, 1, ROWS))[::-1].copy(),
        "0/output.pts_bbox.labels_3d": chance.integers(0, 10, ROWS),
        "0/head.pts_bbox_head.codes": chance.normal(size=(6, 1, 900, 10)),
        "times": np.array("{}"),
    }


def rows(arrays: dict[str, Any], order: Any) -> dict[str, Any]:
    return {name: array[order] if "output" in name else array for name, array in arrays.items()}


def test_equal_arrays_do_not_differ() -> None:
    found = compare(decoded(), decoded())
    assert set(found.outputs.values()) == {0.0}
    assert set(found.outputs) == {
        *(f"output.pts_bbox.{name}" for name in ("boxes_3d", "scores_3d", "labels_3d")),
        "head.pts_bbox_head.codes",
    }
    assert (found.moved, found.exchanged) == (0, 0)


def test_a_difference_is_found_where_it_is() -> None:
    other = decoded()
    other["0/head.pts_bbox_head.codes"][3, 0, 7, 2] += 0.25
    found = compare(decoded(), other)
    assert found.outputs["head.pts_bbox_head.codes"] == pytest.approx(0.25)
    assert found.outputs["output.pts_bbox.boxes_3d"] == 0.0


def test_rows_that_changed_places_are_matched() -> None:
    order = np.arange(ROWS)
    order[[10, 11, 30, 31]] = [11, 10, 31, 30]
    other = rows(decoded(), order)
    other["0/output.pts_bbox.boxes_3d"][5, 0] += 0.001
    found = compare(decoded(), other)
    assert found.outputs["output.pts_bbox.boxes_3d"] == pytest.approx(0.001)
    assert found.outputs["output.pts_bbox.labels_3d"] == 0.0
    assert (found.moved, found.exchanged) == (4, 0)


def test_queries_that_changed_places_are_matched_and_counted() -> None:
    def head(order: Any, nudge: float = 0.0) -> dict[str, Any]:
        chance = np.random.default_rng(1)
        boxes, scores = chance.normal(size=(6, 1, 40, 10)), chance.normal(size=(6, 1, 40, 3))
        boxes[2, 0, 4, 1] += nudge
        return {
            "1/head.pts_bbox_head.all_bbox_preds": boxes[:, :, order],
            "1/head.pts_bbox_head.all_cls_scores": scores[:, :, order],
        }

    order = np.arange(40)
    order[[20, 21]] = [21, 20]
    found = compare(head(np.arange(40)), head(order, nudge=0.25))
    assert found.outputs["head.pts_bbox_head.all_bbox_preds"] == pytest.approx(0.25)
    assert found.outputs["head.pts_bbox_head.all_cls_scores"] == 0.0
    assert (found.moved_queries, found.moved) == (2, 0)


def test_a_lane_graph_is_the_same_in_another_order() -> None:
    chance = np.random.default_rng(2)
    graph = {
        "lanes.points": chance.uniform(-50, 50, (30, 11, 3)),
        "lanes.confidence": np.sort(chance.uniform(0, 1, 30))[::-1].copy(),
        "traffic_elements.bbox_xyxy": chance.uniform(0, 1500, (8, 4)),
        "lane_to_lane": chance.uniform(0, 1, (30, 30)),
        "lane_to_traffic": chance.uniform(0, 1, (30, 8)),
    }
    lanes, elements = np.arange(30), np.arange(8)
    lanes[[4, 5]], elements[[0, 1, 2]] = [5, 4], [2, 0, 1]
    other = {name: array[elements if name.startswith("traffic") else lanes] for name, array in graph.items()}
    other["lane_to_lane"] = other["lane_to_lane"][:, lanes]
    other["lane_to_traffic"] = other["lane_to_traffic"][:, elements]
    named = [{f"0/record.lane_graph.{name}": array for name, array in one.items()} for one in (graph, other)]
    found = compare(named[0], named[1])
    assert set(found.outputs.values()) == {0.0}
    assert found.moved == 5
    named[1]["0/record.lane_graph.lane_to_lane"][3, 7] += 0.5
    assert compare(named[0], named[1]).outputs["record.lane_graph.lane_to_lane"] == pytest.approx(0.5)


def test_another_row_at_the_end_is_counted_and_not_compared() -> None:
    other = decoded()
    other["0/output.pts_bbox.boxes_3d"][-1] += 40.0
    found = compare(decoded(), other)
    assert found.outputs["output.pts_bbox.boxes_3d"] == 0.0
    assert found.exchanged == 1


def test_another_row_anywhere_else_is_a_difference() -> None:
    other = decoded()
    other["0/output.pts_bbox.boxes_3d"][20] += 40.0
    found = compare(decoded(), other)
    assert found.outputs["output.pts_bbox.boxes_3d"] == pytest.approx(40.0)
    assert found.exchanged == 0


def test_shapes_names_and_numbers_that_are_none_differ_without_end() -> None:
    missing, longer, broken = decoded(), decoded(), decoded()
    del missing["0/head.pts_bbox_head.codes"]
    longer["0/head.pts_bbox_head.codes"] = np.zeros((6, 1, 901, 10))
    broken["0/head.pts_bbox_head.codes"][0, 0, 0, 0] = np.nan
    for other in (missing, longer, broken):
        assert compare(decoded(), other).outputs["head.pts_bbox_head.codes"] == float("inf")
    assert largest(np.zeros(3), np.zeros(4)) == float("inf")


def test_a_trace_names_the_steps_and_the_module_that_differs_by_itself() -> None:
    def row(module: str, kind: str, value: float) -> dict[str, Any]:
        return {"module": f"{module}#0", "type": kind, "largest": value, "scale": 2.0}

    carried = [row("a", "Conv2d", 2e-7), row("b", "ReLU", 2e-7), row("c", "Attention", 2e-3), row("d", "Linear", 3e-3)]
    own = [row("a", "Conv2d", 2e-7), row("b", "ReLU", 0.0), row("c", "Attention", 1.9e-3), row("d", "Linear", 1e-7)]
    found = summarize_trace(carried, own)
    assert [step["module"] for step in found["steps"]] == ["c"]
    assert found["own"][0] == {"module": "c", "type": "Attention", "inside": "", "relative": pytest.approx(9.5e-4)}
    page = render({"MapTR": {"trace": {"classic": found}}})
    assert "`c` (Attention) differs by 9.5e-04" in page
    quiet = summarize_trace([row("a", "Conv2d", 2e-7)], [row("a", "Conv2d", 2e-7)])
    assert "No operator computes anything else" in render({"MapTR": {"trace": {"classic": quiet}}})


def test_the_page_is_what_the_numbers_say() -> None:
    results = json.loads(DATA.read_text())
    assert render(results) == PAGE.read_text(), "make fidelity writes both"
    assert set(results) <= set(CASES)


def test_every_network_of_other_authors_has_a_case() -> None:
    layout = find_layout()
    networks = {name for name in list_models(layout) if load_model(layout, name).source.kind == "git"}
    assert {case.model for case in CASES.values()} >= networks
    assert all(case.config for case in CASES.values())


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_variants_are_measured_and_traced(tmp_path: Path) -> None:
    for variant in ("modern", "classic"):
        find_environment("StreamPETR", variant)
    entry: Results = {}
    measure_variants(CASES["StreamPETR"], entry, tmp_path, "cpu")
    measure_trace(CASES["StreamPETR"], entry, tmp_path, "cpu")
    for costs in entry["costs"].values():
        assert costs["first_sample_s"] > costs["load_s"] > 0
        assert costs["peak_host_mb"] > 100
    outputs = entry["variants"]["classic"]["outputs"]
    assert 0 < max(value for name, value in outputs.items() if name.startswith("head.")) <= 1e-3
    trace = entry["trace"]["classic"]
    assert trace["modules"] > 100
    assert 0 < trace["largest_own"] <= trace["largest_carried"] < 1e-2
