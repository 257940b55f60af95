"""Logs as text without effects, and following a file that grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from admlops.service.dashboard.log_text import MAX_LINE, TAIL_BYTES, LogTail, clean_line


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[31mred\x1b[0m and \x1b[1;38;5;208mbold\x1b[m", "red and bold"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://evil.example/\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$r0m\x1b\\after a device control string", "after a device control string"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1b[2J\x1b[H\x1b(Btop", "top"),
        (" 10 %\r 50 %\r100 %", "100 %"),
        ("a line of Windows\r\n", "a line of Windows"),
        ("abx\bc", "abc"),
        ("bell \x07 and null \x00", "bell \\x07 and null \\x00"),
        ("turned \u202eround", "turned \\x202eround"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("a\ttab", "a\ttab"),
        ("cut \x1b[", "cut "),
    ],
)
def test_a_line_is_shown_without_effects(line: str, shown: str) -> None:
    assert clean_line(line) == shown


def test_a_long_line_is_cut() -> None:
    shown = clean_line("x" * (MAX_LINE + 5))
    assert shown == "x" * MAX_LINE + " … 5 more characters"


def test_a_log_is_followed_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    tail = LogTail(path)
    assert tail.read() == []
    path.write_bytes(b"first\nsec")
    assert tail.read() == ["first"]
    with path.open("ab") as file:
        file.write(b"ond\nthird\n\xff\n")
    assert tail.read() == ["second", "third", "\ufffd"]
    assert tail.read() == []


def test_a_long_log_begins_near_its_end(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_text("".join(f"line {number}\n" for number in range(50_000)))
    lines = LogTail(path).read()
    assert lines[-1] == "line 49999"
    assert all(line.startswith("line ") for line in lines)
    assert sum(len(line) + 1 for line in lines) <= TAIL_BYTES


def test_a_log_that_was_cut_or_made_anew_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_text("a\nb\nc\n")
    tail = LogTail(path)
    tail.read()
    path.write_text("d\n")
    assert tail.read() == ["d"]
    path.unlink()
    assert tail.read() == []
    path.write_text("e\nf\n")
    assert tail.read() == ["e", "f"]
