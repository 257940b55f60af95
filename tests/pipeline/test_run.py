"""`admlops run` for real: GroundPlane over synthetic scenes, in its own environment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import real_frame
from tests.checkpoints.torch_files import STORAGES, checkpoint, pickled, write_zip

from admlops.core.storage import file_sha256
from admlops.environments import Environment
from admlops.pipeline.config_text import config_sha256
from admlops.results.run_folder import RunFolder, records_digest

Admlops = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.usefixtures("groundplane_environment")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "repository" / "runs"


@pytest.mark.full
def test_workers_do_not_change_the_records(admlops: Admlops, synthetic_root: Path, runs: Path) -> None:
    for workers in ("1", "2"):
        admlops("run", "GroundPlane", "--data", synthetic_root, "--workers", workers, "--run", f"with-{workers}")
    one, two = (RunFolder.open(runs / f"with-{workers}") for workers in ("1", "2"))
    assert one.header.state == two.header.state == "complete"
    assert records_digest(one) == records_digest(two)
    records = list(one.records())
    assert len(records) == 8
    assert len({record.metadata.sample_token for record in records}) == 8
    assert all(record.metadata.status == "ok" for record in records)
    assert [record.metadata.index_in_scene for record in records] == [0, 1, 2, 3] * 2
    assert one.check_manifest() == []


def test_a_killed_run_resumes_to_the_same_records(admlops: Admlops, synthetic_root: Path, runs: Path) -> None:
    run = ("run", "GroundPlane", "--data", synthetic_root, "--run")
    begun = time.monotonic()
    admlops(*run, "whole")
    whole_s = time.monotonic() - begun
    environment = {**os.environ, "ADMLOPS_REP_PATH": str(runs.parent)}
    moments = random.Random(5)
    for _ in range(3):
        resume = ["--resume"] if (runs / "killed" / "run.json").exists() else []
        command = [sys.executable, "-m", "admlops", *map(str, run), "killed", *resume]
        killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.2, 0.9) * whole_s)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    admlops(*run, "killed", *(["--resume"] if (runs / "killed" / "run.json").exists() else []))
    whole, resumed = RunFolder.open(runs / "whole"), RunFolder.open(runs / "killed")
    assert resumed.header.state == "complete"
    assert records_digest(resumed) == records_digest(whole)


def test_environment_variables_are_defaults(admlops: Admlops, synthetic_root: Path, runs: Path, tmp_path: Path) -> None:
    weights = write_zip(tmp_path / "weights.pth", pickled(checkpoint()), STORAGES)
    config = tmp_path / "config.py"
    config.write_text("")
    variables = {
        "CUSTOM_CONFIG_FILE": str(config),
        "CHECKPOINT_FILE": str(weights),
        "GPU_MEMORY_LIMIT": "2048",
        "INFERENCE_TIMEOUT": "77",
        "LOG_LEVEL": "info",
    }
    admlops("run", "GroundPlane", "--data", synthetic_root, "--limit", "1", "--run", "env", variables=variables)
    settings = RunFolder.open(runs / "env").header.settings
    assert settings["config"] == str(config)
    assert settings["checkpoint"] == str(weights)
    assert settings["gpu_memory_limit_mb"] == 2048
    assert RunFolder.open(runs / "env").header.provenance.checkpoint_sha256 == file_sha256(weights)


def test_weights_that_would_run_code_are_refused_before_anything_starts(
    admlops: Admlops, synthetic_root: Path, runs: Path, tmp_path: Path
) -> None:
    weights = write_zip(tmp_path / "weights.pth", b"cposix\nsystem\n(X\x05\x00\x00\x00falsetR.", {})
    command = ("run", "GroundPlane", "--data", synthetic_root, "--limit", "1", "--run", "refused")
    refused = admlops(*command, "--checkpoint", weights, check=False)
    assert refused.returncode == 2
    assert f"{weights} is refused: the opcode GLOBAL at byte 0 names posix.system" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (runs / "refused").exists()


def test_json_says_where_the_records_are(admlops: Admlops, synthetic_root: Path) -> None:
    completed = admlops("run", "GroundPlane", "--data", synthetic_root, "--limit", "2", "--json")
    facts = json.loads(completed.stdout)
    assert (facts["ok"], facts["failed"], facts["state"]) == (2, 0, "complete")
    lines = [line for path in Path(facts["path"], "records").iterdir() for line in path.read_text().splitlines()]
    assert len(lines) == 2


def test_a_condition_runs_whole_scenes_and_its_samples_are_evaluated(
    admlops: Admlops, synthetic_root: Path, runs: Path
) -> None:
    words = ("run", "GroundPlane", "--data", synthetic_root, "--where", "index_in_scene in (1, 2)", "--run", "middle")
    done = admlops(*words)
    assert (
        "covers:  8 of 8 samples of split mini_val; evaluated are the 4 where index_in_scene in (1, 2)" in done.stdout
    )
    run = RunFolder.open(runs / "middle")
    assert len(list(run.records())) == 8
    told = admlops("evaluate", "middle", "--by", "tag").stdout
    assert "4 of 8 samples, 0 failed, where index_in_scene in (1, 2)" in told
    assert "by tag" in told
    metrics = json.loads(run.metrics_path.read_text())
    assert metrics["data"]["samples_sha256"] == run.header.data.where.samples_sha256  # type: ignore[union-attr]
    narrower = admlops("evaluate", "middle", "--where", "index_in_scene = 1").stdout
    assert "2 of 8 samples" in narrower
    assert str(runs / "middle" / "where") in narrower
    assert json.loads(run.metrics_path.read_text()) == metrics
    wrong = admlops(*words[:-1], "other", "--where", "speeed < 1", check=False)
    assert wrong.returncode == 2
    assert "--where: there is no column 'speeed'" in wrong.stderr
    assert not (runs / "other").exists()


def test_a_secret_reaches_neither_the_worker_nor_the_run_folder(
    admlops: Admlops, synthetic_root: Path, runs: Path
) -> None:
    variables = {"RUNPOD_API_KEY": "rpa_do_not_tell_anyone"}
    admlops("run", "GroundPlane", "--data", synthetic_root, "--limit", "1", "--run", "quiet", variables=variables)
    for path in (runs / "quiet").rglob("*"):
        assert path.is_dir() or b"rpa_do_not_tell_anyone" not in path.read_bytes(), path


def test_the_real_frame_runs_sanely(admlops: Admlops, runs: Path, tmp_path: Path) -> None:
    root = real_frame.make_real_root(tmp_path / "real")
    admlops("run", "GroundPlane", "--data", root, "--split", "all", "--run", "real")
    (record,) = RunFolder.open(runs / "real").records()
    assert record.metadata.sample_token == real_frame.sample_token()
    assert isinstance(record.detections_3d, list)
    assert isinstance(record.map_elements, list)
    assert 0 < len(record.detections_3d) < 150
    assert all(abs(x) < 80 for box in record.detections_3d for x in box.bbox_3d.center[:2])


def test_the_adapter_alone_gives_what_the_worker_gives(
    admlops: Admlops, synthetic_root: Path, runs: Path, groundplane_environment: Environment, tmp_path: Path
) -> None:
    from admlops.core.paths import find_layout

    admlops("run", "GroundPlane", "--data", synthetic_root, "--limit", "1", "--run", "worker")
    (record,) = RunFolder.open(runs / "worker").records()
    out = tmp_path / "alone.json"
    subprocess.run(
        [groundplane_environment.python, find_layout().envs / "GroundPlane" / "demo.py", "--sample-token",
         record.metadata.sample_token, "--dataroot", synthetic_root, "--version", "v1.0-mini", "--out", out],
        check=True,
    )  # fmt: skip
    alone = json.loads(out.read_text())["outputs"]
    (path,) = (runs / "worker" / "records").iterdir()
    written = json.loads(path.read_text())
    assert alone["map_elements"] == written["map_elements"]
    assert len(alone["detections_3d"]) == len(written["detections_3d"])


def test_an_edited_config_is_refused_at_resume_and_named(
    admlops: Admlops, synthetic_root: Path, runs: Path, tmp_path: Path
) -> None:
    config = tmp_path / "own.py"
    config.write_text("score = 0.1\n")
    command = ("run", "GroundPlane", "--data", synthetic_root, "--limit", "1", "--config", config, "--run", "edited")
    admlops(*command)
    before = RunFolder.open(runs / "edited").header.provenance.config_sha256
    assert RunFolder.open(runs / "edited").header.provenance.sensors == ["camera"]
    assert before == config_sha256(str(config))
    admlops(*command, "--resume")
    config.write_text("score = 0.2\n")
    refused = admlops(*command, "--resume", check=False)
    assert refused.returncode == 2
    assert f"cannot be resumed: the content of {config} was " in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_a_model_that_loads_too_long_ends_the_run(admlops: Admlops, synthetic_root: Path, runs: Path) -> None:
    """A worker's own process, given less time than Python needs to begin."""
    slow = admlops(
        *("run", "GroundPlane", "--data", synthetic_root, "--run", "slow", "--start-timeout", "0.001"), check=False
    )
    assert slow.returncode == 1
    assert "the model was not loaded within 0.001 s (the start deadline); --start-timeout sets" in slow.stderr
    assert RunFolder.open(runs / "slow").header.state == "failed"
