"""`admlops models`, as a person types it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.typed import Typed

from admlops.core.paths import find_layout

Admlops = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("command", [[], ["list"], ["show"], ["validate"]])
def test_help_shows_an_example(admlops: Admlops, command: list[str]) -> None:
    shown = admlops("models", *command, "--help").stdout
    assert "Example:" in shown
    assert "  admlops models" in shown.split("Example:")[1]


def test_list_says_which_models_are_not_set_up(admlops: Admlops) -> None:
    lines = admlops("models", "list").stdout.splitlines()
    assert lines[0].split() == ["model", "tasks", "variants", "status"]
    (row,) = (line for line in lines if line.startswith("TopoMLP"))
    assert "lane_graph" in row
    assert "not set up: " in row


def test_list_on_a_terminal_draws_a_table() -> None:
    ours, theirs = pty.openpty()
    variables = {**os.environ, "COLUMNS": "160", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "admlops", "models", "list"], stdout=theirs, stdin=theirs, env=variables
    ) as listing:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 1 << 16):
                shown += piece
        except OSError:
            pass  # Linux says so when the other side of a terminal is closed
        os.close(ours)
    assert listing.returncode == 0
    assert "┃" in shown.decode()
    assert "lane_graph" in shown.decode()


def test_list_as_json(admlops: Admlops) -> None:
    models = {one["name"]: one for one in json.loads(admlops("models", "list", "--json").stdout)}
    assert models["VAD"]["tasks"] == ["detection_3d", "vector_map", "motion", "planning"]
    assert models["GroundPlane"]["variants"] == ["modern"]


def test_a_broken_model_is_a_row_and_the_others_stay(admlops: Admlops, tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "VAD").symlink_to(find_layout().envs / "VAD")
    (tmp_path / "envs" / "Broken").mkdir()
    (tmp_path / "envs" / "Broken" / "model.toml").write_text("name = ")
    listed = admlops("models", "list", variables={"ADMLOPS_PATH": str(tmp_path)}).stdout.splitlines()
    assert listed[1].startswith("Broken")
    assert "not valid: admlops models validate --config" in listed[1]
    assert listed[2].startswith("VAD")


def test_show_prints_what_the_file_says(admlops: Admlops) -> None:
    shown = admlops("models", "show", "PETR").stdout
    assert "f7525f93467a33707ef401c587a52d5e7b34de74" in shown
    assert "mmdet3d_0.17" in shown
    assert "nuscenes.detection_cvpr_2019" in shown
    assert json.loads(admlops("models", "show", "PETR", "--json").stdout)["frame"] == "lidar"


def test_show_of_an_unknown_model(admlops: Admlops) -> None:
    failed = admlops("models", "show", "PETER", check=False)
    assert failed.returncode == 2
    assert "did you mean PETR?" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_validate_all(admlops: Admlops) -> None:
    assert "models are valid" in admlops("models", "validate").stdout
    assert json.loads(admlops("models", "validate", "--json").stdout)["problems"] == []


def test_validate_names_every_problem(admlops: Admlops, tmp_path: Path) -> None:
    text = (find_layout().envs / "MapTR" / "model.toml").read_text()
    (tmp_path / "MapTR").mkdir()
    file = tmp_path / "MapTR" / "model.toml"
    file.write_text(text)
    assert "is valid" in admlops("models", "validate", "--config", file).stdout
    file.write_text(text.replace("temporal = false", "temporal = 0").replace("[source]", "[sources]"))
    failed = admlops("models", "validate", "--config", file, check=False)
    assert failed.returncode == 2
    for problem in ("temporal must be true", "source is missing", "sources is not a known key"):
        assert f"{file}: {problem}" in failed.stderr
    assert f"→ admlops models validate --config {file}" in failed.stderr
    assert "Traceback" not in failed.stderr
    as_json = admlops("models", "validate", "--config", file, "--json", check=False)
    assert as_json.returncode == 2
    assert {one["key"] for one in json.loads(as_json.stdout)["problems"]} == {"temporal", "source", "sources"}


@pytest.mark.parametrize(("name", "kind"), [("roberta_base", "a text"), ("facebook/wav2vec2-base", "an audio")])
@pytest.mark.parametrize("words", [("env", "install"), ("run",), ("checkpoints", "fetch"), ("compare", "--models")])
def test_a_model_that_takes_no_picture_is_refused_with_that_reason(
    typed: Typed, name: str, kind: str, words: tuple[str, ...]
) -> None:
    said = typed(*words, name)
    assert (said.code, said.out) == (2, "")
    assert f"{name} is {kind} model: it takes no picture" in said.err


def test_a_name_of_a_vision_model_is_merely_unknown(typed: Typed) -> None:
    said = typed("run", "optical-flow")
    assert said.code == 2
    assert "takes no picture" not in said.err
