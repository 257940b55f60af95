"""Logs as people may see them in a browser: text alone, whatever programs wrote to a terminal.

A line's colours, moves of the cursor and titles are left out, what a carriage return overwrote is gone, and other
control characters show as such. Escaping for HTML is the template's.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

ESCAPES = re.compile(
    r"""
    \x1b\[ [0-?]* [ -/]* [@-~]            # CSI: colours, moves of the cursor
    | \x9b [0-?]* [ -/]* [@-~]            # the same, in one character
    # OSC, DCS and their like: titles, links
    | (?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]) [^\x07\x1b\x9c]* (?:\x07|\x1b\\|\x9c)?
    | \x1b [ -/]* [0-~]                   # other escapes of two or three characters
    """,
    re.VERBOSE,
)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Control characters but tab, and those that turn the direction of writing round."""
MAX_LINE = 4000
"""Characters of a line that are shown."""
TAIL_BYTES = 128 * 1024
MAX_STEP_BYTES = 512 * 1024


def clean_line(line: str) -> str:
    """Return a line as text without effects."""
    text = ESCAPES.sub("", line.rstrip("\r\n"))
    text = text.rpartition("\r")[2]
    if "\b" in text:
        text = _take_back(text)
    text = CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]} … {len(text) - MAX_LINE} more characters"


def _take_back(text: str) -> str:
    """Let every backspace take the character before it."""
    kept: list[str] = []
    for character in text:
        if character != "\b":
            kept.append(character)
        elif kept:
            kept.pop()
    return "".join(kept)


@dataclass
class LogTail:
    """Follows a file that grows: `read` gives the lines that came since the last call.

    The first call gives the end of the file. A line without an end waits for it. Where the file was cut or made anew,
    reading begins again at its end.
    """

    path: Path
    offset: int | None = None
    identity: tuple[int, int] | None = None
    rest: bytes = b""

    def read(self) -> list[str]:
        """Return new whole lines, cleaned; none where the file is not there."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                return self._read(file.fileno(), status.st_size, (status.st_dev, status.st_ino))
        except OSError:
            self.offset = None  # what comes here later is another file, whatever its number
            return []

    def _read(self, descriptor: int, size: int, identity: tuple[int, int]) -> list[str]:
        first = self.offset is None or identity != self.identity or size < self.offset
        start = max(0, size - TAIL_BYTES) if first else max(self.offset or 0, size - MAX_STEP_BYTES)
        skipped = start > 0 and (first or start != self.offset)
        self.identity = identity
        content = os.pread(descriptor, size - start, start)
        self.offset = start + len(content)
        if skipped:
            content = content.partition(b"\n")[2]
            self.rest = b""
        lines = (self.rest + content if not first else content).split(b"\n")
        self.rest = lines.pop()[-TAIL_BYTES:]
        return [clean_line(line.decode("utf-8", "replace")) for line in lines]
