"""What a generated case is, where its right and wrong things lie, and the variables that are wrong or odd."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cli.forked_command import Command, Stream

MARK = "zq7"
"""Stands in every wrong name, so that it can be found in the answer however the name is spelled there."""
LOOKS = (
    ("models", "list"),
    ("models", "show", "GroundPlane"),
    ("models", "list", "--json"),
    ("models", "memory"),
    ("results", "list"),
    ("results", "show", "r"),
    ("results", "schema"),
    ("env", "list"),
    ("results", "list", "--json"),
    ("checkpoints", "list"),
    ("doctor", "--rules"),
    ("health", "memory"),
    ("--help",),
    ("--version",),
    ("run", "--help"),
)
"""Commands that only look, and are right."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command line with one mistake, and what may come of it."""

    command: Command
    mistake: str
    codes: frozenset[int] = frozenset({2})
    named: tuple[str, ...] = ()
    """One of these must stand in the answer; none where nothing can be said."""

    def spelled(self) -> str:
        """The command as a shell would take it."""
        variables = [
            f"-u {name}" if value is None else f"{name}={shlex.quote(os.fsencode(value).decode('utf-8', 'replace'))}"
            for name, value in sorted(self.command.variables.items())
        ]
        words = [shlex.quote(os.fsencode(word).decode("utf-8", "backslashreplace")) for word in self.command.words]
        signs: dict[Stream, str] = {"closed": "&-", "full": " /dev/full", "no reader": " >(exit)", "null": " /dev/null"}
        streams = [
            f"{arrow}{signs[stream]}"
            for arrow, stream in (("<", self.command.stdin), (">", self.command.stdout), ("2>", self.command.stderr))
            if stream in signs and (arrow, stream) != ("<", "null")
        ]
        kill = [f"# and then kill -{self.command.signal}"] if self.command.signal else []
        return " ".join(["env", *variables, "admlops", *words, *streams, *kill])


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where right and wrong things lie, in a sandbox."""

    data: Path
    file: Path
    """A file of text."""
    folder: Path
    """An empty folder that may be written."""
    locked: Path
    """A folder that may not be entered."""
    read_only: Path
    """A folder that may not be written."""
    checkpoint: Path


def wrong_variables(places: Places) -> Sequence[tuple[str, str, tuple[str, ...]]]:
    """Variables whose values are wrong, each with a command that looks at it."""
    run = ("run", "GroundPlane", "--data", str(places.data))
    return (
        ("ADMLOPS_PATH", f"/nowhere/{MARK}", ("models", "list")),
        ("ADMLOPS_PATH", str(places.folder), ("run", "GroundPlane")),
        ("ADMLOPS_PATH", f"/nowhere/{MARK}\udcff", ("env", "list")),
        ("ADMLOPS_PATH", f"/nowhere/{MARK}\n", ("sources", "list")),
        ("ADMLOPS_PATH", "/" + MARK * 2000, ("checkpoints", "list")),
        ("ADMLOPS_PATH", f"~{MARK}", ("results", "list")),
        ("ADMLOPS_REP_PATH", str(places.file / MARK), ("results", "show", "r")),
        ("ADMLOPS_REP_PATH", str(places.locked), ("results", "show", "r")),
        ("ADMLOPS_REP_PATH", f"/nowhere/{MARK}", ("evaluate", "r")),
        ("ADMLOPS_REP_PATH", "/" + MARK * 2000, ("report", "r")),
        ("GPU_MEMORY_LIMIT", f"{MARK}GB", run),
        ("GPU_MEMORY_LIMIT", "-1GB", run),
        ("GPU_MEMORY_LIMIT", "nan", run),
        ("INFERENCE_TIMEOUT", "soon", run),
        ("INFERENCE_TIMEOUT", "nan", run),
        ("INFERENCE_TIMEOUT", "-5", run),
        ("CUSTOM_CONFIG_FILE", f"/nowhere/{MARK}.py", run),
        ("CHECKPOINT_FILE", f"/nowhere/{MARK}.pth", run),
        ("ADMLOPS_PACK_STORE", f"{MARK}://x", ("env", "pull", "GroundPlane")),
        ("ADMLOPS_RUN_STORE", f"{MARK}://x", ("results", "pull", "r")),
    )


def odd_variables(places: Places) -> Sequence[dict[str, str | None]]:
    """Variables that stop no command, whatever they are."""
    return (
        {"LC_ALL": "C"},
        {"LC_ALL": "de_DE.ISO-8859-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1:strict"},
        {"HOME": ""},
        {"HOME": None},
        {"HOME": f"/nowhere/{MARK}"},
        {"HOME": str(places.locked)},
        {"HOME": str(places.read_only)},
        {"LOG_LEVEL": f"{MARK}"},
        {"LOG_LEVEL": ""},
        {"COLUMNS": "0"},
        {"COLUMNS": "abc"},
        {"TERM": "dumb", "COLUMNS": "1"},
        {"TMPDIR": f"/nowhere/{MARK}"},
        {"PATH": ""},
        {"PATH": None},
        {"CUDA_VISIBLE_DEVICES": f"{MARK}"},
        {"XDG_CACHE_HOME": str(places.locked)},
        {"NO_COLOR": "1", "FORCE_COLOR": "1"},
        {"TZ": f"{MARK}/x"},
    )
