"""Lines of a file in any order, without the file in memory."""

from __future__ import annotations

import mmap
from functools import cached_property
from pathlib import Path


class LineFile:
    """A text file whose lines are read by number; it is mapped into memory at the first read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def line(self, number: int) -> bytes:
        """Return the line with that number, from 0, and its newline. Raises IndexError: there are fewer."""
        return self._content[self._ends[number] : self._ends[number + 1]]

    @cached_property
    def _content(self) -> mmap.mmap:
        with self._path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def _ends(self) -> list[int]:
        """Return where each line ends, after a leading 0."""
        ends, at = [0], self._content.find(b"\n")
        while at >= 0:
            ends.append(at + 1)
            at = self._content.find(b"\n", at + 1)
        return ends
