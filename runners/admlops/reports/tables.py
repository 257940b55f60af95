"""Runs' metrics as tables for papers: what may stand side by side, with n, intervals, and the best value marked.

One table holds one protocol over one set of samples; runs over other samples get a table of their own. `table_text`
writes tables down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from admlops.catalog.protocols import find_evaluation, find_metric, headlines_of
from admlops.core.errors import RecordError, UsageError
from admlops.evaluation.metrics import Metric, metrics_of
from admlops.evaluation.slice_tables import find_tables
from admlops.reports.part_values import CLASS, PARTS, Part, find_parts
from admlops.results.header import RunHeader
from admlops.results.index import read_metrics
from admlops.results.run_folder import RunFolder

DIGITS = 3
PERCENT_DIGITS = 1


@dataclass(frozen=True, kw_only=True)
class Source:
    """A run as a table takes it: its header, its `metrics.json`, and what it is called beside the others."""

    header: RunHeader
    metrics: Mapping[str, Any]
    label: str

    @property
    def dataset(self) -> str:
        """The digest of the samples that were evaluated."""
        return str(self.metrics["data"]["samples_sha256"])

    @property
    def counts(self) -> bool:
        """Tell whether its scores say how good the model is: random weights' do not."""
        return self.header.random_weights is None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of values: `group` stands above several columns, `scale` multiplies what is shown."""

    heading: str
    metric: str
    unit: str = ""
    higher_is_better: bool = True
    digits: int = DIGITS
    scale: float = 1.0
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One value with its 95 % interval; `best` among those that it may be compared with."""

    value: float | None
    interval: tuple[float, float] | None = None
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run, or a part of the data with its count `n`; `run` is None where columns are runs."""

    label: str
    cells: tuple[Cell, ...]
    n: int | None = None
    run: str | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """One protocol on one set of samples.

    Attributes:
        stub: the heading of the first column.
        by: what the rows are parts of; None where each row is a run.
        counted: what `n` of a row counts; empty where rows have none.
        caption: data, n and protocol in words.
        runs: label → the run's name, in the order of rows or columns.
    """

    protocol: str
    dataset: str
    n: int
    by: str | None
    stub: str
    counted: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str
    runs: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Style:
    """What is shown, and how: chosen metrics and protocols (empty: the usual ones), digits, percent for scores."""

    metrics: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    digits: int | None = None
    percent: bool = False


def read_sources(runs: Sequence[RunFolder]) -> list[Source]:
    """The runs as tables take them, each once.

    Raises:
        RecordError: a run is not evaluated, or its metrics are damaged.
    """
    folders = list({run.path.resolve(): run for run in runs}.values())
    read = []
    for run in folders:
        metrics = read_metrics(run)
        if metrics is None:
            raise RecordError(f"run {run.path.name} is not evaluated", hint=f"admlops evaluate {run.path.name}")
        read.append(metrics)
    labels = label_headers([run.header for run in folders])
    return [
        Source(header=run.header, metrics=metrics, label=label)
        for run, metrics, label in zip(folders, read, labels, strict=True)
    ]


def label_headers(headers: Sequence[RunHeader]) -> list[str]:
    """A label a run: the model's name, with the variant or the run's name where several runs have the same model."""
    models = Counter(one.model for one in headers)
    variants = Counter((one.model, one.variant) for one in headers)
    labels = []
    for one in headers:
        if models[one.model] == 1:
            labels.append(one.model)
        elif variants[one.model, one.variant] == 1:
            labels.append(f"{one.model} ({one.variant})")
        else:
            labels.append(one.run)
    return labels


def make_tables(sources: Sequence[Source], *, by: str | None = None, style: Style | None = None) -> list[Table]:
    """A table for every protocol and set of samples.

    Args:
        by: one of `PARTS`: rows are then parts of the data; with several runs, columns are the runs under the metrics
            that stand for the protocol.

    Raises:
        UsageError: nothing is there to show; the message says what the runs have.
    """
    style = style or Style()
    tables = _run_tables(sources, style) if by is None else _part_tables(sources, by, style)
    if not tables:
        raise _nothing(sources, by, style)
    return tables


def _run_tables(sources: Sequence[Source], style: Style) -> list[Table]:
    """Rows are runs."""
    groups: dict[tuple[str, ...], dict[str, dict[str, Metric]]] = {}
    for source in sources:
        for metric in metrics_of(source.metrics):
            key = (metric.protocol, metric.dataset, metric.device or "", metric.precision or "")
            groups.setdefault(key, {}).setdefault(source.label, {})[metric.name] = metric
    named = {source.label: source for source in sources}
    tables = []
    for (protocol, dataset, *_), found in groups.items():
        names = _chosen(protocol, list(dict.fromkeys(name for own in found.values() for name in own)), style)
        if not names:
            continue
        own = [named[label] for label in found]
        values = [[found[one.label].get(name) for name in names] for one in own]
        cells = [[_cell(metric) for metric in row] for row in values]
        columns = [_column(protocol, name, style) for name in names]
        _mark_columns(cells, columns, [one.counts for one in own])
        rows = tuple(
            Row(label=one.label, run=one.header.run, cells=tuple(row)) for one, row in zip(own, cells, strict=True)
        )
        tables.append(
            Table(
                protocol=protocol,
                dataset=dataset,
                n=max(metric.n for row in values for metric in row if metric is not None),
                by=None,
                stub="model",
                counted="",
                columns=tuple(columns),
                rows=rows,
                caption=_caption(protocol, own, None, marked=_is_marked(rows)),
                runs={one.label: one.header.run for one in own},
            )
        )
    return tables


def _part_tables(sources: Sequence[Source], by: str, style: Style) -> list[Table]:
    """Rows are parts of the data; columns are metrics of one run, or runs under each metric."""
    groups: dict[tuple[str, str, str], dict[str, Mapping[str, Part]]] = {}
    for source in sources:
        for protocol, counted, parts in find_parts(source.metrics, by):
            groups.setdefault((protocol, source.dataset, counted), {})[source.label] = parts
    named = {source.label: source for source in sources}
    tables = []
    for (protocol, dataset, counted), found in groups.items():
        own = [named[label] for label in found]
        names = list(dict.fromkeys(name for parts in found.values() for _, values in parts.values() for name in values))
        chosen = [name for name in names if not style.metrics or name in style.metrics]
        if style.protocols and protocol not in style.protocols:
            continue
        if len(own) > 1 and not style.metrics:
            headlines = [name for name in chosen if name in headlines_of(protocol)]
            chosen = headlines or chosen[:1]
        if chosen:
            tables.append(_part_table(protocol, dataset, counted, by, own, found, chosen, style))
    return tables


def _part_table(
    protocol: str,
    dataset: str,
    counted: str,
    by: str,
    own: Sequence[Source],
    found: Mapping[str, Mapping[str, Part]],
    names: Sequence[str],
    style: Style,
) -> Table:
    single = len(own) == 1
    columns, keys = [], []
    for name in names:
        column = _column(protocol, name, style)
        for one in own:
            columns.append(column if single else replace(column, heading=one.label, group=column.heading))
            keys.append((one, name))
    rows = []
    for part in dict.fromkeys(part for parts in found.values() for part in parts):
        there = [found[one.label].get(part, (None, {})) for one in own]
        cells = [
            Cell(value=found[one.label].get(part, (None, {}))[1].get(name)) for one, name in keys
        ]  # a part has no interval of its own
        if not single:
            _mark_row(cells, columns, [one.counts for one, _ in keys])
        rows.append(
            Row(
                label=part,
                n=next((count for count, _ in there if count is not None), None),
                run=own[0].header.run if single else None,
                cells=tuple(cells),
            )
        )
    return Table(
        protocol=protocol,
        dataset=dataset,
        n=int(own[0].metrics["samples"]),
        by=by,
        stub=by,
        counted=counted,
        columns=tuple(columns),
        rows=tuple(rows),
        caption=_caption(protocol, own, by, marked=_is_marked(rows)),
        runs={one.label: one.header.run for one in own},
    )


def _chosen(protocol: str, names: Sequence[str], style: Style) -> list[str]:
    """The metrics to show: those asked for, else what the evaluation shows in tables, in its order."""
    if style.protocols and protocol not in style.protocols:
        return []
    if style.metrics:
        return [name for name in style.metrics if name in names]
    evaluation = find_evaluation(protocol)
    columns = [] if evaluation is None else [column.metric for column in evaluation.columns]
    return [name for name in columns if name in names] or list(names)


def _column(protocol: str, name: str, style: Style) -> Column:
    known = find_metric(protocol, name) or find_metric(protocol, f"m{name}")
    unit = "" if known is None else known.unit
    higher = known is None or known.higher_is_better
    share = style.percent and not unit and higher
    digits = style.digits if style.digits is not None else PERCENT_DIGITS if share else DIGITS
    return Column(
        heading=name,
        metric=name,
        unit="%" if share else unit,
        higher_is_better=higher,
        digits=digits,
        scale=100.0 if share else 1.0,
    )


def _cell(metric: Metric | None) -> Cell:
    return Cell(value=None) if metric is None else Cell(value=metric.value, interval=metric.interval)


def _mark_columns(cells: list[list[Cell]], columns: Sequence[Column], counts: Sequence[bool]) -> None:
    """Mark the best value of each column."""
    for index, column in enumerate(columns):
        found = [(row, index) for row in range(len(cells)) if counts[row]]
        _mark(cells, found, column)


def _mark_row(cells: list[Cell], columns: Sequence[Column], counts: Sequence[bool]) -> None:
    """Mark the best run under each metric of a row."""
    for metric in dict.fromkeys(column.metric for column in columns):
        own = [index for index, column in enumerate(columns) if column.metric == metric and counts[index]]
        line = [cells]
        _mark(line, [(0, index) for index in own], columns[own[0]] if own else columns[0])


def _mark(cells: list[list[Cell]], places: Sequence[tuple[int, int]], column: Column) -> None:
    """Mark the best of some cells, unless all are the same; what looks equal is equally good."""
    known = {place: cells[place[0]][place[1]].value for place in places}
    shown = {place: round(value * column.scale, column.digits) for place, value in known.items() if value is not None}
    if len(set(shown.values())) < 2:
        return
    best = max(shown.values()) if column.higher_is_better else min(shown.values())
    for (row, index), value in shown.items():
        if value == best:
            cells[row][index] = replace(cells[row][index], best=True)


def _is_marked(rows: Sequence[Row]) -> bool:
    return any(cell.best for row in rows for cell in row.cells)


def _caption(protocol: str, own: Sequence[Source], by: str | None, *, marked: bool) -> str:
    """Data, n and protocol in a few sentences; what makes a run's numbers special is said of that run."""
    first = own[0]
    data, samples = first.metrics["data"], int(first.metrics["samples"])
    split = f", split {data['split']}" if data.get("split") else ", chosen samples"
    kind = " (synthetic scenes)" if data.get("synthetic") else ""
    what = "" if by is None else f" by {by}"
    name = f"{first.label}: " if len(own) == 1 else ""
    sentences = [f"{name}{protocol}{what} on {data['version']}{split}{kind}, n = {samples} samples"]
    if by is None:
        sentences.append(_say_intervals(own))
    if marked:
        sentences.append("Best in bold")
    for one in own:
        if one.metrics["failed_samples"]:
            sentences.append(f"{one.label}: {one.metrics['failed_samples']} of {samples} samples failed")
        if not one.counts:
            sentences.append(f"{one.label} ran with random weights, so its values say nothing about the model")
    return ". ".join(sentence for sentence in sentences if sentence) + "."


def _say_intervals(own: Sequence[Source]) -> str:
    with_intervals = any(metric.interval for one in own for metric in metrics_of(one.metrics))
    return "In brackets: 95 % interval over scenes" if with_intervals else ""


def _nothing(sources: Sequence[Source], by: str | None, style: Style) -> UsageError:
    """Say why there is nothing to show, and what there is."""
    own = [(one["protocol"], one["name"]) for source in sources for one in source.metrics["metrics"]]
    names = ", ".join(source.header.run for source in sources)
    there = "; ".join(
        f"{protocol}: {', '.join(name for other, name in dict.fromkeys(own) if other == protocol)}"
        for protocol in dict.fromkeys(protocol for protocol, _ in own)
    )
    if style.metrics or style.protocols:
        asked = ", ".join((*style.protocols, *style.metrics))
        return UsageError(f"{names}: there is no {asked} to show; there are {there}", hint="leave --metric out")
    if by is not None:
        reasons = [
            table.reason
            for source in sources
            if by != CLASS
            for table in find_tables(source.metrics.get("details", {}), [by])
            if table.reason
        ]
        why = f": {reasons[0]}" if reasons else ""
        return UsageError(f"{names}: nothing is measured by {by}{why}", hint=f"use one of: {', '.join(PARTS)}")
    return UsageError(f"{names}: there is no metric to show", hint="admlops evaluate RUN")
