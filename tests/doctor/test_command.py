"""`admlops doctor`: a log, the last failed build, or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import Admlops

from admlops.environments.prefix import write_state


@pytest.fixture
def environments(tmp_path: Path) -> Path:
    return tmp_path / "environments"


def test_a_log_is_explained(admlops: Admlops, tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text("[3/73] nvcc …\nx.cu:5:10: fatal error: THC/THC.h: No such file or directory\nninja: stopped\n")
    said = admlops("doctor", log).stdout
    assert "x.cu:5:10: fatal error: THC/THC.h" in said
    assert "rule torch-without-thc; see open-mmlab/mmcv#1582" in said
    assert "→ git checkout -- envs" in said


def test_what_is_not_known_is_said_to_be_so(admlops: Admlops, tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text("error: expected ';' before '}' token\n")
    said = admlops("doctor", log).stdout
    assert "expected ';'" in said
    assert "nothing in it is known here" in said
    assert json.loads(admlops("doctor", log, "--json").stdout)["diagnosis"] is None


def test_neither_a_log_nor_a_run(admlops: Admlops, environments: Path) -> None:
    done = admlops("doctor", "nowhere", check=False, variables={"ADMLOPS_ENVIRONMENTS": str(environments)})
    assert done.returncode == 2
    assert 'no run is called "nowhere"' in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_has_failed(admlops: Admlops, environments: Path) -> None:
    assert "nothing has failed here" in admlops("doctor", variables={"ADMLOPS_ENVIRONMENTS": str(environments)}).stdout


def test_the_last_failed_build_is_found(admlops: Admlops, environments: Path) -> None:
    prefix = environments / "MapTR-modern-0123456789ab"
    prefix.mkdir(parents=True)
    details = {
        "reason": "mmcv-full 1.7.2 could not be compiled",
        "said": "nvcc fatal   : Unsupported gpu architecture 'compute_120'",
        "hint": "less build.log",
    }
    write_state(prefix, name="MapTR-modern", state="broken", digest="0" * 64, installer="venv", details=details)
    said = admlops("doctor", variables={"ADMLOPS_ENVIRONMENTS": str(environments)}).stdout
    assert "MapTR-modern-0123456789ab: its build failed" in said
    assert "nvcc does not know compute_120" in said


def test_the_rules_are_listed(admlops: Admlops) -> None:
    assert "torch-without-thc" in admlops("doctor", "--rules").stdout
    rules = json.loads(admlops("doctor", "--rules", "--json").stdout)
    assert {"id", "symptom", "cause", "hint"} <= set(rules[0])
