"""-q, -v, --color, --no-progress and --format, which every command shares."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys

import click
import pytest
from tests.typed import Typed

from admlops.cli import conventions, tables
from admlops.cli.conventions import Manner, asks_for_json, decide_color
from admlops.cli.install_progress import show_installation
from admlops.cli.main import cli
from admlops.cli.progress import show_progress
from admlops.core.paths import find_layout
from admlops.core.types import Progress
from admlops.execution.failures import WorkerFailure
from admlops.execution.scene_job import RunEvent


def commands_with(option: str) -> list[click.Command]:
    """Every command that is no group and has an option of this name."""
    found: list[click.Command] = []

    def walk(group: click.Group) -> None:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                walk(command)
            elif command is not None and any(option in one.opts for one in command.params):
                found.append(command)

    walk(cli)
    return found


def test_every_command_takes_the_shared_options() -> None:
    named = {one.name for one in commands_with("--json")}
    assert len(named) > 25
    for option in ("-q", "-v", "--color", "--no-progress"):
        without = named - {one.name for one in commands_with(option)}
        assert without <= {"run"}, f"{option}: only `env run` hands its arguments on"


@pytest.mark.parametrize("arguments", [("-q", "models", "list"), ("models", "list", "-q")])
def test_an_option_stands_before_or_after_the_command(typed: Typed, arguments: tuple[str, ...]) -> None:
    said = typed(*arguments)
    assert (said.code, said.err) == (0, "")
    assert os.environ["LOG_LEVEL"] == "ERROR"


@pytest.mark.parametrize(
    ("option", "level"), [("-v", "INFO"), ("-vv", "DEBUG"), ("-vvv", "DEBUG"), ("--verbose", "INFO")]
)
def test_verbose_logs_more_here_and_in_workers(typed: Typed, option: str, level: str) -> None:
    assert typed("models", "list", option).code == 0
    assert os.environ["LOG_LEVEL"] == level


def test_an_explicit_level_wins_and_quiet_with_verbose_is_refused(typed: Typed) -> None:
    typed("-q", "--log-level", "info", "models", "list")
    assert os.environ["LOG_LEVEL"] == "INFO"
    assert typed("models", "list", "-q", "-v").code == 2


def test_quiet_leaves_notices_out_and_keeps_errors(typed: Typed) -> None:
    loud = typed("models", "new", "StreamPETR2", "--dry-run")
    assert "much like StreamPETR" in loud.err
    quiet = typed("models", "new", "StreamPETR2", "--dry-run", "--quiet")
    assert (quiet.out, quiet.err) == (loud.out, "")
    assert "no model is called" in typed("models", "show", "Nothing", "-q").err


def test_version_is_short_too(typed: Typed) -> None:
    assert typed("-V").out == typed("--version").out != ""


@pytest.mark.parametrize(
    ("choice", "variables", "is_terminal", "colored"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "0"}, True, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_who_decides_on_colours(choice: str, variables: dict[str, str], *, is_terminal: bool, colored: bool) -> None:
    assert decide_color(choice, variables, is_terminal=is_terminal) is colored


def test_colours_where_they_are_asked_for_and_nowhere_else(typed: Typed) -> None:
    assert "\x1b[" in typed("--color", "always", "models", "list").out
    assert "\x1b[" not in typed("models", "list").out
    assert "\x1b[31m" in typed("models", "show", "Nothing", "--color", "always").err


def on_a_terminal(program: str, **variables: str) -> str:
    """What a program prints on a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=theirs,
        stdin=theirs,
        env={**os.environ, "TERM": "xterm", **variables},
        cwd=find_layout().root,
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
    return shown.decode()


LISTING = """
from admlops.cli.tables import print_table
rows = [("GroundPlane-20260102-030405-a1b2c3", "complete", "admlops evaluate GroundPlane-20260102-030405-a1b2c3"),
        ("x", "not set up: no source", "")]
print_table(("run", "state", "next"), rows)
"""


def test_a_table_on_a_terminal_without_colour_has_rules_and_no_codes() -> None:
    shown = on_a_terminal(LISTING, COLUMNS="160", NO_COLOR="1")
    assert "┃" in shown
    assert "\x1b[" not in shown
    assert "\x1b[32mcomplete" in on_a_terminal(LISTING, COLUMNS="160")


def test_a_table_that_would_cut_words_becomes_lines_that_can_be_copied() -> None:
    shown = on_a_terminal(LISTING, COLUMNS="60", NO_COLOR="1").splitlines()
    assert shown == [
        "GroundPlane-20260102-030405-a1b2c3",
        "  state  complete",
        "  next   admlops evaluate GroundPlane-20260102-030405-a1b2c3",
        "x",
        "  state  not set up: no source",
    ]


def test_the_forms_of_a_table(typed: Typed) -> None:
    as_json = {one["name"] for one in json.loads(typed("models", "list", "--format", "json").out)}
    assert json.loads(typed("models", "list", "--json").out) == json.loads(
        typed("models", "list", "--format", "json").out
    )
    rows = list(csv.DictReader(io.StringIO(typed("models", "list", "--format", "csv").out)))
    assert {row["model"] for row in rows} == as_json
    lines = typed("models", "list", "--format", "md").out.splitlines()
    assert lines[1] == "| --- | --- | --- | --- |"
    assert len(lines) == len(rows) + 2
    assert typed("models", "list", "--format", "latex").out.startswith("\\begin{tabular}{llll}\n\\toprule\n")


def test_a_format_beside_json_is_refused(typed: Typed) -> None:
    assert "exclude each other" in typed("models", "list", "--json", "--format", "csv").err
    assert typed("models", "list", "--json", "--format", "json").code == 0


def test_what_stands_beside_a_table_is_no_part_of_a_csv(typed: Typed) -> None:
    assert (typed("results", "list").out, typed("results", "list", "--format", "csv").out) == (
        "no runs yet; make one with: admlops run GroundPlane --data DIR\n",
        "",
    )


def test_signs_that_a_form_gives_a_meaning_are_escaped() -> None:
    cells = [["a|b\\c", "5 % of $x_1$ & more ~^{}#"]]
    assert tables.to_markdown(["h", "i"], cells).splitlines()[2] == "| a\\|b\\\\c | 5 % of $x_1$ & more ~^{}# |"
    assert r"5 \% of \$x\_1\$ \& more \textasciitilde{}\textasciicircum{}\{\}\#" in tables.to_latex(["h", "i"], cells)
    assert list(csv.reader(io.StringIO(tables.to_csv(["h", "i"], [['a,"b"', "c\nd"]])))) == [
        ["h", "i"],
        ['a,"b"', "c\nd"],
    ]


@pytest.mark.parametrize("form", ["--json", "--format=json", "--format json"])
def test_an_error_is_json_in_every_spelling(form: str) -> None:
    command = [sys.executable, "-m", "admlops", "results", "list", "--state", "nope", *form.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["exit_code"] == 2


def test_json_of_a_program_that_is_run_is_its_own() -> None:
    assert asks_for_json(["admlops", "models", "list", "--json"])
    assert not asks_for_json(["admlops", "env", "run", "X", "--", "tool", "--json"])


def test_no_progress_keeps_what_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = Manner()
    chosen.progress = False
    monkeypatch.setattr(conventions, "PROCESS", chosen)
    failure = WorkerFailure(kind="data", message="gone")
    events = [
        RunEvent(kind="sample", scene="s", samples=1),
        RunEvent(kind="sample", scene="s", samples=1, failure=failure, sample_token="t"),
    ]
    with show_progress() as watch:
        for event in events:
            watch(event, 2)
    with show_installation() as (say, progress):
        say("building")
        progress(Progress(phase="download", done=1, total=2, unit="bytes"))
    assert capsys.readouterr().err == "s t: failed (data): gone\nbuilding\n"
    chosen.quiet = True
    with show_progress() as watch:
        watch(events[1], 2)
    assert capsys.readouterr().err == ""
