"""Tables on standard output: ruled on a terminal, plain aligned columns elsewhere, or as --format says."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from admlops.cli.conventions import manner, uses_color

if TYPE_CHECKING:
    from rich.text import Text

Rows = Sequence[Sequence[str]]
STATE_COLORS = {
    "ready": "green",
    "complete": "green",
    "degraded": "yellow",
    "running": "yellow",
    "stopped": "yellow",
    "cancelled": "yellow",
    "failed": "red",
    "broken": "red",
}
"""A cell that begins with one of these words is a state."""


def print_table(columns: Sequence[str], rows: Rows, *, narrow: bool = False) -> None:
    """Print `rows` under `columns`, as --format says. Piped output keeps every cell whole, however wide.

    Args:
        narrow: for many columns of short numbers: few rules, and on a small terminal headings fold before numbers do.
    """
    write = WRITERS.get(manner().table)
    if write is not None:
        click.echo(write(columns, rows), nl=False)
    elif sys.stdout.isatty():
        _print_rich(columns, rows, narrow=narrow)
    else:
        _print_plain(columns, rows)


def to_csv(columns: Sequence[str], rows: Rows) -> str:
    """Comma-separated values, quoted where they must be, one line feed after each row."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def to_markdown(columns: Sequence[str], rows: Rows) -> str:
    """A table of GitHub's Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(_escape_markdown(cell) for cell in line)} |\n" for line in lines)


def to_latex(columns: Sequence[str], rows: Rows) -> str:
    """A tabular of LaTeX with the rules of the package booktabs."""
    head, *body = (" & ".join(_escape_latex(cell) for cell in line) + r" \\" for line in (columns, *rows))
    lines = [rf"\begin{{tabular}}{{{'l' * len(columns)}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


WRITERS: Mapping[str, Callable[[Sequence[str], Rows], str]] = {
    "csv": to_csv,
    "md": to_markdown,
    "latex": to_latex,
}

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    sign: rf"\{sign}" for sign in "&%$#_{}"
}


def _escape_markdown(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", r"\|").replace("\n", "<br>")


def _escape_latex(cell: str) -> str:
    return re.sub(r"[\\~^&%$#_{}]", lambda sign: _LATEX[sign[0]], cell).replace("\n", " ")


def _print_plain(columns: Sequence[str], rows: Rows) -> None:
    lines = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    colored = uses_color(sys.stdout)
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        click.echo(click.style(text, bold=True) if colored and number == 0 else text)


def _print_records(columns: Sequence[str], rows: Rows) -> None:
    """Print each row as lines of its own: names and commands stay whole where a table would cut them."""
    colored = uses_color(sys.stdout)
    width = max(len(column) for column in columns)
    for row in rows:
        click.echo(click.style(row[0], bold=True) if colored else row[0])
        for column, cell in zip(columns[1:], row[1:], strict=True):
            if cell:
                color = _color_of(cell) if colored else None
                click.echo(f"  {column:<{width}}  {click.style(cell, fg=color) if color else cell}")


def _least_width(columns: Sequence[str], rows: Rows) -> int:
    """Return the narrowest width of a table with rules that cuts no word."""
    cells = [[line[index] for line in (columns, *rows)] for index in range(len(columns))]
    words = [max((len(word) for cell in column for word in cell.split()), default=0) for column in cells]
    return sum(words) + 3 * len(columns) + 1


def _print_rich(columns: Sequence[str], rows: Rows, *, narrow: bool) -> None:
    from rich.box import HEAVY_HEAD, SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    colored = uses_color(sys.stdout)
    console = Console(color_system="auto" if colored else None, no_color=not colored, force_terminal=True)
    if not narrow and _least_width(columns, rows) > console.width:
        _print_records(columns, rows)
        return
    table = Table(header_style="bold", box=SIMPLE_HEAD if narrow else HEAVY_HEAD, pad_edge=not narrow)
    table.padding = (0, 1, 0, 0) if narrow else (0, 1)
    for index, column in enumerate(columns):
        widest = max((len(row[index]) for row in rows), default=None) if narrow else None
        # A column of single words, such as names to copy, stays whole; others fold between words.
        whole = not narrow and all(" " not in line[index] for line in (columns, *rows))
        table.add_column(column, overflow="fold", min_width=widest, no_wrap=whole)
    for row in rows:
        table.add_row(*(_style(cell) for cell in row))
    console.print(table)


def _style(cell: str) -> Text:
    from rich.text import Text

    return Text(cell, style=_color_of(cell) or "")


def _color_of(cell: str) -> str | None:
    """The colour of a state, None for any other cell."""
    return STATE_COLORS.get(re.split(r"[\s,:;]", cell, maxsplit=1)[0])
