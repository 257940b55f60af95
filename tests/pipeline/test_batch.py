"""`--batch`: which models take several samples at once, what a run's header says of it, and what `auto` comes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import Admlops

from admlops.catalog import load_model
from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_settings import choose_batch


@pytest.mark.parametrize(
    ("model", "reason"),
    [("GroundPlane", "each of its samples depends on those before it"), ("PETR", "its adapter has no forward_batch")],
)
def test_a_model_that_takes_one_at_a_time(model: str, reason: str) -> None:
    told: list[str] = []
    loaded = load_model(find_layout(), model)
    with pytest.raises(UsageError, match=f"{model} takes one sample at a time, not --batch 4: {reason}"):
        choose_batch(loaded, RunRequest(model=model, data=Path(), batch=4), say=told.append)
    assert choose_batch(loaded, RunRequest(model=model, data=Path(), batch="auto"), say=told.append) == 1
    assert told == [f"--batch auto: {model} takes one sample at a time, for {reason}"]


def test_a_model_that_takes_several() -> None:
    loaded = load_model(find_layout(), "NanoDet")
    for batch in (1, 4, "auto"):
        request = RunRequest(model="NanoDet", data=Path(), batch=batch)
        assert choose_batch(loaded, request, say=print) == batch
    with pytest.raises(UsageError, match="--batch 0 leaves no sample"):
        RunRequest(model="NanoDet", data=Path(), batch=0)


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5", ""])
def test_what_is_no_number_of_samples(admlops: Admlops, given: str) -> None:
    done = admlops("run", "GroundPlane", "--batch", given, check=False)
    assert done.returncode == 2
    assert "is no number of samples: write 1 or more, or auto (option --batch)" in " ".join(done.stderr.split())


def test_a_run_that_cannot_have_its_batch_is_not_begun(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    for dry in ((), ("--dry-run",)):
        done = admlops("run", "GroundPlane", "--data", synthetic_root, "--batch", "2", *dry, check=False)
        assert done.returncode == 2
        assert "GroundPlane takes one sample at a time" in done.stderr
    assert not (tmp_path / "repository" / "runs").exists()


def test_auto_leaves_no_trace_on_a_model_that_takes_one(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    admlops("run", "GroundPlane", "--data", synthetic_root, "--limit", "1", "--batch", "auto", "--run", "one")
    header = json.loads((tmp_path / "repository" / "runs" / "one" / "run.json").read_text())
    assert "batch" not in header["settings"]
    assert header["data"]["pictures"] == 6
