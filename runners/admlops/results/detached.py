"""Commands that go on without a terminal: `admlops run --detach`.

Each has a folder of its own in the repository's `detached/`, with the files of `core.supervise` and

```
command.json  {"words": the command line, "host": where it runs, "created": unix time, s}
runs.jsonl    a line for each run that it has begun: {"run": name, "folder": path}
```
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import admlops
from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error
from admlops.core.supervise import ENDED, LOG, OUTPUT, PROCESS, start_time
from admlops.results.liveness import identify_host

VARIABLE = "ADMLOPS_DETACHED"
"""Names the folder to a detached command, which removes it before it starts other processes."""
STARTS_WITHIN_S = 30.0
"""A supervisor that has started no command after this time has ended."""

_PROGRAM = """
import sys
sys.path.append(sys.argv[1])
sys.argv[:2] = ["admlops"]
from admlops.{module} import {name}
sys.exit({name}())
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a detached command ended: its exit code as a shell has it, and the signal if one ended it."""

    code: int
    signal: str | None


@dataclass(frozen=True)
class Detached:
    """A command that was detached. Everything but its folder is read anew each time, because it may still run."""

    folder: Path

    @property
    def output_path(self) -> Path:
        """What the command printed."""
        return self.folder / OUTPUT

    @property
    def log_path(self) -> Path:
        """What the command said beside that: progress, failures, its error."""
        return self.folder / LOG

    @property
    def words(self) -> tuple[str, ...]:
        """The command line, without the program's name."""
        return tuple(map(str, self._read("command.json").get("words", ())))

    @property
    def host(self) -> str | None:
        """The machine that it runs on, as `results.liveness` names one."""
        return self._read("command.json").get("host")

    @property
    def is_here(self) -> bool:
        """Tell whether it was started on this machine, and since this machine started."""
        return self.host == identify_host()

    @property
    def pid(self) -> int | None:
        """The process id of the command, while it goes on here.

        An id that another process has got since is not taken for it: that one started at another time.
        """
        return self._living("command")

    @property
    def ended(self) -> Ended | None:
        """How it ended; None while it goes on, or if its supervisor was killed."""
        facts = self._read(ENDED)
        return Ended(code=int(facts["code"]), signal=facts.get("signal")) if "code" in facts else None

    @property
    def goes_on(self) -> bool:
        """Tell whether it has not ended. Of a command on another machine only its files tell."""
        if self.ended is not None:
            return False
        if not self.is_here or self._living("command") or self._living("supervisor"):
            return True
        began = self._read("command.json").get("created", 0)
        starts = not (self.folder / PROCESS).exists() and time.time() - began < STARTS_WITHIN_S
        return starts and self.ended is None

    @property
    def runs(self) -> list[tuple[str, Path]]:
        """The runs that it has begun, in order: name and folder."""
        with suppress(OSError, ValueError, KeyError):
            lines = map(json.loads, (self.folder / "runs.jsonl").read_text().splitlines())
            return [(str(line["run"]), Path(line["folder"])) for line in lines]
        return []

    def announce(self, folder: Path) -> None:
        """Say that a run has begun. Called by the command itself. Raises StorageError."""
        path = self.folder / "runs.jsonl"
        try:
            with path.open("a") as file:
                file.write(json.dumps({"run": folder.name, "folder": str(folder)}) + "\n")
        except OSError as error:
            raise explain_os_error(error, path) from error

    def stop(self) -> bool:
        """Ask it to stop, as Ctrl-C does; False if it does not go on here."""
        pid = self.pid
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        return True

    def _living(self, process: str) -> int | None:
        pid, started = self._read(PROCESS).get(process, (None, None))
        lives = self.is_here and isinstance(pid, int) and started is not None and start_time(pid) == started
        return pid if lives else None

    def _read(self, name: str) -> dict[str, Any]:
        try:
            facts = json.loads((self.folder / name).read_bytes())
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}


def start_detached(layout: Layout, words: Sequence[str]) -> Detached:
    """Start `admlops WORDS` in a session of its own, with a supervisor. Raises StorageError."""
    folder = _folder(layout) / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    facts = {"words": list(words), "host": identify_host(), "created": round(time.time(), 3)}
    try:
        folder.mkdir(parents=True)
        (folder / "command.json").write_text(json.dumps(facts) + "\n")
    except OSError as error:
        raise explain_os_error(error, folder) from error
    command = [*_program("cli.start", "start"), *words]
    subprocess.Popen(
        [*_program("core.supervise", "main"), str(folder), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, VARIABLE: str(folder)},
        start_new_session=True,
    )
    return Detached(folder)


def _program(module: str, name: str) -> list[str]:
    """The command line that calls a function of ours by this interpreter, with its options, from whatever folder."""
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    root = str(Path(admlops.__file__).parents[1])
    return [sys.executable, *options, "-P", "-c", _PROGRAM.format(module=module, name=name), root]


def list_detached(layout: Layout) -> list[Detached]:
    """Every command that was detached, the newest first."""
    folder = _folder(layout)
    if not folder.is_dir():
        return []
    return [Detached(path) for path in sorted(folder.iterdir(), reverse=True) if (path / "command.json").exists()]


def find_detached(layout: Layout, name: str, folder: Path) -> Detached | None:
    """The newest command that began the run of this name or in this folder, or whose own name or folder this is."""
    for one in list_detached(layout):
        if name == one.folder.name or folder == one.folder:
            return one
        if any(name == run or folder == path for run, path in one.runs):
            return one
    return None


def _folder(layout: Layout) -> Path:
    return layout.repository / "detached"
