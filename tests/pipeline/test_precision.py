"""`--precision`: what a model cannot have is refused at once; what was in force stands in every record."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import msgspec
import pytest
from tests.conftest import Admlops

from admlops.catalog import load_model
from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.environments import Environment
from admlops.pipeline.options import check_precision
from admlops.results.run_folder import RunFolder

SINGLE = {"activations": "float32", "tf32_convolutions": False, "tf32_matmul": False}


@pytest.mark.parametrize(
    ("model", "precision", "device", "words"),
    [
        ("GroundPlane", "half", "cuda:0", "GroundPlane cannot run with --precision half: it runs on the CPU alone"),
        ("GroundPlane", "tf32", "cpu", "GroundPlane cannot run with --precision tf32: a CPU computes in float32"),
        ("MapTR", "half", "cpu", "MapTR cannot run with --precision half: a CPU computes in float32"),
        ("MapTR", "double", "cuda:0", "--precision double is not one of: authors, float32, tf32, half"),
    ],
)
def test_what_a_model_cannot_have_is_refused(model: str, precision: str, device: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_precision(load_model(find_layout(), model), precision, device=device)
    assert words in caught.value.message
    assert "--precision" in caught.value.hint


@pytest.mark.parametrize("precision", ["authors", "float32"])
def test_single_precision_is_for_every_model(precision: str) -> None:
    for model in ("GroundPlane", "MapTR"):
        check_precision(load_model(find_layout(), model), precision, device="cpu")
        check_precision(load_model(find_layout(), model), precision, device="cuda:0")


def test_a_run_that_cannot_be_leaves_nothing(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    run = ("run", "GroundPlane", "--data", synthetic_root, "--device", "cpu", "--limit", "1", "--run", "refused")
    done = admlops(*run, "--precision", "half", check=False)
    assert done.returncode == 2
    assert "GroundPlane cannot run with --precision half" in done.stderr
    assert "pass --precision authors" in done.stderr
    assert not (tmp_path / "repository" / "runs" / "refused").exists()


@pytest.mark.parametrize("words", [("run", "MapTR"), ("check", "MapTR"), ("compare", "--models", "MapTR,VAD")])
def test_half_precision_without_a_gpu_is_refused_before_anything_is_built_or_started(
    admlops: Admlops, synthetic_root: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Though nothing is set up: who is told to build first would learn of it after an hour."""
    variables = {"ADMLOPS_ENVIRONMENTS": str(tmp_path / "environments"), "CUDA_VISIBLE_DEVICES": ""}
    before = sorted(synthetic_root.rglob("*"))
    done = admlops(
        *words, "--data", synthetic_root, "--precision", "half", "--device", "cpu", check=False, variables=variables
    )
    assert done.returncode == 2
    assert "MapTR cannot run with --precision half: a CPU computes in float32" in done.stderr
    assert "pass --precision authors" in done.stderr
    assert "set up" not in done.stderr
    assert not (tmp_path / "environments").exists()
    assert not (tmp_path / "repository" / "runs").exists()
    assert sorted(synthetic_root.rglob("*")) == before


@pytest.mark.full
@pytest.mark.usefixtures("groundplane_environment")
def test_the_precision_is_in_the_header_the_records_and_the_report(
    admlops: Admlops, synthetic_root: Path, tmp_path: Path
) -> None:
    run = ("run", "GroundPlane", "--data", synthetic_root, "--device", "cpu", "--limit", "2", "--run", "single")
    admlops(*run, "--precision", "float32")
    folder = RunFolder.open(tmp_path / "repository" / "runs" / "single")
    assert folder.header.settings["precision"] == "float32"
    found = [msgspec.to_builtins(record.metadata.precision) for record in folder.records()]
    assert found == [SINGLE, SINGLE]
    ready = next(event for event in folder.events() if event.get("event") == "worker_ready")
    assert ready["precision"] == SINGLE
    other = admlops(*run, "--precision", "authors", "--resume", check=False)
    assert other.returncode == 2
    assert "settings.precision was 'float32' and is 'authors' now" in other.stderr
    admlops("evaluate", "single", "--data", synthetic_root)
    assert json.loads(folder.metrics_path.read_text())["latency"]["precision"] == "float32"
    admlops("report", "single", "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "precision in force" in page
    assert "setting: precision" in page


def test_the_adapter_alone_refuses_it_too(groundplane_environment: Environment, synthetic_root: Path) -> None:
    demo = load_model(find_layout(), "GroundPlane").adapter
    token = "0" * 32
    command = (demo, "--sample-token", token, "--dataroot", synthetic_root, "--precision", "tf32")
    done = subprocess.run(
        [groundplane_environment.python, *command], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
