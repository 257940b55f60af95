"""Every figure of some runs as SVG and PDF files; the same runs give the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matplotlib.figure import Figure

from admlops.core.storage import write_atomically
from admlops.pipeline.run_data import RunData
from admlops.reports.part_values import PARTS, find_parts
from admlops.reports.plots import plot_latency, plot_parts, plot_precision_recall, plot_scores

FORMATS = ("svg", "pdf")
_METADATA = MappingProxyType(
    {
        "svg": {"Date": None, "Creator": "admlops"},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": "admlops"},
    }
)
"""No time and no version: a figure changes where its numbers do."""


def write_figures(folder: Path, runs: Sequence[RunData]) -> list[Path]:
    """Write every figure that the runs have the numbers for, and return the files.

    Raises:
        StorageError: the folder cannot be written.
    """
    written = []
    for name, figure in draw_all(runs):
        for form in FORMATS:
            path = folder / f"{name}.{form}"
            write_atomically(path, encode(figure, form))
            written.append(path)
    return written


def draw_all(runs: Sequence[RunData]) -> Iterator[tuple[str, Figure]]:
    """Yield the name of each figure's file, without its ending, and the figure."""
    protocols = list(dict.fromkeys(metric.protocol for run in runs for metric in run.measured))
    for protocol in protocols:
        yield from _named(f"scores-{_slug(protocol)}", plot_scores(runs, protocol))
    for by in PARTS:
        own = dict.fromkeys(name for run in runs if run.metrics for name, _, _ in find_parts(run.metrics, by))
        for protocol in own:
            yield from _named(f"{by}-{_slug(protocol)}", plot_parts(runs, by, protocol))
    for task in dict.fromkeys(task for run in runs for task, own in run.details.items() if own.get("curves")):
        yield from _named(f"precision-recall-{_slug(task)}", plot_precision_recall(runs, task))
    yield from _named("latency", plot_latency(runs))


def encode(figure: Figure, form: str) -> bytes:
    """The bytes of a figure's file: `svg` or `pdf`."""
    buffer = io.BytesIO()
    metadata: Any = _METADATA[form]
    figure.savefig(buffer, format=form, metadata=metadata)
    return buffer.getvalue()


def _named(name: str, figure: Figure | None) -> Iterator[tuple[str, Figure]]:
    if figure is not None:
        yield name, figure


def _slug(protocol: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", protocol).strip("-")
