"""Finding the failures in the lines of a log: what was raised or said, and what only wraps or follows it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from admlops.doctor import wording
from admlops.doctor.log import unframe

Kind = Literal["raise", "line", "wrapper", "aftermath", "ignored"]

FAILURES_AT_MOST = 400
MESSAGE_LINES = 24
MESSAGE_CHARACTERS = 6_000
NEAR = 40
"""A tool's error less than this many lines before an exception belongs to it, unless it is known by itself."""
APART = 200
"""Errors of tools that stand this many lines apart are two failures."""
LOUD_LINES = 2_000
"""This many different lines are examined, the last ones first; lines that differ only in numbers count as one."""
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One thing that was said of a failure, on the lines [first, last]: an exception's end, or a tool's error."""

    kind: Kind
    first: int
    last: int
    text: str
    """The message: without the exception's name; with the lines that go on with it."""
    name: str = ""
    """The exception's class as it was written; empty for a line."""
    start: int = 0
    """The line where its traceback begins."""
    link: Literal["", "handling", "cause"] = ""
    """How it follows from the statement before it."""
    traced: bool = False


@dataclass(kw_only=True)
class Failure:
    """What belongs together: an exception with those it came from, or the errors of one build."""

    said: list[Statement] = field(default_factory=list)
    closed: bool = False

    @property
    def main(self) -> list[Statement]:
        """Return what was said of the failure itself; all that was said where there is no more."""
        return [one for one in self.said if one.kind in {"raise", "line"}] or self.said

    @property
    def first(self) -> int:
        return min(one.start for one in self.said)

    @property
    def last(self) -> int:
        return max(one.last for one in self.said)


def bare(line: str) -> str:
    """A line without what a launcher, a service or a quotation put around it, and without its indentation."""
    for _ in range(4):
        found = wording.PREFIX.match(line)
        if found is None:
            break
        line = line[found.end() :]
    line = unframe(line).strip()
    if line.startswith('"') and line.endswith('"') and line.count('"') == 2:
        line = line.strip('"')
    return line.strip("*`") if line.startswith(("**", "`")) else line


def shape_of(line: str) -> str:
    """A line with all numbers alike."""
    return _DIGITS.sub("0", line)


def is_loud(line: str) -> bool:
    """Tell whether a line has a word with which failures are told: a quick look before the careful one."""
    low = line.lower()
    return any(word in low for word in wording.WORDS)


def loud_lines(lines: Sequence[str]) -> list[bool]:
    """For each line, whether it is worth a careful look: LOUD_LINES different ones at most, from the end."""
    shapes: set[str] = set()
    loud = [False] * len(lines)
    for at in range(len(lines) - 1, -1, -1):
        if lines[at] and is_loud(lines[at]):
            shapes.add(shape_of(lines[at]))
            loud[at] = True
            if len(shapes) >= LOUD_LINES:
                break
    return loud


def find_failures(lines: Sequence[str], loud: Sequence[bool], known: Sequence[bool]) -> list[Failure]:
    """The failures of a log in their order.

    Args:
        lines: the log's bare lines.
        loud: for each line, whether it may say that something failed.
        known: for each line, whether some rule knows its words.
    """
    failures: deque[Failure] = deque(maxlen=FAILURES_AT_MOST)
    for one in _statements(lines, loud, known):
        current = failures[-1] if failures else None
        if current is None or not _belongs(one, current, known):
            failures.append(Failure(said=[one]))
            continue
        current.said.append(one)
        current.closed = current.closed or one.kind == "wrapper"
    return [one for one in failures if any(said.kind != "ignored" for said in one.said)]


def _belongs(one: Statement, current: Failure, known: Sequence[bool]) -> bool:
    """Tell whether a statement goes on with the failure before it."""
    before = current.said[-1]
    if one.link or one.kind in {"wrapper", "aftermath", "ignored"}:
        return True
    if not any(said.kind in {"raise", "line"} for said in current.said):
        told = any(known[said.first] for said in current.said)
        return before.kind == "wrapper" and not told and one.start - current.last < APART
    last_main = current.main[-1]
    if one.kind == "raise":
        if last_main.kind == "raise":
            return (one.name, one.text) == (last_main.name, last_main.text)
        return not any(known[said.first] for said in current.main) and one.start - current.last < NEAR
    if last_main.kind == "line":
        return not current.closed and one.start - current.last < APART
    return not known[one.first] and one.start - current.last < NEAR


def _statements(lines: Sequence[str], loud: Sequence[bool], known: Sequence[bool]) -> Iterator[Statement]:
    quiet: set[str] = set()
    at = loud.index(True) if any(loud) else len(lines)
    while at < len(lines):
        line = lines[at]
        if "(most recent call last)" in line or wording.ORIGINAL.match(line):
            one, at = _traced(lines, at)
            if one is not None:
                yield one
            continue
        shape = shape_of(line) if loud[at] else ""
        one = _said(lines, at, known) if shape and shape not in quiet else None
        if one is None:
            quiet.add(shape)
            at += 1
            continue
        yield one
        at = one.last + 1


def _said(lines: Sequence[str], at: int, known: Sequence[bool]) -> Statement | None:
    """Return what the line says, if it says that something failed; a warning alone does not."""
    line = lines[at]
    if wording.FRAME.match(line) and line.count('File "') < 2 and not wording.RAISE_WITHIN.match(line):
        return None
    raised = wording.RAISE.match(line)
    if raised is None and wording.WARNING.search(line):
        return None
    if raised is None and wording.NOT_A_FAILURE.search(line):
        return None
    raised = raised or wording.RAISE_WITHIN.match(line)
    if raised is not None:
        return _raised(lines, at, raised, start=_first_frame(lines, at), traced=False)
    if known[at] or wording.ERROR.search(line) or wording.WRAPPER.search(line):
        return Statement(kind=_kind(line, "line"), first=at, last=at, start=at, text="\n".join(lines[at : at + 4]))
    return (
        wording.AFTERMATH.search(line)
        and Statement(kind="aftermath", first=at, last=at, start=at, text="\n".join(lines[at : at + 4]))
    ) or None


def _first_frame(lines: Sequence[str], at: int) -> int:
    """The line where the frames right above an exception begin: people cut the head of a traceback off."""
    start = at
    for line in range(at - 1, max(-1, at - APART), -1):
        if wording.FRAME.match(lines[line]):
            start = line
        elif not any(wording.FRAME.match(above) for above in lines[max(0, line - 2) : line]):
            break
    return start


def _traced(lines: Sequence[str], begin: int) -> tuple[Statement | None, int]:
    """The exception at the end of the traceback that begins on a line, and the line after it."""
    at = begin + 1
    inside = 0
    while at < len(lines):
        line = lines[at]
        if wording.TRACEBACK.search(line):
            return None, at
        if wording.FRAME.match(line):
            inside = at
            at += (
                2 if at + 1 < len(lines) and not wording.FRAME.match(lines[at + 1]) and not _ends(lines[at + 1]) else 1
            )
            continue
        raised = wording.RAISE.match(line) or (wording.ANY_RAISE.match(line) if inside else None)
        if raised is not None and not line.startswith(("raise ", "return ")):
            one = _raised(lines, at, raised, start=begin, traced=True)
            return one, one.last + 1
        if wording.PREFIX.match(line) or at - max(inside, begin) > NEAR:
            return None, at
        at += 1
    return None, at


def _ends(line: str) -> bool:
    return wording.RAISE.match(line) is not None and "(" not in line.split(":")[0]


def _raised(lines: Sequence[str], at: int, raised: re.Match[str], *, start: int, traced: bool) -> Statement:
    last = at
    blanks = 0
    while last + 1 < len(lines) and last - at < MESSAGE_LINES and blanks < 2:
        line = lines[last + 1]
        if _stops(line):
            break
        blanks = 0 if line else blanks + 1
        last += 1
    while last > at and not lines[last]:
        last -= 1
    more = lines[at + 1 : last + 1]
    text = "\n".join([(raised["said"] or "").strip(), *more])[:MESSAGE_CHARACTERS]
    name = raised["name"]
    return Statement(
        kind=_kind(lines[at], "raise", ignored=_is_ignored(lines, start)),
        first=at,
        last=last,
        text=text,
        name=name,
        start=start,
        link=_link(lines, start),
        traced=traced,
    )


def _stops(line: str) -> bool:
    """Tell whether a line cannot go on with the message before it."""
    return bool(
        wording.TRACEBACK.search(line)
        or wording.ORIGINAL.match(line)
        or wording.LINKED.match(line)
        or wording.RAISE.match(line)
        or wording.FRAME.match(line)
        or wording.END_OF_MESSAGE.search(line)
        or wording.WRAPPER.search(line)
        or wording.AFTERMATH.search(line)
        or wording.WARNING.search(line)
        or wording.PROGRESS.search(line)
    )


def _kind(line: str, otherwise: Kind, *, ignored: bool = False) -> Kind:
    if ignored:
        return "ignored"
    if wording.WRAPPER.search(line):
        return "wrapper"
    return "aftermath" if wording.AFTERMATH.search(line) else otherwise


def _is_ignored(lines: Sequence[str], start: int) -> bool:
    return start > 0 and wording.IGNORED.match(lines[start - 1]) is not None


def _link(lines: Sequence[str], start: int) -> Literal["", "handling", "cause"]:
    """Say how a traceback follows from what was raised before it."""
    if wording.ORIGINAL.match(lines[start]):
        return "handling"
    before = [line for line in lines[max(0, start - 6) : start] if line][-2:]
    for line in reversed(before):
        found = wording.LINKED.match(line)
        if found is not None:
            return "cause" if found["cause"] else "handling"
    return ""
