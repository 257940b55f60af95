"""Runs a command that no terminal holds, and writes down how it ended.

`supervise FOLDER COMMAND…` starts COMMAND with its output in files of FOLDER and waits for it. It survives whoever
started it, and hands TERM and Ctrl-C on. If it is killed itself, the command goes on, and its end is not written down.

```
process.json  {"command": [id, when it started], "supervisor": the same}: the time tells a process from a later one
output.txt    what the command printed
log.txt       what it said beside that
ended.json    {"code": …, "signal": name or null}: its exit code as a shell has it
```
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

OUTPUT, LOG, PROCESS, ENDED = "output.txt", "log.txt", "process.json", "ended.json"
STARTED_FIELD = 22
"""Where /proc/PID/stat has the time at which a process started, in ticks since the machine did; proc_pid_stat(5)."""


def start_time(pid: int) -> int | None:
    """Return when a process started [clock ticks since the machine did]; None if it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    state, started = words[0], words[STARTED_FIELD - 3]
    return None if state in ("Z", "X") else int(started)


def supervise(folder: Path, command: Sequence[str]) -> int:
    """Run the command to its end; returns its exit code as a shell has it: 128 + the number of the signal, if any."""
    child: subprocess.Popen[bytes] | None = None
    asked: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        if child is not None:
            child.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with (folder / OUTPUT).open("wb") as output, (folder / LOG).open("wb") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=log)
        processes = {"command": child.pid, "supervisor": os.getpid()}
        _write(folder / PROCESS, {name: [pid, start_time(pid)] for name, pid in processes.items()})
        if asked:
            child.send_signal(signal.SIGTERM)
        code = child.wait()
    name = signal.Signals(-code).name if code < 0 else None
    code = 128 - code if code < 0 else code
    _write(folder / ENDED, {"code": code, "signal": name})
    return code


def _write(path: Path, facts: dict[str, object]) -> None:
    """Write a file in one piece; on a full disk, write none."""
    draft = path.with_suffix(".part")
    with suppress(OSError):
        draft.write_text(json.dumps(facts) + "\n")
        os.replace(draft, path)  # noqa: PTH105  as in core.storage


def main() -> int:
    """Run as a program: `FOLDER COMMAND…`."""
    return supervise(Path(sys.argv[1]), sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
