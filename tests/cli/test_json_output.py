"""JSON looks alike from every command, numbers agree with their nouns, and summaries of commands are whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.conftest import Admlops
from tests.noisy_runs import NoisyRuns

from admlops.cli.main import cli
from admlops.core.counting import count_of


@pytest.mark.parametrize(
    "command",
    [
        ("data", "check", "{data}"),
        ("data", "stats", "{data}"),
        ("models", "list"),
        ("results", "show", "{run}"),
        ("results", "table", "{run}"),
        ("report", "{run}", "--out", "{tmp}/page.html"),
        ("report", "{run}", "--out", "{tmp}/page.html", "--dry-run"),
    ],
    ids=" ".join,
)
def test_json_has_one_form(
    command: tuple[str, ...], noisy_runs: NoisyRuns, synthetic_root: Path, tmp_path: Path
) -> None:
    places = {"data": synthetic_root, "run": noisy_runs.near.path, "tmp": tmp_path}
    shown = CliRunner().invoke(cli, [word.format(**places) for word in (*command, "--json")])
    assert shown.exit_code == 0, shown.output
    value = json.loads(shown.stdout)
    assert shown.stdout in (json.dumps(value, indent=2) + "\n", json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def test_an_error_in_json_has_that_form_too(admlops: Admlops) -> None:
    said = admlops("results", "show", "nothing", "--json", check=False).stdout
    assert said == json.dumps(json.loads(said), indent=2) + "\n"


def test_one_is_singular() -> None:
    assert [count_of(number, "file") for number in (0, 1, 2, 1204)] == ["0 files", "1 file", "2 files", "1,204 files"]
    assert count_of(2, "box") == "2 boxes"


def test_a_data_set_of_one_scene_is_counted_so(tmp_path: Path) -> None:
    options = ["--scenes", "1", "--samples", "1", "--scale", "0.1", "--camera-sweeps", "0", "--lidar-sweeps", "0"]
    written = CliRunner().invoke(cli, ["data", "synthesize", str(tmp_path / "d"), *options])
    assert "1 scene of 1 key frame\n" in written.output
    picture = next((tmp_path / "d" / "samples" / "CAM_FRONT").iterdir())
    picture.unlink()
    checked = CliRunner().invoke(cli, ["data", "check", str(tmp_path / "d")])
    assert checked.stdout.splitlines()[0].endswith(", 1 file missing or empty")
    assert ": 1 scene, 1 sample, " in checked.stdout
    assert isinstance(checked.exception, Exception)
    assert str(checked.exception).startswith("1 file of key frames missing or empty, first ")


def groups(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        yield path
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from groups(inner, (*path, name))


def test_no_summary_of_a_command_is_cut() -> None:
    for path in groups(cli):
        shown = CliRunner().invoke(cli, [*path, "--help"], env={"COLUMNS": "80"})
        cut = [line for line in shown.output.splitlines()[1:] if line.endswith("...")]
        assert not cut, (path, cut)
