"""What is exported of a run, and what is refused before any tracker's library is asked for."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.conftest import Admlops
from tests.noisy_runs import NoisyRuns, write_noisy_run

from admlops.core.errors import MissingExtraError, RecordError, TrackingError, UsageError
from admlops.pipeline.run_data import Reading, load_run_data
from admlops.results.run_folder import RunFolder
from admlops.tracking import mlflow, tensorboard
from admlops.tracking.exported import MAX_READINGS, export_run, key_of, thin_readings, write_note
from admlops.tracking.trackers import TRACKERS, Destination


def test_metrics_are_keyed_by_protocol_and_name(noisy_runs: NoisyRuns) -> None:
    exported = export_run(noisy_runs.near)
    stored = json.loads(noisy_runs.near.metrics_path.read_text())["metrics"]
    assert exported.metrics == {f"{one['protocol']}/{one['name']}": one["value"] for one in stored}
    assert exported.dataset == ("nuScenes v1.0-mini mini_val", exported.dataset[1])
    assert len(exported.dataset[1]) == 12
    assert exported.params["model"] == "Near"
    assert len(exported.params) <= 7
    assert [path.name for path in exported.files] == ["run.json", "metrics.json", "manifest.json"]
    assert exported.tags["latency.verdict"] == "INVALID"


def test_times_are_exported_where_they_are_valid_alone(noisy_runs: NoisyRuns) -> None:
    assert not any("latency" in name for name in export_run(noisy_runs.near).metrics)
    assert "Latency: INVALID: " in export_run(noisy_runs.near).note


def test_the_same_run_has_the_same_id_and_digest_until_it_is_evaluated_anew(
    noisy_runs: NoisyRuns, tmp_path: Path
) -> None:
    shutil.copytree(noisy_runs.near.path, tmp_path / "elsewhere")
    moved = RunFolder.open(tmp_path / "elsewhere")
    here, there = export_run(noisy_runs.near), export_run(moved)
    assert (here.id, here.digest) == (there.id, there.digest)
    metrics = json.loads(moved.metrics_path.read_text())
    metrics["metrics"][0]["value"] = 0.123
    moved.metrics_path.write_text(json.dumps(metrics))
    again = export_run(moved)
    assert again.id == here.id
    assert again.digest != here.digest
    assert export_run(noisy_runs.far).id != here.id


def test_the_note_says_what_makes_numbers_special(noisy_runs: NoisyRuns) -> None:
    data = load_run_data(noisy_runs.near)
    note = write_note(data)
    assert "| NDS | " in note
    assert "| 9 | nuscenes.detection_cvpr_2019 |" in note
    assert data.header is not None
    drawn = msgspec.structs.replace(data.header, settings={"options": {"weights": "random:0"}})
    assert "The weights are random" in write_note(replace(data, header=drawn))
    assert data.metrics is not None
    assert "2 of 9 samples failed" in write_note(replace(data, metrics={**data.metrics, "failed_samples": 2}))


def test_keys_have_the_characters_that_every_tracker_takes() -> None:
    assert key_of("coco.boxes@ab12", "AP") == "coco.boxes_ab12/AP"
    assert key_of("a/b", "c/d") == "a_b/c_d"


def test_telemetry_comes_at_most_once_a_second() -> None:
    readings = [Reading(t=index / 10, cpu_percent=50.0) for index in range(100)]
    kept = thin_readings(readings)
    assert len(kept) == 10
    assert kept[0] == (0.0, {"telemetry/cpu_percent": 50.0})
    day = [Reading(t=float(t), cpu_percent=1.0) for t in range(20_000)]
    assert len(thin_readings(day)) <= MAX_READINGS + 1
    assert thin_readings([]) == []


def test_a_run_without_metrics_is_refused(noisy_runs: NoisyRuns, tmp_path: Path) -> None:
    fresh = write_noisy_run(tmp_path / "fresh", noisy_runs.data, "Fresh", noise=0.1, scenes=1)
    with pytest.raises(RecordError, match="no metrics yet") as refused:
        export_run(fresh)
    assert refused.value.hint == "admlops evaluate fresh"


@pytest.mark.parametrize("tracker", ["mlflow", "wandb", "tensorboard"])
def test_without_its_library_a_tracker_names_the_extra(
    tracker: str, noisy_runs: NoisyRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    destination = Destination(folder=tmp_path / "out", server="http://127.0.0.1:9")
    with pytest.raises(MissingExtraError) as missing:
        TRACKERS.get(tracker).track(export_run(noisy_runs.near), destination, say=print)
    assert missing.value.hint == f'pip install "admlops[{tracker}]"'


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (None, "needs the address"),
        ("sqlite:///mlflow.db", "begins with http"),
        ("/a/folder", "begins with http"),
        ("http://", "begins with http"),
        ("https://someone:hunter2@tracking.example", "holds a user or a password"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_and_never_shows_a_secret(server: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        mlflow.check_address(server)
    assert "hunter2" not in str(refused.value)
    assert mlflow.check_address("http://127.0.0.1:5000/") == "http://127.0.0.1:5000"


def test_a_server_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9 cannot be reached"):
        mlflow._require_reachable("http://127.0.0.1:9")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TrackingError, match="not of an exported run"):
        tensorboard._read_mark(tmp_path)
    assert tensorboard._read_mark(tmp_path / "nothing") is None


def test_the_command_refuses_in_words(noisy_runs: NoisyRuns, admlops: Admlops) -> None:
    shown = admlops("track", noisy_runs.near.path, "--to", "mlfow", check=False)
    assert shown.returncode == 2
    assert "did you mean mlflow" in shown.stderr
    assert "Traceback" not in shown.stderr
