"""`admlops health`: what it prints, how wide, how it ends, and that it keeps secrets."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.typed import Typed

from admlops.cli.health_configuration import KNOWN
from admlops.core.paths import find_layout
from admlops.pipeline.health import check, disk
from admlops.pipeline.health.check import Finding

FULL = Finding(
    measure="free inodes",
    value=7,
    subject="environments",
    status="fail",
    problem="/a/folder/whose/name/is/rather/long can hold few more files, and an environment has up to 90,000",
    rule="no-inodes",
)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(check.HEALTH_CHECKS._things, "disk", replace(disk.CHECK, look=lambda place: [FULL]))


def test_every_check_answers(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admlops.pipeline.health.connectivity._ask_index", lambda layout: None)
    monkeypatch.setattr("admlops.pipeline.health.connectivity.ask_server", lambda address, timeout_s=1.0: None)
    said = typed("health", "--json")
    shape = json.loads(said.out)
    assert (said.code == 1) == (shape["status"] == "fail"), said.err
    assert {key.split(":")[0] for key in shape["checks"]} == set(check.HEALTH_CHECKS.ids())
    assert not any(key.endswith(":answer") for key in shape["checks"]), "a check could not look"


def test_help_names_every_check(typed: Typed) -> None:
    said = typed("health", "--help").out
    assert [name for name in check.HEALTH_CHECKS.ids() if name not in said] == []


@pytest.mark.usefixtures("full_disk")
def test_a_failure_ends_with_1_and_says_what_mends_it(typed: Typed) -> None:
    said = typed("health", "disk")
    assert (said.code, said.err) == (1, "")
    assert said.out.splitlines()[:2] == [
        "Disks",
        "  fail  free inodes                 environments: 7",
    ]
    assert "→ df -i .   # remove environments" in said.out
    assert said.out.splitlines()[-1] == "1 failure: disk"
    assert max(len(line) for line in said.out.splitlines()) <= 80


@pytest.mark.usefixtures("full_disk")
def test_brief_shows_what_is_not_well(typed: Typed) -> None:
    said = typed("health", "disk", "memory", "--brief")
    assert said.out.startswith("Disks\n")
    assert "Memory\n" not in said.out


def test_a_warning_ends_with_0(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMLOPS_REPPATH", "x")
    said = typed("health", "configuration")
    assert said.code == 0
    assert "nothing reads ADMLOPS_REPPATH; did you mean ADMLOPS_REP_PATH?" in " ".join(said.out.split())


def test_a_check_that_is_none(typed: Typed) -> None:
    said = typed("health", "dsik")
    assert said.code == 2
    assert "there is no health check 'dsik'; did you mean disk?" in said.err


def test_a_mistake_in_another_commands_section_is_found(typed: Typed, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "admlops"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("[run]\nwrokers = 2\n")
    said = typed("health", "configuration")
    assert said.code == 1
    assert "there is no option 'wrokers' of admlops run" in " ".join(said.out.split())


def test_secrets_are_kept(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admlops.pipeline.health.connectivity._ask_index", lambda layout: None)
    monkeypatch.setenv("ADMLOPS_DOWNLOAD_MIRROR", "http://me:hunter1@127.0.0.1:9/x?key=hunter2")
    monkeypatch.setenv("ADMLOPS_PACK_STORE", "s3://me:hunter3@bucket/packs?sig=hunter4")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter5")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter6@127.0.0.1:9")
    said = typed("health", "connectivity", "configuration", "--json")
    assert said.code == 1
    assert "hunter" not in said.out + said.err


def test_every_documented_variable_is_known() -> None:
    page = (find_layout().root / "docs" / "variables.md").read_text()
    documented = set(re.findall(r"`(ADMLOPS_[A-Z_]+[A-Z])`", page))
    assert documented <= KNOWN | {"ADMLOPS_COMPLETE"}
