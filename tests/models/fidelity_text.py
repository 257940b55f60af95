"""Prose, numbers and tables of the pages that are written from measurements."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120


def lay_out(part: str) -> str:
    """Prose in lines of the width of a page; headings, tables and the introduction as they are."""
    if part.startswith(("#", "\n|")):
        return part.strip("\n") + "\n"
    return textwrap.fill(" ".join(part.split()), WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def number(value: float | None) -> str:
    return "—" if value is None else "0" if value == 0 else f"{value:.1e}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
