"""Where commands write to: `-` is standard output or refused, and the folder of a file is made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.conftest import Admlops
from tests.noisy_runs import NoisyRuns

from admlops.cli.main import cli


def test_a_dash_prints_what_a_file_would_hold(admlops: Admlops, noisy_runs: NoisyRuns, tmp_path: Path) -> None:
    run = noisy_runs.near.path
    for command in (
        ("results", "export", run, "--format", "csv"),
        ("results", "export", run, "--format", "jsonl"),
        ("results", "table", run),
        ("results", "schema"),
        ("report", run),
    ):
        file = tmp_path / "out"
        printed = in_folder(tmp_path, *command, "--out", "-")
        admlops(*command, "--out", file)
        assert printed == file.read_text(), command
        file.unlink()
    assert not (tmp_path / "-").exists()


def in_folder(folder: Path, *command: str | Path) -> str:
    """The standard output of a command that is typed in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "admlops", *map(str, command)], capture_output=True, text=True, cwd=folder, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("compare", "--models", "GroundPlane", "--out", "-"),
        ("check", "GroundPlane", "--out", "-"),
        ("battle", "GroundPlane", "VAD", "--out", "-"),
        ("report", "near", "--figures", "-"),
        ("report", "near", "--rerun", "-"),
        ("data", "synthesize", "-"),
        ("checkpoints", "extract", "weights.pth", "-"),
        ("track", "near", "--to", "tensorboard", "--dir", "-"),
    ],
    ids=" ".join,
)
def test_a_dash_is_no_folder(command: tuple[str, ...]) -> None:
    refused = CliRunner().invoke(cli, command)
    assert refused.exit_code == 2
    assert "'-' stands for standard output" in refused.output


def test_two_things_do_not_share_standard_output(admlops: Admlops, noisy_runs: NoisyRuns) -> None:
    refused = admlops("report", noisy_runs.near.path, "--out", "-", "--json", check=False)
    assert refused.returncode == 2
    assert "both print on standard output" in json.loads(refused.stdout)["error"]


def test_a_file_called_dash_is_named_by_its_folder(noisy_runs: NoisyRuns, tmp_path: Path) -> None:
    in_folder(tmp_path, "results", "table", noisy_runs.near.path, "--out", "./-")
    assert "mAP" in (tmp_path / "-").read_text()


def test_the_folder_of_a_file_is_made(admlops: Admlops, noisy_runs: NoisyRuns, tmp_path: Path) -> None:
    run = noisy_runs.near.path
    for number, command in enumerate(
        (("results", "export", run, "--format", "csv"), ("results", "table", run), ("report", run))
    ):
        out = tmp_path / str(number) / "deep" / "file"
        admlops(*command, "--out", out)
        assert out.stat().st_size > 100
