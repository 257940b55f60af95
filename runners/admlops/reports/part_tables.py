"""The section on parts of the data: the runs' values by distance, visibility, light, weather and scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from admlops.evaluation.slice_tables import KINDS, SliceTable, find_tables
from admlops.pipeline.run_data import RunData
from admlops.reports.page import number

HEADLINES = ("recall", "mAP", "NDS", "OLS", "L2_3s", "collision_3s", "minADE_car", "EPA_car", "count_score_car")
"""What stands in a comparison, where every metric of every run would not fit."""

COUNTS = ("boxes", "samples")
SCENE = "scene"


@dataclass(frozen=True, kw_only=True)
class PartRow:
    """A part: its kind, how many boxes or samples it has, and a cell for each run under each metric."""

    kind: str
    name: str
    count: str
    cells: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PartRows:
    """Rows under the metrics that any of them has; `folded` where there are as many as scenes."""

    folded: bool
    metrics: tuple[str, ...]
    rows: tuple[PartRow, ...]


@dataclass(frozen=True, kw_only=True)
class PartsGroup:
    """One protocol on one set of samples, for the runs with these labels; `counted` is what a part is counted in."""

    protocol: str
    dataset: str
    labels: tuple[str, ...]
    counted: str
    tables: tuple[PartRows, ...]


def group_parts(labels: Sequence[str], runs: Sequence[RunData]) -> list[PartsGroup]:
    """A group for each protocol and set of samples: nothing else stands side by side. `labels` are the runs'."""
    found: dict[tuple[str, str], dict[str, list[SliceTable]]] = {}
    for label, run in zip(labels, runs, strict=True):
        for table in find_tables(run.details, KINDS):
            if table.rows and run.metrics is not None:
                key = (table.protocol, str(run.metrics["data"]["samples_sha256"]))
                found.setdefault(key, {}).setdefault(label, []).append(table)
    return [_group(protocol, dataset, own) for (protocol, dataset), own in found.items()]


def _group(protocol: str, dataset: str, runs: Mapping[str, Sequence[SliceTable]]) -> PartsGroup:
    columns = {column for tables in runs.values() for table in tables for column in table.columns}
    counted = next(name for name in COUNTS if name in columns)
    halves = ([kind for kind in KINDS if kind != SCENE], [SCENE])
    tables = [_table([_only(own, kinds) for own in runs.values()], counted, folded=SCENE in kinds) for kinds in halves]
    return PartsGroup(
        protocol=protocol,
        dataset=dataset,
        labels=tuple(runs),
        counted=counted,
        tables=tuple(table for table in tables if table.rows),
    )


def _only(tables: Sequence[SliceTable], kinds: Sequence[str]) -> list[SliceTable]:
    return [table for table in tables if table.kind in kinds]


def _table(runs: Sequence[Sequence[SliceTable]], counted: str, *, folded: bool) -> PartRows:
    """The first run's parts that have anything in them; the others have the same, as their samples are the same."""
    columns = dict.fromkeys(column for table in runs[0] for column in table.columns)
    shown = [name for name in columns if name not in COUNTS and (len(runs) == 1 or name in HEADLINES)]
    metrics = tuple(sorted(shown, key=lambda name: name != "recall"))
    values = [
        {(table.kind, name): dict(zip(table.columns, row, strict=True)) for table in tables for name, row in table.rows}
        for tables in runs
    ]
    rows = [
        PartRow(
            kind="" if folded else kind,
            name=name,
            count=number(count, digits=0),
            cells=tuple(number(run.get((kind, name), {}).get(metric)) for metric in metrics for run in values),
        )
        for (kind, name), own in values[0].items()
        if (count := own[counted])
    ]
    return PartRows(folded=folded, metrics=metrics, rows=tuple(rows))
