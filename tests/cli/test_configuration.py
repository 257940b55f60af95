"""Configuration files: precedence, mistakes named by file, line and key, and `config show`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import click
import pytest
from tests.typed import Typed

from admlops.cli import config_files
from admlops.cli.main import cli
from admlops.core.paths import find_layout


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The file in the user's folder."""
    file = tmp_path / "config" / "admlops" / "config.toml"
    file.parent.mkdir(parents=True)
    return file


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a checkout of the test's own, which has one model."""
    root = tmp_path / "checkout"
    shutil.copytree(find_layout().root / "envs" / "GroundPlane", root / "envs" / "GroundPlane")
    (root / "runners").symlink_to(find_layout().root / "runners")
    monkeypatch.setenv("ADMLOPS_PATH", str(root))
    return root / config_files.FILE_NAME


def settings(typed: Typed, *options: str) -> dict[str, tuple[object, str]]:
    said = typed("config", "show", "--json", *options)
    assert said.code == 0, said.err
    return {
        f"{row['command']} {row['option']}": (row["value"], row["source"]) for row in json.loads(said.out)["settings"]
    }


def test_without_files_nothing_is_set(typed: Typed) -> None:
    said = typed("config", "show")
    assert said.out.count("(not there)") >= 1
    assert not [key for key, (_, source) in settings(typed).items() if ".toml" in source]


def test_a_file_sets_a_default_and_the_command_line_wins(typed: Typed, own: Path) -> None:
    own.write_text('[models.list]\nformat = "csv"\n')
    assert typed("models", "list").out.startswith("model,tasks")
    assert typed("models", "list", "--format", "md").out.startswith("| model |")
    assert json.loads(typed("models", "list", "--json").out)


def test_the_checkout_wins_over_the_user_and_a_variable_over_both(
    typed: Typed, own: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.write_text('[run]\ngpu-memory-limit = "10GB"\nworkers = 2\n')
    checkout.write_text("# ours\n[run]\nworkers = 3\n")
    shown = settings(typed)
    assert shown["admlops run workers"] == (3, f"{checkout}:3")
    assert shown["admlops run gpu-memory-limit"] == ("10GB", f"{own}:2")
    monkeypatch.setenv("GPU_MEMORY_LIMIT", "80%")
    assert settings(typed)["admlops run gpu-memory-limit"] == ("80%", "GPU_MEMORY_LIMIT")
    assert settings(typed, "--all")["admlops compare workers"] == (1, "default")


def test_what_the_command_gets_is_what_is_shown(typed: Typed, own: Path, tmp_path: Path) -> None:
    """A path is one beside the file, a list sets an option that may be repeated, an underscore is a hyphen."""
    (own.parent / "here").mkdir()
    own.write_text('[run]\ndata = "here"\nscene = ["a", "b"]\ncomplete_scenes = true\n')
    taken: dict[str, object] = {}
    command = cli.get_command(click.Context(cli), "run")
    assert command is not None
    before = command.callback
    try:
        command.callback = lambda **options: taken.update(options)
        assert typed("run", "GroundPlane").code == 0
    finally:
        command.callback = before
    assert taken["data"] == own.parent / "here"
    assert taken["scenes"] == ("a", "b")
    assert taken["complete_scenes"] is True


def test_settings_of_the_program_itself(typed: Typed, own: Path) -> None:
    own.write_text('color = "always"\nquiet = true\n')
    assert "\x1b[" in typed("models", "list").out
    assert "\x1b[" not in typed("models", "list", "--color", "never").out
    assert typed("models", "new", "StreamPETR2", "--dry-run").err == ""


def test_a_variable_wins_over_a_file_for_levels_and_colours_too(
    typed: Typed, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.write_text('log-level = "debug"\ncolor = "always"\n')
    monkeypatch.setenv("LOG_LEVEL", "error")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in typed("models", "list").out
    assert os.environ["LOG_LEVEL"] == "ERROR"
    assert settings(typed)["admlops color"] == ("1", "NO_COLOR")
    assert "\x1b[" in typed("models", "list", "--color", "always").out
    monkeypatch.delenv("LOG_LEVEL")
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[" in typed("models", "list").out
    assert os.environ["LOG_LEVEL"] == "DEBUG"
    monkeypatch.delenv("LOG_LEVEL")
    typed("models", "list", "--quiet")
    assert os.environ["LOG_LEVEL"] == "ERROR", "what is typed wins over both"


@pytest.mark.parametrize(
    ("text", "command", "line", "words"),
    [
        (
            "[run]\nworkers = 2\nwokers = 3\n",
            ("run", "GroundPlane"),
            3,
            "'wokers' of admlops run; did you mean workers?",
        ),
        ("[ruun]\nworkers = 2\n", ("models", "list"), 2, "no command 'ruun'; did you mean run?"),
        ("colour = 1\n", ("models", "list"), 1, "'colour' of admlops; did you mean color?"),
        ("[env.instal]\njobs = 2\n", ("env", "list"), 2, "'instal' of admlops env; did you mean install?"),
        ("[results.list]\nsrt = 'run'\n", ("results", "list"), 2, "did you mean sort?"),
        ("[run]\nworkers = 'many'\n", ("run", "GroundPlane"), 2, "'many' is not a valid integer"),
        ("[run]\nprecision = 'double'\n", ("run", "GroundPlane"), 2, "'double' is not one of"),
        ("[run]\nworkers = [1, 2]\n", ("run", "GroundPlane"), 2, "takes one value"),
        ("[run]\ncomplete-scenes = 'yes'\n", ("run", "GroundPlane"), 2, "takes true or false"),
        ("[run]\nlimit = true\n", ("run", "GroundPlane"), 2, "takes no true or false"),
        ("[run]\nmodel = 'MapTR'\n", ("run", "GroundPlane"), 2, "no option 'model'"),
        ("a = [\n", ("models", "list"), 0, "is not TOML"),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key(
    typed: Typed, own: Path, text: str, command: tuple[str, ...], line: int, words: str
) -> None:
    own.write_text(text)
    said = typed(*command)
    assert (said.code, said.out) == (2, "")
    assert f"{own}:{line}" in said.err if line else str(own) in said.err
    assert words in said.err
    shown = typed("config", "show")
    assert (shown.code, str(own) in shown.err) == (2, True), "config show looks at every section"


def test_a_mistake_stops_neither_help_nor_another_command(typed: Typed, own: Path) -> None:
    own.write_text("[run]\nwokers = 3\n")
    assert typed("models", "list").code == 0
    assert typed("run", "--help").code == 0


def test_addresses_are_shown_without_passwords(typed: Typed, own: Path) -> None:
    own.write_text('[env.push]\nto = "s3://me:secret@host/packs?token=1"\n')
    said = typed("config", "show")
    assert "s3://host/packs" in said.out
    assert "secret" not in said.out + said.err
