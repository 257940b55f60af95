"""Two evaluated runs: their difference, whether it is real, and what must not be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.evaluation.generated_boxes import VERSION, predict, tokens_of, write_tables
from tests.evaluation.generated_runs import write_run

from admlops.core.errors import ComparabilityError, RecordError
from admlops.core.nuscenes_classes import CLASSES
from admlops.core.paths import find_layout
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.protocols import NUSCENES
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.paired_bootstrap import EvaluatedRun, compare_evaluated, read_evaluated
from admlops.results.run_folder import RunFolder

SCENES, SAMPLES = 11, 2

MakeRun = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("paired") / "nuscenes", scenes=SCENES, samples=SAMPLES, objects=60)


@pytest.fixture
def make(root: Path, tmp_path: Path) -> MakeRun:
    """Write a run of generated predictions and evaluate it."""

    def make_run(name: str, *, scenes: int = SCENES, skill: float = 1.0, evaluated: bool = True) -> RunFolder:
        annotations = read_annotations(root, VERSION, tokens_of(scenes, SAMPLES))
        truth = make_ground_truth(annotations)
        boxes = predict(truth, per_sample=40, skill=skill, seed=3)
        run = write_run(tmp_path / "repository" / "runs" / name, root, annotations, truth, boxes)
        if evaluated:
            evaluate_run(run, NuScenes(root, VERSION), layout=find_layout(), say=print)
        return run

    return make_run


def test_a_better_model_is_better_beyond_chance(make: MakeRun, admlops: Admlops) -> None:
    worse, better = make("worse", skill=0.4), make("better")
    differences = {one.metric: one for one in compare_evaluated(read_evaluated(worse), read_evaluated(better))}
    assert set(differences) == {"mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE"}
    one = differences["mAP"]
    assert one.a is not None
    assert one.b is not None
    assert one.difference == pytest.approx(one.b - one.a)
    assert one.interval is not None
    assert one.difference is not None
    assert 0 < one.interval[0] < one.difference < one.interval[1]
    assert one.p_value is not None
    assert one.p_value < 0.01
    itself = compare_evaluated(read_evaluated(worse), read_evaluated(worse))
    assert {(same.difference, same.p_value) for same in itself} == {(0.0, 1.0)}

    shown = json.loads(admlops("results", "compare", "worse", "better", "--json").stdout)
    assert shown["metrics"] == [entry.to_json() for entry in differences.values()]
    table = admlops("results", "compare", "worse", "better").stdout
    assert f"{one.difference:+.4f}" in table
    assert "B  better (Generated)" in table
    path = better.path / "run.json"
    header = json.loads(path.read_text())
    header["settings"]["engine"] = {"kind": "onnx", "precision": "int8", "verified": False}
    path.write_text(json.dumps(header))
    assert "B  better (Generated@onnx:int8, not verified)" in admlops("results", "compare", "worse", "better").stdout


def test_evaluate_prints_intervals(make: MakeRun, admlops: Admlops) -> None:
    run = make("plain", evaluated=False)
    lines = admlops("evaluate", "plain").stdout.splitlines()
    [map_line] = [line for line in lines if line.startswith("mAP")]
    entry = json.loads(run.metrics_path.read_text())["metrics"][0]
    low, high = entry["interval"]
    assert f"{entry['value']:.4f}  {low:.4f} to {high:.4f}  {SCENES * SAMPLES}" in map_line
    assert run.check_manifest() == []


def test_other_samples_are_an_error_that_names_both(make: MakeRun, admlops: Admlops) -> None:
    whole, part = make("whole"), make("part", scenes=SCENES - 1)
    with pytest.raises(ComparabilityError, match=r"22 samples with digest \w+ and 20 samples with digest"):
        compare_evaluated(read_evaluated(whole), read_evaluated(part))
    refused = admlops("results", "compare", "whole", "part", check=False)
    assert refused.returncode == 2
    assert refused.stderr.count(NUSCENES.name) == 2


def test_what_is_missing_is_said_with_the_next_command(make: MakeRun) -> None:
    run = make("raw", evaluated=False)
    with pytest.raises(RecordError, match="run raw is not evaluated") as caught:
        read_evaluated(run)
    assert caught.value.hint == "admlops evaluate raw"
    few = make("few", scenes=3)
    assert not few.resamples_path.exists()
    reasons = {one.reason for one in compare_evaluated(read_evaluated(few), read_evaluated(few))}
    assert reasons == {"no intervals: too few scenes to resample: 3, at least 10 are needed"}


@pytest.mark.parametrize(
    ("resamples", "reason"),
    [
        ([0.1, float("nan")], "mAP is undefined in some resamples"),
        ([0.1, 0.2, 0.3], "2 and 3 resamples: evaluate both runs with one admlops"),
        (None, "p is not resampled"),
    ],
)
def test_why_there_is_no_interval_is_said(resamples: list[float] | None, reason: str) -> None:
    metric = Metric(name="mAP", protocol="p", value=0.1, n=2, dataset="d")
    found = {"a": [0.1, 0.2], "b": resamples}
    a, b = (
        EvaluatedRun(
            name=name,
            model=name,
            metrics=(metric,),
            resamples={} if values is None else {("p", "mAP"): np.array(values)},
            reason=None,
        )
        for name, values in found.items()
    )
    (one,) = compare_evaluated(a, b)
    assert (one.difference, one.interval, one.p_value, one.reason) == (0.0, None, None, reason)


def test_records_are_the_boxes_they_were_made_from(make: MakeRun, root: Path) -> None:
    """The way through records and back to the global frame changes no metric."""
    from admlops.evaluation.detection_3d.protocols import NUSCENES
    from admlops.evaluation.detection_3d.scores import match_boxes, score

    run = make("there-and-back")
    metrics = json.loads(run.metrics_path.read_text())
    truth = make_ground_truth(read_annotations(root, VERSION, tokens_of(SCENES, SAMPLES)))
    result = score(match_boxes(predict(truth, per_sample=40, seed=3), truth, NUSCENES))
    values = {entry["name"]: entry["value"] for entry in metrics["metrics"]}
    assert values["mAP"] == pytest.approx(result.mean_ap, abs=1e-12)
    assert values["NDS"] == pytest.approx(result.nds, abs=1e-12)
    classes = metrics["details"]["detection"]["classes"]
    aps = [entry["mean_ap"] for entry in classes.values()]
    np.testing.assert_allclose(aps, [result.classes[name].mean_ap for name in CLASSES], atol=1e-12)
