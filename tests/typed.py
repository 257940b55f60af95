"""The command line in this process: what a person types, without the cost of a new interpreter."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from admlops.cli import conventions, main


class Said(NamedTuple):
    """What a command did: its exit code, what it printed, what it told the person who waits."""

    code: int
    out: str
    err: str


Typed = Callable[..., Said]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    """Run a command line, `typed("models", "list")`, with a repository and configuration files of the test's own."""
    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path / "repository"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LOG_LEVEL", "warning")
    for variable in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str | Path) -> Said:
        fresh = conventions.Manner()
        monkeypatch.setattr(conventions, "PROCESS", fresh)
        monkeypatch.setattr(main, "PROCESS", fresh)
        monkeypatch.setattr(sys, "argv", ["admlops", *map(str, arguments)])
        capsys.readouterr()
        try:
            code = main._run()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Said(code, *capsys.readouterr())

    return run
