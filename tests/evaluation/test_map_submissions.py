"""Map results in MapTR's form, with ground truth of MapTR's own file; with `full`, beside MapTR's code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.evaluation.generated_maps import found_of, generate_maps, truth_of
from tests.evaluation.taken_files import measure, take, values_of
from tests.evaluation.upstream import checkout_or_skip, official_python

from admlops.core.errors import DataError, UsageError
from admlops.core.paths import Layout, find_layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.official.program import ask_program
from admlops.evaluation.vector_map.element_table import TYPES
from admlops.evaluation.vector_map.official_files import OfficialMap
from admlops.evaluation.vector_map.protocols import CHAMFER, CHAMFER_WITH_CENTERLINES, MapProtocol
from admlops.evaluation.vector_map.scores import evaluate_elements
from admlops.pipeline.export_submission import export_submission

Entry = dict[str, Any]


def make_files(tokens: list[str], *, seed: int = 0) -> tuple[list[Entry], list[Entry]]:
    """Results and ground truth, entry by entry of a sample."""
    predictions, truth = generate_maps(len(tokens), seed=seed)
    results = [
        {
            "sample_token": token,
            "vectors": [_vector(name, points, confidence_level=score) for name, points, score in own],
        }
        for token, own in zip(tokens, predictions, strict=True)
    ]
    there = [
        {"sample_token": token, "vectors": [_vector(name, points) for name, points in own]}
        for token, own in zip(tokens, truth, strict=True)
    ]
    return results, there


def _vector(name: str, points: Any, **more: float) -> Entry:
    return {"pts": points.tolist(), "pts_num": len(points), "cls_name": name, "type": TYPES.index(name), **more}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def each(change: Callable[[Entry, np.random.Generator], object]) -> Callable[[list[Entry], list[Entry]], object]:
    def all_vectors(results: list[Entry], truth: list[Entry]) -> None:
        rng = np.random.default_rng(3)
        for entry in results:
            for vector in entry["vectors"]:
                change(vector, rng)

    return all_vectors


def _shorten(vector: Entry, rng: np.random.Generator) -> None:
    if rng.random() < 0.3:
        vector["pts"] = vector["pts"][: int(rng.integers(0, 2))]


def _shuffle(results: list[Entry], truth: list[Entry]) -> None:
    order = np.random.default_rng(1).permutation(len(results))
    results[:], truth[:] = [results[i] for i in order], [truth[i] for i in order]


def _add_centerlines(results: list[Entry], truth: list[Entry]) -> None:
    for entry in (*results, *truth):
        entry["vectors"] += [{**one, "type": 3, "cls_name": "centerline"} for one in entry["vectors"][::2]]


FILES: dict[str, tuple[Callable[[list[Entry], list[Entry]], object], MapProtocol]] = {
    "plain": (lambda results, truth: None, CHAMFER),
    "shuffled": (_shuffle, CHAMFER),
    "points too few": (each(_shorten), CHAMFER),
    "logits": (each(lambda one, rng: one.update(confidence_level=float(rng.normal(0, 4)))), CHAMFER),
    "wrong names": (each(lambda one, rng: one.update(cls_name="boundary")), CHAMFER),
    "nothing": (lambda results, truth: [entry["vectors"].clear() for entry in results], CHAMFER),
    "centrelines": (_add_centerlines, CHAMFER_WITH_CENTERLINES),
    "in space": (each(lambda one, rng: one.update(pts=[[*point, 0.0] for point in one["pts"]])), CHAMFER),
}


@pytest.mark.full
@pytest.mark.parametrize("name", FILES)
def test_maptrs_code_says_the_same_of_both_files(
    name: str, data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path
) -> None:
    checkout = checkout_or_skip("MapTR")
    python, why = official_python("maptr")
    if python is None:
        pytest.skip(why)
    change, protocol = FILES[name]
    results, truth = make_files(tokens, seed=len(name))
    change(results, truth)
    file = write(tmp_path / "results.json", {"meta": {}, "results": results})
    truth_file = write(tmp_path / "truth.json", {"GTs": truth})
    given = _as_official_code_reads(file, truth_file, protocol)
    vectors = write(tmp_path / "vectors.json", given)
    program = find_layout().envs / "official" / "maptr" / "evaluate.py"
    command: list[str | Path] = [python, program, "--vectors", vectors, "--maptr", checkout]
    answer = ask_program("MapTR", command, result=tmp_path / "out.json", variables={}, timeout_s=300)
    theirs = {
        key: float(np.mean(list(own.values()))) for key, own in msgspec.json.decode(answer, type=OfficialMap).ap.items()
    }
    ours = measure(layout, take(layout, file, data), data, truth_map=truth_file)
    values = values_of(ours, protocol.name)
    assert {key: values[f"AP_{key}"] for key in theirs} == pytest.approx(theirs, abs=1e-6)
    assert values["mAP"] == pytest.approx(np.mean(list(theirs.values())), abs=1e-6)


def _as_official_code_reads(file: Path, truth: Path, protocol: MapProtocol) -> dict[str, Any]:
    """Both files as `_evaluate_single` hands them to MapTR's evaluator: entry by entry, types by number."""
    results, there = json.loads(file.read_text())["results"], json.loads(truth.read_text())["GTs"]
    return {
        "classes": protocol.classes,
        "metric": "chamfer",
        "thresholds": protocol.thresholds,
        "predictions": [
            [(one["type"], [point[:2] for point in one["pts"]], one["confidence_level"]) for one in entry["vectors"]]
            for entry in results
        ],
        "ground_truth": [[(one["type"], one["pts"]) for one in entry["vectors"]] for entry in there],
    }


def test_a_file_with_its_own_ground_truth(data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path) -> None:
    predictions, truth = generate_maps(len(tokens), seed=7)
    results, there = make_files(tokens, seed=7)
    file = write(tmp_path / "maps.json", {"meta": {}, "results": results})
    truth_file = write(
        tmp_path / "nuscenes_map_anns_val.json", {"GTs": [*there, {"sample_token": "other", "vectors": []}]}
    )
    run = take(layout, file, data)
    metrics = measure(layout, run, data, truth_map=truth_file)
    expected = evaluate_elements(found_of(predictions, CHAMFER.classes), truth_of(truth))
    (own,) = {one["protocol"] for one in metrics["metrics"]}
    assert own.startswith(f"{CHAMFER.name}@")
    assert len(own) == len(CHAMFER.name) + 13
    assert values_of(metrics, CHAMFER.name) == pytest.approx(
        {one.name: one.value for one in expected.metrics("")}, abs=1e-9
    )
    other = values_of(measure(layout, run, data), CHAMFER.name)  # of vectors cut from the map
    assert set(other) == {"mAP", "AP_divider", "AP_ped_crossing", "AP_boundary"}
    assert other["mAP"] != values_of(metrics, CHAMFER.name)["mAP"]


def test_there_and_back(data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path) -> None:
    file = write(tmp_path / "maps.json", {"meta": {}, "results": make_files(tokens, seed=2)[0]})
    out = tmp_path / "out.json"
    assert export_submission(take(layout, file, data), "maptr", out) == len(tokens)
    before, after = (json.loads(path.read_text())["results"] for path in (file, out))
    for first, second in zip(before, after, strict=True):
        assert first["sample_token"] == second["sample_token"]
        for a, b in zip(first["vectors"], second["vectors"], strict=True):
            np.testing.assert_allclose(a["pts"], b["pts"], atol=1e-12)
            assert {**a, "pts": 0} == {**b, "pts": 0}


def _spoilt(results: list[Entry], **changes: object) -> list[Entry]:
    results[2]["vectors"][1].update(changes)
    return results


WRONG: dict[str, tuple[Callable[[list[Entry]], object], str]] = {
    "twice": (lambda results: [*results, results[0]], "entry 9: sample .* is there twice"),
    "missing": (lambda results: results[1:], "1 of the 9 samples of split mini_val are missing"),
    "type": (lambda results: _spoilt(results, type=4), "sample .*, element 1: type is 4; 0 is divider"),
    "NaN": (lambda results: _spoilt(results, pts=[[0, 0], [float("nan"), 1]]), r"sample .*: Expected `float`|finite"),
    "score": (lambda results: _spoilt(results, confidence_level=None), "confidence_level"),
    "ragged": (lambda results: _spoilt(results, pts=[[0, 0], [1]]), "element 1: pts are not all pairs"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str, data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path) -> None:
    change, said = WRONG[name]
    content = {"meta": {}, "results": change(make_files(tokens)[0])}
    with pytest.raises(UsageError, match=said) as refused:
        take(layout, write(tmp_path / "maps.json", content), data)
    assert "maps.json" in refused.value.message
    assert not layout.runs.exists() or not list(layout.runs.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"GTs": []}, "has no ground truth of 9 of 9 samples"),
        ({"results": []}, "missing required field `GTs`"),
        ([], "Expected `object`"),
    ],
)
def test_a_wrong_ground_truth_is_named(
    content: object, said: str, data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path
) -> None:
    run = take(layout, write(tmp_path / "maps.json", {"meta": {}, "results": make_files(tokens)[0]}), data)
    with pytest.raises(DataError, match=said):
        measure(layout, run, data, truth_map=write(tmp_path / "truth.json", content))
