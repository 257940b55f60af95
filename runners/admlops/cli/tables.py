"""Tables on standard output: with rules and colour on a terminal, plain aligned columns everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, narrow: bool = False) -> None:
    """Print `rows` under `columns`. Piped output keeps every cell whole, however wide.

    Args:
        narrow: for many columns of short numbers: few rules, and on a small terminal headings fold before numbers do.
    """
    if sys.stdout.isatty():
        _print_rich(columns, rows, narrow=narrow)
        return
    lines = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]], *, narrow: bool) -> None:
    from rich.box import HEAVY_HEAD, SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", box=SIMPLE_HEAD if narrow else HEAVY_HEAD, pad_edge=not narrow)
    table.padding = (0, 1, 0, 0) if narrow else (0, 1)
    for index, column in enumerate(columns):
        widest = max((len(row[index]) for row in rows), default=None) if narrow else None
        table.add_column(column, overflow="fold", min_width=widest)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
