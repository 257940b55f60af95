"""The summary of the runs: one table for each set of samples, so that no column ever mixes values over unlike samples.

Every value has n and its samples beside it: scores those that were evaluated, times those that were timed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from admlops.catalog.protocols import LATENCY, find_evaluation, find_metric
from admlops.evaluation.latency.summary import Distribution, Latency, samples_needed
from admlops.evaluation.metrics import Metric
from admlops.pipeline.run_data import RunData
from admlops.reports.page import number, quantity

SHOWN_PERCENTILES = (0.5, 0.9, 0.99)
SHORT_DIGEST = 6
THROUGHPUT = "Pictures/s"
NAMED = ("cars", "cars_merged")
"""Evaluations whose columns stand in the table although their names look like those of single classes."""
LATENCY_GROUP, RESOURCES_GROUP = "latency, one sample at a time", "resources and failures"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell: its text, "—" where there is nothing; `value` to sort by; `n` samples behind it; `why` it is empty."""

    text: str = "—"
    value: float | None = None
    n: int | None = None
    why: str = ""
    is_best: bool = False


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: `group` is the heading over its neighbours too. `higher_is_better` is None where nothing is better."""

    group: str
    name: str
    unit: str = ""
    higher_is_better: bool | None = None
    protocol: str = ""

    @property
    def is_number(self) -> bool:
        return self.name not in ("Precision", "Device")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run; `number` is its place among the runs that ran, which decides its colour."""

    label: str
    number: int
    variant: str
    state: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class SummaryTable:
    """The runs on the samples with the digest `dataset`, of which there are `n`."""

    dataset: str
    n: int
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def short_dataset(self) -> str:
        return self.dataset[:SHORT_DIGEST]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one group: (heading, how many)."""
        return [(name, len(list(own))) for name, own in groupby(self.columns, key=lambda column: column.group)]


def samples_of(run: RunData) -> str:
    """The digest of the samples that a run's values are over; empty without a run."""
    if run.metrics is not None:
        return str(run.metrics["data"]["samples_sha256"])
    return "" if run.header is None else run.header.data.samples_sha256


def summarize_runs(ran: Sequence[tuple[str, RunData]]) -> list[SummaryTable]:
    """A table for each set of samples, in order of appearance; `ran` are runs with their labels."""
    found: dict[str, list[tuple[int, str, RunData]]] = {}
    for index, (label, run) in enumerate(ran):
        found.setdefault(samples_of(run), []).append((index, label, run))
    return [_make_table(dataset, own) for dataset, own in found.items()]


def _make_table(dataset: str, runs: Sequence[tuple[int, str, RunData]]) -> SummaryTable:
    scores = find_score_columns([run for _, _, run in runs])
    columns = (*scores, *_other_columns(), *_green_columns([run for _, _, run in runs]), FAILED)
    rows = [
        Row(
            label=label,
            number=index,
            variant="" if run.header is None else run.header.variant,
            state=state_of(run),
            cells=(*_score_cells(run, scores), *_other_cells(run), *_green_cells(run, columns), _failed_cell(run)),
        )
        for index, label, run in runs
    ]
    alike = len({(machine_of(run), run.latency.precision if run.latency else None) for _, _, run in runs}) == 1
    trained = [row.state != "random weights" for row in rows]
    marked = [_mark_best(column, [row.cells[i] for row in rows], trained, alike) for i, column in enumerate(columns)]
    return SummaryTable(
        dataset=dataset,
        n=max((len(run.samples) for _, _, run in runs), default=0),
        columns=columns,
        rows=tuple(
            Row(
                label=row.label,
                number=row.number,
                variant=row.variant,
                state=row.state,
                cells=tuple(column[i] for column in marked),
            )
            for i, row in enumerate(rows)
        ),
    )


def find_score_columns(runs: Sequence[RunData]) -> tuple[Column, ...]:
    """The metrics that any run has, protocol by protocol; those of single classes and moments stay out."""
    seen: dict[tuple[str, str], Column] = {}
    for metric in (metric for run in runs for metric in run.measured):
        if _is_shown(metric):
            spec = find_metric(metric.protocol, metric.name)
            column = Column(
                group=metric.protocol,
                name=metric.name,
                unit=spec.unit if spec else "",
                higher_is_better=metric.higher_is_better,
                protocol=metric.protocol,
            )
            seen.setdefault((metric.protocol, metric.name), column)
    order = list(dict.fromkeys(protocol for protocol, _ in seen))
    return tuple(sorted(seen.values(), key=lambda column: order.index(column.protocol)))


def _is_shown(metric: Metric) -> bool:
    """Tell whether a metric has a column: all but those of single classes and moments."""
    if metric.protocol == LATENCY:
        return False
    entry = find_evaluation(metric.protocol)
    return "_" not in metric.name or metric.name.endswith("_avg") or (entry is not None and entry.id in NAMED)


def _score_cells(run: RunData, columns: Sequence[Column]) -> Iterator[Cell]:
    values = {(metric.protocol, metric.name): metric for metric in run.measured}
    for column in columns:
        metric = values.get((column.protocol, column.name))
        if metric is None:
            yield Cell(why="not measured in this run")
        elif metric.value is None:
            reason = _why_undefined(run, metric)
            yield Cell(text="n/a" if reason else "—", why=reason, n=metric.n)
        else:
            known = metric.value if math.isfinite(metric.value) else None
            yield Cell(text=_with_interval(metric), value=known, n=metric.n)


def _why_undefined(run: RunData, metric: Metric) -> str:
    """Say why a metric does not apply to a run; empty where the evaluation gives no reason."""
    entry = find_evaluation(metric.protocol)
    reasons = run.details.get(entry.id, {}).get("not_applicable", {}) if entry is not None else {}
    return str(reasons.get(metric.name, ""))


def _other_columns() -> tuple[Column, ...]:
    names = [(f"p{100 * percentile:g}", "ms") for percentile in SHOWN_PERCENTILES]
    times = (*names, ("End to end p50", "ms"), ("Frames/s", ""))
    return (
        *(
            Column(group=LATENCY_GROUP, name=name, unit=unit, higher_is_better=name == "Frames/s")
            for name, unit in times
        ),
        Column(group=LATENCY_GROUP, name="Device"),
        Column(group=LATENCY_GROUP, name="Precision"),
        Column(group=RESOURCES_GROUP, name=THROUGHPUT, higher_is_better=True),
        Column(group=RESOURCES_GROUP, name="Batch"),
        Column(group=RESOURCES_GROUP, name="GPU memory", unit="MB", higher_is_better=False),
        Column(group=RESOURCES_GROUP, name="Worker memory", unit="MB", higher_is_better=False),
        Column(group=RESOURCES_GROUP, name="Energy", unit="J/sample", higher_is_better=False),
    )


def _other_cells(run: RunData) -> Iterator[Cell]:
    latency = run.latency
    inference, end_to_end = (latency.inference, latency.end_to_end) if latency else (None, None)
    for percentile in SHOWN_PERCENTILES:
        yield _percentile(inference, percentile)
    yield _percentile(end_to_end, 0.5)
    rate = latency.inference_fps if latency else None
    yield Cell(text=quantity(rate), value=rate, n=inference.n if inference and rate is not None else None)
    yield Cell(text=device_of(run) or "—")
    yield Cell(text=(latency.precision if latency else None) or "—")
    yield from _throughput(latency)
    yield _peak([meta.gpu_memory_used for meta in run.samples])
    yield _peak([reading.worker_memory_mb for reading in run.telemetry])
    yield _energy_cell(run)


def _energy_cell(run: RunData) -> Cell:
    """The energy of a sample, with how it was measured; of a run that was not evaluated since, by its power alone."""
    measured = (run.metrics or {}).get("energy")
    if measured is not None:
        value = measured["j_per_sample"]
        if value is None:
            return Cell(why=str(measured["reason"]))
        why = "; ".join(part for part in (measured["method"], measured["basis"], measured["reason"]) if part)
        return Cell(text=quantity(value), value=value, n=measured["samples"], why=why)
    energy, done = run.energy_j, len(run.samples) - len(run.failed)
    per_sample = None if energy is None or not done else energy / done
    return Cell(text=number(per_sample, digits=1), value=per_sample, n=done if per_sample is not None else None)


GREEN = {
    "CO2e": ("g/1000 samples", False),
    "Right cars": ("1/kJ", True),
    "Green score": ("", True),
}
"""Columns that are there where any run has a value: unit, and whether more is better."""
FAILED = Column(group=RESOURCES_GROUP, name="Failed", higher_is_better=False)


def _green_values(run: RunData) -> dict[str, float | None]:
    energy = (run.metrics or {}).get("energy") or {}
    carbon = energy.get("carbon") or {}
    return {
        "CO2e": carbon.get("g_per_1000_samples"),
        "Right cars": energy.get("correct_cars_per_kj"),
        "Green score": energy.get("seed_green_score"),
    }


def _green_columns(runs: Sequence[RunData]) -> list[Column]:
    return [
        Column(group=RESOURCES_GROUP, name=name, unit=unit, higher_is_better=better)
        for name, (unit, better) in GREEN.items()
        if any(_green_values(run)[name] is not None for run in runs)
    ]


def _green_cells(run: RunData, columns: Sequence[Column]) -> Iterator[Cell]:
    energy = (run.metrics or {}).get("energy") or {}
    carbon, values = energy.get("carbon") or {}, _green_values(run)
    place = f"{carbon['place']} {carbon['year'] or ''}, {carbon['source']}, PUE {carbon['pue']:g}" if carbon else ""
    for column in columns:
        if column.name in GREEN and column.group == RESOURCES_GROUP:
            value = values[column.name]
            why = place if value is not None else str((energy.get("not_applicable") or {}).get("carbon", ""))
            yield Cell(text=quantity(value), value=value, why=why)


def _failed_cell(run: RunData) -> Cell:
    return Cell(text=f"{len(run.failed)} of {len(run.samples)}", value=len(run.failed), n=len(run.samples))


def _throughput(latency: Latency | None) -> Iterator[Cell]:
    """The rate, and how many samples were done at once."""
    stated = latency.throughput if latency else None
    rate = stated.pictures_per_s if stated else None
    yield Cell(text=quantity(rate), value=rate)
    yield Cell(text=str(stated.batch) if stated else "—")


def _peak(values: Sequence[float | None]) -> Cell:
    known = [value for value in values if value is not None]
    peak = max(known, default=None)
    return Cell(text=number(peak, digits=0), value=peak)


def _percentile(times: Distribution | None, percentile: float) -> Cell:
    if times is None:
        return Cell()
    found = next((entry for entry in times.percentiles if entry.percentile == percentile), None)
    if found is None:
        return Cell(why=f"needs {samples_needed(percentile)} samples, has {times.n}")
    return Cell(text=quantity(1e3 * found.value_s), value=1e3 * found.value_s, n=times.n)


def _mark_best(column: Column, cells: Sequence[Cell], trained: Sequence[bool], alike: bool) -> list[Cell]:
    """Mark the best of a column where more than one run can be: random weights cannot, nor times of unlike devices."""
    values = [cell.value for cell, known in zip(cells, trained, strict=True) if known and cell.value is not None]
    is_time = column.group == LATENCY_GROUP or column.name == THROUGHPUT
    if column.higher_is_better is None or column.name == "Failed" or len(set(values)) < 2 or (is_time and not alike):
        return list(cells)
    best = max(values) if column.higher_is_better else min(values)
    return [
        Cell(text=cell.text, value=cell.value, n=cell.n, why=cell.why, is_best=known and cell.value == best)
        for cell, known in zip(cells, trained, strict=True)
    ]


def device_of(run: RunData) -> str:
    """What the network ran on, as its worker or the run's settings name it; empty where nobody does."""
    named = run.worker.get("device_name")
    settings: Mapping[str, object] = {} if run.header is None else run.header.settings
    return str(named or settings.get("device") or "")


def machine_of(run: RunData) -> str:
    """What times depend on: the device, and for a processor the machine that it is in."""
    device = device_of(run)
    if run.header is None or run.header.provenance.gpus:
        return device
    return ", ".join(part for part in (device, run.header.provenance.host) if part)


def _with_interval(metric: Metric) -> str:
    """A value, and its 95 % interval over scenes where there is one."""
    if metric.value is None or metric.interval is None:
        return number(metric.value)
    return f"{number(metric.value)} ({number(metric.interval[0])} to {number(metric.interval[1])})"


def state_of(run: RunData) -> str:
    """What became of a run, in a word or two."""
    if run.status != "complete":
        return run.status
    if run.failed:
        return "failed samples"
    return "random weights" if run.header is not None and run.header.random_weights else "complete"
