"""Runs handed over through a folder, and through a real S3 server on loopback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.results.conftest import MakeRun
from tests.s3_server import Server

from admlops.core.errors import AdmlopsError, RecordError, UsageError
from admlops.results.run_folder import RunFolder, records_digest
from admlops.results.run_store import pull_run, push_run


@pytest.fixture
def run(make_run: MakeRun) -> RunFolder:
    made = make_run("one", evaluated=True)
    made.update(state="complete")
    made.write_manifest()
    return made


def test_a_folder_hands_a_run_over(run: RunFolder, tmp_path: Path) -> None:
    store = tmp_path / "volume" / "runs"
    assert push_run(run, str(store)) > 0
    assert push_run(run, str(store)) == 0, "what is there does not travel again"
    pulled = pull_run("one", str(store), tmp_path / "here" / "one")
    assert records_digest(pulled) == records_digest(run)
    assert pulled.check_manifest() == []
    with pytest.raises(UsageError, match="is there already"):
        pull_run("one", str(store), pulled.path)


def test_what_came_damaged_is_refused_and_nothing_is_left_as_a_run(run: RunFolder, tmp_path: Path) -> None:
    store = tmp_path / "store"
    push_run(run, str(store))
    records = next((store / "runs" / "one" / "records").iterdir())
    whole = records.read_bytes()
    records.write_bytes(whole[:-3])
    with pytest.raises(RecordError, match=records.name):
        pull_run("one", str(store), tmp_path / "here" / "one")
    assert not (tmp_path / "here" / "one").exists()
    records.write_bytes(whole)
    assert records_digest(pull_run("one", str(store), tmp_path / "here" / "one")) == records_digest(run)


def test_a_run_that_was_changed_is_not_sent(run: RunFolder, tmp_path: Path) -> None:
    records = next(run.records_path.iterdir())
    records.write_bytes(records.read_bytes() + b"\n")
    with pytest.raises(RecordError, match=records.name):
        push_run(run, str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_another_run_of_the_name_is_kept(run: RunFolder, tmp_path: Path) -> None:
    store = tmp_path / "store"
    push_run(run, str(store))
    run.append_event("more")
    run.write_manifest()
    with pytest.raises(UsageError, match="holds another run called one"):
        push_run(run, str(store))


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "records/../../x"])
def test_a_manifest_cannot_lead_out_of_the_folder(run: RunFolder, tmp_path: Path, name: str) -> None:
    store = tmp_path / "store"
    push_run(run, str(store))
    (store / "runs" / "one" / "manifest.json").write_text(json.dumps({"schema": 1, "files": {name: "0" * 64}}))
    with pytest.raises(AdmlopsError, match="no file of a run"):
        pull_run("one", str(store), tmp_path / "here" / "one")


def test_a_store_without_the_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        pull_run("one", str(tmp_path / "none"), tmp_path / "one")
    (tmp_path / "none").mkdir()
    with pytest.raises(RecordError, match="no run called one"):
        pull_run("one", str(tmp_path / "none"), tmp_path / "one")


@pytest.mark.full
def test_an_s3_store_hands_a_run_over(run: RunFolder, s3: Server, tmp_path: Path) -> None:
    assert push_run(run, "s3://bucket/pod-1") > 0
    assert s3.requests("PUT")[-1].endswith("manifest.json"), "the manifest is written last"
    pulled = pull_run("one", "s3://bucket/pod-1", tmp_path / "one")
    assert records_digest(pulled) == records_digest(run)
