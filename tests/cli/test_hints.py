"""Hints that can be typed as they stand, and messages that name the variable a value came from."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import pytest
from tests.conftest import Admlops
from tests.noisy_runs import NoisyRuns

from admlops.cli.hints import name_model, name_variable
from admlops.core.storage import explain_os_error


def test_the_word_model_becomes_the_model_that_was_typed() -> None:
    hint = "admlops env repair MODEL   # then run it again"
    assert name_model(hint, ["run", "VAD", "--device", "cpu"]) == "admlops env repair VAD   # then run it again"
    assert name_model("admlops models list", ["run", "VAD"]) == "admlops models list"
    assert name_model("admlops env push MODEL", []) == (
        "admlops env push MODEL   # MODEL: a name from `admlops models list`"
    )
    assert name_model(hint, ["compare", "VAD", "PETR"]) == f"{hint}; MODEL: a name from `admlops models list`"


def test_the_word_model_becomes_the_model_of_the_run_that_was_typed(noisy_runs: NoisyRuns) -> None:
    run = noisy_runs.near.path
    assert name_model("admlops run MODEL --run NAME --resume", ["evaluate", str(run)]) == (
        f"admlops run {noisy_runs.near.header.model} --run NAME --resume"
    )


def test_a_damaged_checkpoint_is_fetched_again_by_the_command_of_the_hint(admlops: Admlops, tmp_path: Path) -> None:
    weights = tmp_path / "repository" / "checkpoints" / "MapTR" / "maptr_tiny_r50_24e.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"no weights")
    refused = admlops("checkpoints", "verify", check=False)
    assert refused.returncode == 2
    assert re.search(r"→ admlops checkpoints fetch MapTR tiny-24e\b", refused.stderr)


@pytest.mark.parametrize(
    ("words", "variables", "named"),
    [
        (["run", "X"], {"CHECKPOINT_FILE": "/no/x.pth"}, True),
        (["run", "X", "--checkpoint", "/no/x.pth"], {"CHECKPOINT_FILE": "/other"}, False),
        (["run", "X", "--checkpoint=/no/x.pth"], {"CHECKPOINT_FILE": "/other"}, False),
        (["run", "X"], {}, False),
    ],
)
def test_a_value_that_nobody_typed_is_told_by_its_variable(
    words: list[str], variables: dict[str, str], named: bool
) -> None:
    said = name_variable("--checkpoint /no/x.pth is neither a file nor a name", words, variables)
    assert said.endswith("(the variable CHECKPOINT_FILE)") is named


@pytest.mark.parametrize(
    ("variable", "value"),
    [("INFERENCE_TIMEOUT", "soon"), ("GPU_MEMORY_LIMIT", "much"), ("CHECKPOINT_FILE", "/no/x.pth")],
)
def test_a_variable_with_a_wrong_value_is_named(
    admlops: Admlops, synthetic_root: Path, variable: str, value: str
) -> None:
    command = ("run", "GroundPlane", "--data", synthetic_root, "--dry-run", "--json")
    refused = admlops(*command, check=False, variables={variable: value})
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["error"].endswith(f"(the variable {variable})")
    assert value in refused.stderr


def test_an_official_evaluator_that_is_none_is_told_with_those_there_are(admlops: Admlops) -> None:
    for command in (("install",), ("show",), ("run", "--", "true")):
        refused = admlops("env", command[0], "official/nope", *command[1:], check=False)
        assert refused.returncode == 2
        assert "no official evaluator is called 'nope'; there are: conda-lock, maptr" in refused.stderr
        assert "git checkout" not in refused.stderr


@pytest.mark.parametrize("command", [("report", "{run}"), ("results", "table", "{run}")], ids=" ".join)
def test_a_path_that_was_typed_is_not_mended_by_the_repositorys_variable(
    admlops: Admlops, noisy_runs: NoisyRuns, command: tuple[str, ...]
) -> None:
    words = [word.format(run=noisy_runs.near.path) for word in command]
    refused = admlops(*words, "--out", "/sys/page", check=False)
    assert refused.returncode == 2
    assert "/sys/page could not be written" in refused.stderr
    assert "ADMLOPS_REP_PATH" not in refused.stderr


def test_what_goes_into_the_repository_is_mended_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path))
    full = OSError(errno.ENOSPC, "No space left on device")
    assert "ADMLOPS_REP_PATH" in explain_os_error(full, tmp_path / "runs" / "r" / "run.json").hint
    assert "ADMLOPS_REP_PATH" not in explain_os_error(full, tmp_path.parent / "page.html").hint


def test_a_model_file_that_is_not_there_is_no_mistake_in_it(admlops: Admlops) -> None:
    refused = admlops("models", "validate", "--config", "nowhere.toml", check=False)
    assert refused.returncode == 2
    assert "nowhere.toml: cannot be read: No such file or directory" in refused.stderr
    assert "validate" not in refused.stderr.partition("→")[2]
