"""Tables as text: Markdown, LaTeX (booktabs), CSV and JSON. The same tables give the same text."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any

from admlops.reports.tables import Cell, Column, Row, Table

NONE = "–"
CSV_COLUMNS = (
    "protocol", "samples_sha256", "n", "run", "label", "by", "part", "part_n", "metric", "unit", "value",
    "interval_low", "interval_high", "best",
)  # fmt: skip
"""One line a value, in the unit of the protocol: a share stays a share."""

_LATEX = MappingProxyType(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "–": "--",
        "—": "---",
        "−": "$-$",
        "×": r"$\times$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "°": r"$^\circ$",
        "…": r"\dots{}",
    }
)


def to_markdown(tables: Sequence[Table]) -> str:
    """One table after the other, each under its caption."""
    return "\n".join(_markdown_table(table) for table in tables)


def to_latex(tables: Sequence[Table]) -> str:
    r"""Floating `table`s with `\caption` and `\label`; the preamble needs booktabs alone."""
    return "% \\usepackage{booktabs}\n" + "\n".join(_latex_table(table, number) for number, table in enumerate(tables))


def to_csv(tables: Sequence[Table]) -> str:
    """One line a value, so that tables of different shapes are one file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(line for table in tables for line in _csv_lines(table))
    return text.getvalue()


def to_json(tables: Sequence[Table]) -> str:
    """A list of tables with everything that they hold."""
    return json.dumps([_plain(table) for table in tables], indent=2, ensure_ascii=False) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Table]], str]] = MappingProxyType(
    {"md": to_markdown, "latex": to_latex, "csv": to_csv, "json": to_json}
)


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands; what pdflatex has no character for becomes its code point."""
    return "".join(_LATEX.get(one) or _printable(one) for one in text)


def _printable(one: str) -> str:
    if one.isascii():
        return one if one.isprintable() else " "
    return one if "\u00c0" <= one <= "\u017f" and one not in "×÷" else f"U+{ord(one):04X}"


def _markdown_table(table: Table) -> str:
    heads = [_escape_markdown(table.stub), *([table.counted] if table.counted else [])]
    heads += [_escape_markdown(_heading(one, group=True)) for one in table.columns]
    rule = ["---", *["---:" for _ in heads[1:]]]
    lines = [_escape_markdown(table.caption), "", _markdown_line(heads), _markdown_line(rule)]
    for row in table.rows:
        cells = [_escape_markdown(row.label), *_count_cells(table, row)]
        for cell, column in zip(row.cells, table.columns, strict=True):
            value, between = _spell(cell, column)
            shown = f"**{value}**" if cell.best else value
            cells.append(f"{shown} ({between[0]} to {between[1]})" if between else shown)
        lines.append(_markdown_line(cells))
    return "\n".join(lines) + "\n"


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\|*_`<])", r"\\\1", text)


def _latex_table(table: Table, number: int) -> str:
    counted = 1 if table.counted else 0
    slug = re.sub(r"[^a-z0-9]+", "-", f"{table.protocol}-{table.by or 'runs'}-{table.dataset[:6]}".lower()).strip("-")
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape_latex(table.caption)}}}",
        rf"  \label{{tab:{slug}-{number}}}",
        rf"  \begin{{tabular}}{{l{'r' * (counted + len(table.columns))}}}",
        r"    \toprule",
    ]
    if any(column.group for column in table.columns):
        lines += _latex_groups(table.columns, first=2 + counted)
    heads = [escape_latex(table.stub), *([table.counted] if counted else [])]
    heads += [_latex_heading(one) for one in table.columns]
    lines += [f"    {' & '.join(heads)} \\\\", r"    \midrule"]
    for row in table.rows:
        cells = [escape_latex(row.label), *(escape_latex(one) for one in _count_cells(table, row))]
        cells += [_latex_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)]
        lines.append(f"    {' & '.join(cells)} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]) + "\n"


def _latex_groups(columns: Sequence[Column], *, first: int) -> list[str]:
    """The line of metrics above the runs, and the rules below them. `first` is the first value's column, from 1."""
    cells, rules, at = [""] * (first - 1), [], first
    for _, found in groupby(columns, key=lambda one: one.metric):
        own = list(found)
        label = _latex_unit(escape_latex(own[0].group), own[0])
        cells.append(rf"\multicolumn{{{len(own)}}}{{c}}{{{label}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + len(own) - 1}}}")
        at += len(own)
    return [f"    {' & '.join(cells)} \\\\", f"    {''.join(rules)}"]


def _latex_heading(column: Column) -> str:
    heading = escape_latex(column.heading)
    return heading if column.group else _latex_unit(heading, column)


def _latex_unit(heading: str, column: Column) -> str:
    unit = f" [{escape_latex(column.unit)}]" if column.unit else ""
    arrow = r"$\uparrow$" if column.higher_is_better else r"$\downarrow$"
    return f"{heading}{unit} {arrow}"


def _latex_cell(cell: Cell, column: Column) -> str:
    value, between = _spell(cell, column)
    value = escape_latex(value)
    shown = rf"\textbf{{{value}}}" if cell.best else value
    return rf"{shown} {{\footnotesize [{between[0]}, {between[1]}]}}" if between else shown


def _heading(column: Column, *, group: bool) -> str:
    name = f"{column.group} {column.heading}" if group and column.group else column.heading
    unit = f" [{column.unit}]" if column.unit else ""
    return f"{name}{unit} {'↑' if column.higher_is_better else '↓'}"


def _count_cells(table: Table, row: Row) -> list[str]:
    return ([NONE] if row.n is None else [str(row.n)]) if table.counted else []


def _spell(cell: Cell, column: Column) -> tuple[str, tuple[str, str] | None]:
    """The value and the ends of its interval as they are shown."""
    if cell.value is None:
        return NONE, None
    ends = cell.interval

    def spell(value: float) -> str:
        return f"{value * column.scale:.{column.digits}f}"

    return spell(cell.value), None if ends is None else (spell(ends[0]), spell(ends[1]))


def _csv_lines(table: Table) -> list[tuple[Any, ...]]:
    lines = []
    for row in table.rows:
        for cell, column in zip(row.cells, table.columns, strict=True):
            label = column.heading if column.group else row.label if table.by is None else next(iter(table.runs))
            low, high = cell.interval or (None, None)
            part = None if table.by is None else row.label
            where = (table.protocol, table.dataset, table.n, table.runs[label], label, table.by, part, row.n)
            unit = "" if column.scale != 1 else column.unit
            lines.append((*where, column.metric, unit, cell.value, low, high, "yes" if cell.best else ""))
    return lines


def _plain(table: Table) -> dict[str, Any]:
    columns = [
        {
            "metric": one.metric,
            "label": one.heading if one.group else None,
            "unit": "" if one.scale != 1 else one.unit,
            "higher_is_better": one.higher_is_better,
        }
        for one in table.columns
    ]
    rows = [
        {
            "label": row.label,
            "run": row.run,
            "n": row.n,
            "cells": [
                {"value": one.value, "interval": None if one.interval is None else list(one.interval), "best": one.best}
                for one in row.cells
            ],
        }
        for row in table.rows
    ]
    return {
        "protocol": table.protocol,
        "samples_sha256": table.dataset,
        "n": table.n,
        "by": table.by,
        "counted": table.counted or None,
        "caption": table.caption,
        "runs": dict(table.runs),
        "columns": columns,
        "rows": rows,
    }
