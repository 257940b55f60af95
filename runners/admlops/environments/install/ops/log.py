"""The log of a build, while it grows and when it has failed."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NINJA_COUNT = re.compile(rb"^\s*\[(\d+)/(\d+)\] ", re.MULTILINE)
LOOK_S = 0.5
SAY_S = 30.0
TAIL_LINES = 12
TAIL_BYTES = 64 * 1024
ERROR_LINE = re.compile(r"\berror\b|\bfatal\b|Error:|Killed|No such file|undefined reference", re.IGNORECASE)
COMMAND_LENGTH = 400


@contextmanager
def follow(
    log: Path, *, name: str, say: Callable[[str], None], progress: Callable[[str, int, int], None] | None
) -> Iterator[None]:
    """Tell in the block how many objects of a ninja build are done: each to `progress`, else now and then to `say`."""
    stop = threading.Event()
    thread = threading.Thread(target=_follow, args=(log, name, say, progress, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def count_objects(said: bytes) -> tuple[int, int] | None:
    """(done, all) of the last of ninja's `[12/73] …` lines; None if there is none."""
    counts = NINJA_COUNT.findall(said)
    return None if not counts else (int(counts[-1][0]), int(counts[-1][1]))


def read_tail(log: Path) -> str:
    """Return the end of a log, preceded by the lines about errors that it does not hold."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = [line[:COMMAND_LENGTH] for line in file.read().decode("utf-8", "replace").splitlines()]
    tail = lines[-TAIL_LINES:]
    earlier = [line for line in lines[:-TAIL_LINES] if ERROR_LINE.search(line) and len(line) < COMMAND_LENGTH]
    return "\n".join([*earlier[:TAIL_LINES], *tail])


def _follow(
    log: Path,
    name: str,
    say: Callable[[str], None],
    progress: Callable[[str, int, int], None] | None,
    stop: threading.Event,
) -> None:
    begun = said_at = time.monotonic()
    position, last, pending = 0, None, b""
    while not stop.wait(LOOK_S):
        with log.open("rb") as file:
            file.seek(position)
            grown = file.read()
        position += len(grown)
        pending, counts = _split(pending + grown)
        if counts is None or counts == last:
            continue
        last = counts
        if progress is not None:
            progress(name, *counts)
        elif time.monotonic() - said_at >= SAY_S:
            said_at = time.monotonic()
            say(f"{name}: {counts[0]} of {counts[1]} objects, {(said_at - begun) / 60:.1f} min")


def _split(said: bytes) -> tuple[bytes, tuple[int, int] | None]:
    """The unfinished last line, and the count of the finished ones."""
    finished, newline, rest = said.rpartition(b"\n")
    return (rest, count_objects(finished)) if newline else (said, None)
