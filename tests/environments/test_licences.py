"""Licences that are asked for before anything under them is installed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Admlops

from admlops.catalog import load_model
from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.environments.ensure import ensure_model
from admlops.environments.licences import FILE_NAME, accept, asked_licences, open_licences, require_accepted

LAYOUT = find_layout()


@pytest.fixture
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has accepted nothing, and for whom nothing is installed."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ADMLOPS_ENVIRONMENTS", str(tmp_path / "environments"))
    (tmp_path / "environments").mkdir()
    return tmp_path / "config"


def test_only_agpl_is_asked_for() -> None:
    asked = {name: asked_licences(load_model(LAYOUT, name)) for name in ("YOLOv5", "YOLOv8", "Detectron2", "MapTR")}
    assert asked == {"YOLOv5": ("AGPL-3.0-only",), "YOLOv8": ("AGPL-3.0-only",), "Detectron2": (), "MapTR": ()}


def test_a_yes_is_remembered_for_the_licence(config_home: Path) -> None:
    model, other = load_model(LAYOUT, "YOLOv8"), load_model(LAYOUT, "YOLOv5")
    with pytest.raises(EnvError, match=r"YOLOv8 is installed only after a yes to its licence: its code is under AGPL"):
        require_accepted(model)
    accept(model)
    require_accepted(model)
    assert open_licences(other) == (), "the same licence"
    kept = json.loads((config_home / "admlops" / FILE_NAME).read_text())
    assert kept["AGPL-3.0-only"]["for"] == "YOLOv8"


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_damaged_memory_asks_again(config_home: Path, content: str) -> None:
    file = config_home / "admlops" / FILE_NAME
    file.parent.mkdir(parents=True)
    file.write_text(content)
    model = load_model(LAYOUT, "YOLOv8")
    assert open_licences(model) == ("AGPL-3.0-only",)
    accept(model)
    assert open_licences(model) == ()


def test_no_way_leads_round_the_question(config_home: Path) -> None:
    """Whoever builds the environment, the run of a model included."""
    with pytest.raises(EnvError, match="only after a yes to its licence"):
        ensure_model(find_layout(), load_model(LAYOUT, "YOLOv8"), say=lambda _: None)


def test_without_a_terminal_the_command_to_type_is_named(admlops: Admlops, config_home: Path) -> None:
    variables = {name: os.environ[name] for name in ("XDG_CONFIG_HOME", "ADMLOPS_ENVIRONMENTS")}
    refused = admlops("env", "install", "YOLOv8", variables=variables, check=False)
    assert refused.returncode == 2
    assert "admlops env install YOLOv8 --accept-licence" in refused.stderr
    assert "https://www.gnu.org/licenses/agpl-3.0.html" in refused.stderr
    assert not config_home.exists()
    planned = admlops("env", "install", "YOLOv8", "--dry-run", variables=variables)
    assert "AGPL-3.0-only" in planned.stdout
    admlops("env", "install", "YOLOv8", "--accept-licence", "--licence-only", variables=variables)
    assert (config_home / "admlops" / FILE_NAME).is_file()
    admlops("env", "install", "YOLOv5", "--licence-only", variables=variables)


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2)])
def test_a_person_at_a_terminal_is_asked(config_home: Path, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "admlops", "env", "install", "YOLOv8", "--licence-only"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    assert process.wait(timeout=60) == code
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "Do you accept it? [y/N]" in shown
    assert (config_home / "admlops" / FILE_NAME).is_file() == (code == 0)


def test_models_show_names_the_licences(admlops: Admlops) -> None:
    shown = admlops("models", "show", "YOLOv8").stdout
    assert "licence   AGPL-3.0-only; weights: AGPL-3.0-only (asked for before it is installed)" in shown
    assert "licence   Apache-2.0; weights: CC-BY-SA-3.0\n" in admlops("models", "show", "Detectron2").stdout
