"""Runs side by side, to look at: the page, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypedDict, Unpack, overload

from admlops.api.runs import AnyRun, Run, as_run
from admlops.core.errors import AdmlopsError, UsageError
from admlops.pipeline.run_data import RunData
from admlops.results.data_set import open_run_data

Runs: TypeAlias = AnyRun | Sequence[AnyRun]
"""One run or several, each as a `Run`, by name, or by the path of its folder."""

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from admlops.reports.tables import Table


def report(runs: Runs, out: str | Path, *, data: str | Path | None = None) -> Path:
    """Write one self-contained page about runs, and return its path.

    Raises:
        StorageError: it cannot be written.
    """
    from admlops.reports import write_report

    own = _list(runs)
    header = own[0].header
    try:
        opened = open_run_data(header.data, None if data is None else Path(data))
    except AdmlopsError:
        if data is not None:
            raise
        opened = None  # the page says that pictures are missing
    return write_report(Path(out), [one.data() for one in own], None, data=opened)


class TableStyle(TypedDict, total=False):
    """What a table shows, and how: chosen metrics and protocols, digits, percent for scores."""

    metrics: tuple[str, ...]
    protocols: tuple[str, ...]
    digits: int | None
    percent: bool


@overload
def make_tables(
    runs: Runs, *, by: str | None = None, format: None = None, **style: Unpack[TableStyle]
) -> list[Table]: ...
@overload
def make_tables(runs: Runs, *, by: str | None = None, format: str, **style: Unpack[TableStyle]) -> str: ...
def make_tables(
    runs: Runs,
    *,
    by: str | None = None,
    format: str | None = None,  # noqa: A002
    **style: Unpack[TableStyle],
) -> list[Table] | str:
    """Metrics as tables for a paper: one for each protocol and set of samples.

    Args:
        by: `class`, `scene`, `distance`, `visibility`, `light` or `weather`: a row for each instead of each run.
        format: `md`, `latex`, `csv` or `json` gives text; None gives `reports.tables.Table` values.
        style: `metrics`, `protocols`, `digits`, `percent`.

    Raises:
        UsageError: there is nothing to show, or no such format.
        RecordError: a run is not evaluated.
    """
    from admlops.reports.table_text import FORMATS
    from admlops.reports.tables import Style, read_sources
    from admlops.reports.tables import make_tables as make

    if format is not None and format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", hint=f"use one of: {', '.join(FORMATS)}")
    tables: list[Table] = make(read_sources([one.folder for one in _list(runs)]), by=by, style=Style(**style))
    return tables if format is None else FORMATS[format](tables)


def plot_scores(runs: Runs, protocol: str | None = None) -> Figure | None:
    """Plot a protocol's headline metrics, one bar per run with its 95 % interval; None if there are none."""
    from admlops.reports import plots

    return plots.plot_scores(_data(runs), protocol)


def plot_parts(runs: Runs, by: str, protocol: str | None = None) -> Figure | None:
    """A protocol's main metric by class, scene, distance, visibility, light or weather; None where there is none."""
    from admlops.reports import plots
    from admlops.reports.part_values import PARTS

    if by not in PARTS:
        raise UsageError(f"nothing is measured by {by!r}", hint=f"use one of: {', '.join(PARTS)}")
    return plots.plot_parts(_data(runs), by, protocol)


def plot_precision_recall(runs: Runs, task: str = "detection", threshold: float | None = None) -> Figure | None:
    """Plot precision over recall, one small chart per class; `threshold` is the distance [m]. None without curves."""
    from admlops.reports import plots

    return plots.plot_precision_recall(_data(runs), task, threshold)


def plot_latency(runs: Runs) -> Figure | None:
    """Plot the share of samples that took at most a given time; None if no sample was timed."""
    from admlops.reports import plots

    return plots.plot_latency(_data(runs))


def _list(runs: Runs) -> list[Run]:
    """Return the runs; a single one may be given without a list."""
    return [as_run(runs)] if isinstance(runs, Run | str | Path) else [as_run(one) for one in runs]


def _data(runs: Runs) -> list[RunData]:
    return [one.data() for one in _list(runs)]
