"""A run folder in, `metrics.json` out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.evaluation.oracle_records import metadata, truth_record

from admlops.core.errors import DataError, RecordError, UsageError
from admlops.core.paths import Layout
from admlops.datasets.nuscenes.tables import NuScenes, tokens_digest
from admlops.environments import Environment
from admlops.evaluation.detection_3d.protocols import NUSCENES
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.metrics import metrics_of
from admlops.evaluation.vector_map.protocols import CHAMFER
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.record import Outputs, Record
from admlops.results.record_json import make_record
from admlops.results.run_folder import RunFolder


def make_run(
    path: Path, data: NuScenes, records: Sequence[Record], *, state: str = "complete", version: str | None = None
) -> RunFolder:
    """A run over every scene of `data`; scenes without a record in `records` are missing."""
    scenes = {scene.name: len(scene.samples) for scene in data.scenes()}
    header = RunHeader(
        run=path.name,
        model="Oracle",
        variant="modern",
        environment=EnvironmentInfo(name="e", digest="d", backend="venv", python="3.11"),
        data=DataInfo(
            root=str(data.root), version=version or data.version, split="mini_val", samples_sha256="", synthetic=False
        ),
        provenance=Provenance(commit=None, admlops="0", host="h"),
        scenes=scenes,
        settings={},
        created="2026-01-01T00:00:00+00:00",
    )
    run = RunFolder.create(path, header)
    for scene in scenes:
        own = [record for record in records if record.metadata.scene == scene]
        if own:
            with run.scene_writer(scene) as writer:
                for record in own:
                    writer.append(record)
                writer.commit()
    run.update(state=state)  # type: ignore[arg-type]
    return run


def test_a_run_of_both_tasks(
    data: NuScenes, tokens: list[str], official_environment: Environment, layout: Layout, tmp_path: Path
) -> None:
    """One sample failed, one is much worse than the others."""
    assert official_environment.python.exists()
    records = [truth_record(data, token, noise=0.05) for token in tokens]
    records[2] = make_record(metadata(data, tokens[2], failed=True), Outputs())
    records[4] = truth_record(data, tokens[4], noise=3.0)
    run = make_run(tmp_path / "run", data, records)
    said: list[str] = []
    metrics = evaluate_run(run, data, layout=layout, say=said.append, official=True)

    assert json.loads(run.metrics_path.read_text()) == metrics
    official = {one["package"]: one for one in metrics["official"]}
    assert official["nuscenes-devkit"]["max_abs_difference"] < 1e-9
    if (layout.root / "submodules" / "MapTR" / "projects").is_dir():
        assert official["MapTR"]["protocol"] == CHAMFER.name
        assert official["MapTR"]["max_abs_difference"] < 0.05  # it leaves the order of equal confidences to the machine
    assert (metrics["samples"], metrics["failed_samples"]) == (9, 1)
    assert metrics["failed"] == [{"sample_token": tokens[2], "scene": "scene-0103"}]
    assert metrics["data"]["samples_sha256"] == tokens_digest(tokens)
    assert metrics["notes"] == []
    values = {(metric.protocol, metric.name): metric.value for metric in metrics_of(metrics)}
    names = {"mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE"}
    assert {name for protocol, name in values if protocol == NUSCENES.name} == names
    for protocol in (NUSCENES.name, CHAMFER.name):
        value = values[protocol, "mAP"]
        assert value is not None
        assert 0.5 < value < 1.0
    assert set(metrics["details"]["detection"]["classes"]["car"]["ap"]) == {"0.5", "1.0", "2.0", "4.0"}
    curve = metrics["details"]["detection"]["curves"]["car"]["2.0"]
    assert len(curve["recall"]) == len(curve["precision"]) == len(curve["confidence"]) > 10
    assert set(metrics["details"]["map"]["curves"]) == {"divider", "ped_crossing", "boundary"}
    worst = metrics["worst"]
    assert worst[0]["sample_token"] == tokens[4]
    assert tokens[2] not in {entry["sample_token"] for entry in worst}
    assert [entry["cost"] for entry in worst] == sorted((entry["cost"] for entry in worst), reverse=True)
    truth = {box.token for box in data.ground_truth(tokens[4])}
    assert set(worst[0]["missed"]) <= truth
    assert worst[0]["misses"] == len(worst[0]["missed"]) > 0
    assert set(metrics["operating_points"]["detection"]) >= {"car", "pedestrian"}
    confusion = metrics["confusion"]["detection"]
    renamed = sum(map(sum, confusion["matrix"])) - sum(row[i] for i, row in enumerate(confusion["matrix"]))
    assert renamed + sum(confusion["missed"]) == sum(entry["misses"] for entry in worst) > 0
    assert renamed + sum(confusion["false_alarms"]) == sum(entry["false_alarms"] for entry in worst) > 0
    assert any("official" in line for line in said)
    assert (run.predictions_path / "nuscenes_detection.json").is_file()
    assert "too few scenes to resample: 2" in metrics["intervals"]["reason"]
    assert {entry["interval"] for entry in metrics["metrics"]} == {None}
    assert not run.resamples_path.exists()

    again = evaluate_run(run, data, layout=layout, say=said.append)
    assert again == {key: value for key, value in metrics.items() if not key.startswith("official")}


def test_boxes_alone_need_neither_the_devkit_nor_the_map(
    data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path
) -> None:
    records = [msgspec.structs.replace(truth_record(data, token), map_elements=msgspec.UNSET) for token in tokens]
    records[3] = make_record(metadata(data, tokens[3], failed=True), Outputs())
    run = make_run(tmp_path / "run", data, records)
    without = replace(layout, environments=tmp_path / "no-environments")
    metrics = evaluate_run(run, data, layout=without, say=print)
    assert not run.predictions_path.exists()
    assert not (tmp_path / "no-environments").exists()
    classes = metrics["details"]["detection"]["classes"]
    assert classes["car"]["mean_ap"] < 1.0  # what was there in the failed sample is missed
    assert metrics["worst"] == []
    parts = metrics["details"]["detection"]["breakdowns"]
    assert set(parts["scene"]) == {"scene-0103", "scene-0916"}
    assert parts["scene"]["scene-0916"]["mAP"] == pytest.approx(1.0)
    assert parts["scene"]["scene-0103"]["mAP"] < 1.0
    assert "no description" in parts["conditions"]["reason"]


def test_a_sample_with_two_records_is_refused(
    data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path
) -> None:
    records = [truth_record(data, token) for token in (*tokens, tokens[0])]
    run = make_run(tmp_path / "run", data, records)
    with pytest.raises(RecordError, match="more than one record of a sample"):
        evaluate_run(run, data, layout=layout, say=print)


def test_only_what_the_records_do(data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path) -> None:
    records = [msgspec.structs.replace(truth_record(data, token), detections_3d=msgspec.UNSET) for token in tokens]
    run = make_run(tmp_path / "run", data, records)
    metrics = evaluate_run(run, data, layout=layout, say=print)
    (kept,) = (layout.repository / "cache" / "vectors").iterdir()
    written = kept.stat().st_mtime_ns
    assert evaluate_run(run, data, layout=layout, say=print) == metrics
    assert kept.stat().st_mtime_ns == written
    assert {metric.protocol for metric in metrics_of(metrics)} == {CHAMFER.name}
    assert "detection" not in metrics["details"]
    parts = metrics["details"]["map"]["breakdowns"]
    assert parts["protocol"] == CHAMFER.name
    assert {name: part["samples"] for name, part in parts["scene"].items()} == {
        scene.name: len(scene.samples) for scene in data.scenes()
    }
    assert metrics["worst"] == []
    assert not run.predictions_path.exists()


def test_an_unfinished_run_says_so_and_compares_with_nothing(
    data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path
) -> None:
    records = [msgspec.structs.replace(truth_record(data, token), detections_3d=msgspec.UNSET) for token in tokens[:5]]
    run = make_run(tmp_path / "run", data, records, state="running")
    said: list[str] = []
    metrics = evaluate_run(run, data, layout=layout, say=said.append)
    assert metrics["samples"] == 5
    assert "5 of 9 samples" in metrics["notes"][0]
    assert "--resume" in metrics["notes"][0]
    assert any(metrics["notes"][0] in line for line in said)
    assert metrics["data"]["samples_sha256"] != tokens_digest(tokens)
    assert metrics["data"]["split"] is None


def test_a_complete_run_that_lost_a_scene_says_so(
    data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path
) -> None:
    records = [msgspec.structs.replace(truth_record(data, token), detections_3d=msgspec.UNSET) for token in tokens]
    run = make_run(tmp_path / "run", data, records)
    (run.records_path / "scene-0103.jsonl").unlink()
    metrics = evaluate_run(run, data, layout=layout, say=print)
    assert "4 of 9 samples" in metrics["notes"][0]


def test_what_cannot_be_evaluated_is_refused_and_writes_nothing(
    data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path
) -> None:
    failed = [make_record(metadata(data, token, failed=True), Outputs()) for token in tokens]
    empty = [make_record(metadata(data, token), Outputs()) for token in tokens]
    good = [truth_record(data, token) for token in tokens]
    stray = msgspec.structs.replace(good[0].metadata, sample_token="of-another-data-set")
    odd = [msgspec.structs.replace(good[0], metadata=stray), *good[1:]]
    cases: list[tuple[list[Record], str | None, type[Exception], str]] = [
        ([], None, RecordError, "no complete scene"),
        (failed, None, RecordError, "run 1: 9 samples, and all failed"),
        (empty, None, UsageError, "no task"),
        (good, "v1.0-trainval", DataError, "was made on v1.0-trainval"),
        (odd, None, DataError, "no sample 'of-another-data-set'"),
    ]
    for number, (records, version, kind, message) in enumerate(cases):
        run = make_run(tmp_path / str(number), data, records, version=version)
        with pytest.raises(kind, match=message):
            evaluate_run(run, data, layout=layout, say=print)
        assert not run.metrics_path.exists()


def test_a_data_set_without_the_map_is_explained(
    data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / data.version).symlink_to(data.root / data.version)
    records = [msgspec.structs.replace(truth_record(data, token), detections_3d=msgspec.UNSET) for token in tokens]
    run = make_run(tmp_path / "run", data, records)
    with pytest.raises(DataError, match="map expansion"):
        evaluate_run(run, NuScenes(bare, data.version), layout=layout, say=print)
