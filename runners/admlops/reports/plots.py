"""Figures for papers and notebooks: each takes runs and returns a matplotlib `Figure`, or None with nothing to show.

One figure holds one protocol over one set of samples, and says which. A model looks the same in every figure
(`model_style`). Nothing here needs a display.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from admlops.catalog.protocols import headlines_of
from admlops.catalog.registries import EVALUATIONS
from admlops.evaluation.metrics import Metric
from admlops.pipeline.run_data import RunData
from admlops.reports.figures import BAR_SHARE, BARS_TOGETHER, bar_style
from admlops.reports.model_style import ModelStyle, styles_of
from admlops.reports.part_values import find_parts
from admlops.reports.tables import label_headers

COLUMN_INCHES, PAGE_INCHES = 3.5, 7.2
"""Widths of one column and of the page in two-column proceedings."""
SCREEN_DPI = 130
MAX_PARTS = 24
"""More bars, such as one a scene of a large split, cannot be told apart."""

STYLE: Any = {
    "font.size": 8,
    "font.sans-serif": ["DejaVu Sans"],
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 8,
    "axes.formatter.useoffset": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "admlops",
}
"""Small print for a column of text. Text is embedded in PDF and drawn in SVG, so no reader's fonts matter."""


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw in the style of these figures while the block runs."""
    with mpl.rc_context(STYLE):
        yield


class PaperFigure(Figure):
    """A matplotlib figure that is saved in this style, and that a notebook shows without pyplot."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save it, as matplotlib does: with text embedded in PDF and drawn in SVG."""
        with paper_style():
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=SCREEN_DPI)
        return buffer.getvalue()


def plot_scores(runs: Sequence[RunData], protocol: str | None = None) -> Figure | None:
    """The metrics that stand for a protocol, a bar a run with its 95 % interval.

    Args:
        protocol: by default the first one that any run has.
    """
    found = _comparable(runs, protocol)
    if found is None:
        return None
    protocol, own = found
    names = [name for name in headlines_of(protocol) if any(name in values for _, values in own)]
    if not names:
        return None
    with paper_style():
        figure = _new_figure(COLUMN_INCHES, 1.9 + 0.12 * len(own))
        plot = figure.add_subplot()
        width = BARS_TOGETHER / len(own)
        for index, ((run, values), style) in enumerate(zip(own, _styles(own), strict=True)):
            at = [place - BARS_TOGETHER / 2 + (index + 0.5) * width for place in range(len(names))]
            metrics = [values.get(name) for name in names]
            heights = [np.nan if one is None or one.value is None else one.value for one in metrics]
            looks = bar_style(style.colour, style.hatch)
            bars = plot.bar(at, heights, width=BAR_SHARE * width, label=_label(run, runs), **looks)
            plot.bar_label(bars, fmt="%.3f", padding=1, fontsize=6)
            _draw_intervals(plot, at, metrics)
        plot.set_xticks(range(len(names)), [headlines_of(protocol)[name] for name in names])
        plot.set_xlim(-1, len(names))
        plot.margins(y=0.12)
        plot.grid(visible=False, axis="x")
        _say_what(figure, plot, protocol, own[0][1])
    return figure


def plot_parts(runs: Sequence[RunData], by: str, protocol: str | None = None) -> Figure | None:
    """A protocol's main metric by class, scene, distance, visibility, light or weather, side by side.

    Args:
        by: one of `tables.PARTS`.
        protocol: by default the first one with such parts.
    """
    found = _parts(runs, by, protocol)
    if found is None:
        return None
    name, metric, own = found
    parts = list(dict.fromkeys(part for _, values in own for part in values))[:MAX_PARTS]
    with paper_style():
        wide = len(parts) * len(own) > 12
        figure = _new_figure(PAGE_INCHES if wide else COLUMN_INCHES, 2.2)
        plot = figure.add_subplot()
        width = BARS_TOGETHER / len(own)
        for index, ((run, values), style) in enumerate(zip(own, _styles(own), strict=True)):
            at = [place - BARS_TOGETHER / 2 + (index + 0.5) * width for place in range(len(parts))]
            heights = [np.nan if (value := values.get(part)) is None else value for part in parts]
            looks = bar_style(style.colour, style.hatch)
            plot.bar(at, heights, width=BAR_SHARE * width, label=_label(run, runs), **looks)
        plot.set_xticks(range(len(parts)), [part.replace("_", " ") for part in parts])
        if max(map(len, parts)) > 9 or len(parts) > 6:
            plot.tick_params(axis="x", rotation=40)
            for tick in plot.get_xticklabels():
                tick.set_horizontalalignment("right")
        plot.set_ylabel(metric)
        plot.grid(visible=False, axis="x")
        _say_what(figure, plot, name, None, samples=_samples(own[0][0]), by=by)
    return figure


def plot_precision_recall(
    runs: Sequence[RunData], task: str = "detection", threshold: float | None = None
) -> Figure | None:
    """Precision over recall, a small chart a class; runs over other samples than the first one's stay out.

    Args:
        task: an evaluation's id, such as `detection` or `map`.
        threshold: of the distance [m] up to which an output is right; by default the middle one that is there.
    """
    with_curves = [run for run in runs if run.details.get(task, {}).get("curves")]
    own = [run for run in with_curves if _dataset(run) == _dataset(with_curves[0])]
    if not own:
        return None
    curves = {id(run): _curves(run, task, threshold) for run in own}
    classes = list(dict.fromkeys(name for found in curves.values() for name in found))
    if not classes:
        return None
    columns = min(4, len(classes))
    lines = -(-len(classes) // columns)
    with paper_style():
        figure = _new_figure(PAGE_INCHES, 1.5 * lines + 0.4)
        styles = styles_of([run.model for run in own])
        for number, name in enumerate(classes, start=1):
            plot = figure.add_subplot(lines, columns, number)
            for run, style in zip(own, styles, strict=True):
                if name in curves[id(run)]:
                    recall, precision = curves[id(run)][name]
                    label = _label(run, runs) if number == 1 else None
                    plot.plot(recall, precision, color=style.colour, linestyle=style.dashes, label=label)
            plot.set(xlim=(0, 1.02), ylim=(0, 1.04), title=name.replace("_", " "))
            plot.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            plot.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        figure.supxlabel("recall", fontsize=8)
        figure.supylabel("precision", fontsize=8)
        figure.suptitle(f"{_protocol_of(task)}, n = {_samples(own[0])}", fontsize=7, x=0.01, ha="left")
        figure.legend(loc="outside upper right", ncols=min(4, len(own)))
    return figure


def plot_latency(runs: Sequence[RunData]) -> Figure | None:
    """The share of samples that took at most so long; first frames of scenes are left out.

    The legend says device and precision, for times compare only within one of each.
    """
    timed = [(run, _times_ms(run)) for run in runs]
    own = [(run, times) for run, times in timed if len(times)]
    if not own:
        return None
    with paper_style():
        figure = _new_figure(COLUMN_INCHES, 2.3)
        plot = figure.add_subplot()
        for (run, times), style in zip(own, _styles(own), strict=True):
            curve: Mapping[str, Any] = {"color": style.colour, "linestyle": style.dashes}
            plot.ecdf(times, label=f"{_label(run, runs)}, {_machine(run)}, n = {len(times)}", **curve)
        plot.set(xlabel="inference time [ms]", ylabel="share of samples", ylim=(0, 1.02))
        plot.set_xlim(left=0)
        figure.legend(loc="outside upper left", ncols=1)
    return figure


def _protocol_of(task: str) -> str:
    """The protocol of an evaluation, by its key in `details` of metrics.json."""
    return next((one.protocol for one in EVALUATIONS.values() if one.id == task), task)


def _new_figure(width: float, height: float) -> Figure:
    return PaperFigure(figsize=(width, height), layout="constrained")


def _label(run: RunData, runs: Sequence[RunData]) -> str:
    """The run's label among all runs of the call, so that it is the same in every figure."""
    headers = [one.header for one in runs if one.header is not None]
    labels = dict(zip((header.run for header in headers), label_headers(headers), strict=True))
    return labels.get(run.name, run.model)


def _styles(own: Sequence[tuple[RunData, Any]]) -> list[ModelStyle]:
    return styles_of([run.model for run, _ in own])


def _dataset(run: RunData) -> str:
    return "" if run.metrics is None else str(run.metrics["data"]["samples_sha256"])


def _samples(run: RunData) -> int:
    return len(run.samples) if run.metrics is None else int(run.metrics["samples"])


def _counts(run: RunData) -> bool:
    """Tell whether its scores say how good the model is."""
    return run.header is None or run.header.random_weights is None


def _comparable(
    runs: Sequence[RunData], protocol: str | None
) -> tuple[str, list[tuple[RunData, dict[str, Metric]]]] | None:
    """The protocol, and the runs that have it over the samples of the first one that does."""
    with_metrics = [(run, run.measured) for run in runs if run.measured and _counts(run)]
    known = [one.protocol for _, metrics in with_metrics for one in metrics if headlines_of(one.protocol)]
    chosen = protocol or next(iter(known), None)
    having = [
        (run, {one.name: one for one in metrics if one.protocol == chosen})
        for run, metrics in with_metrics
        if any(one.protocol == chosen for one in metrics)
    ]
    if chosen is None or not having:
        return None
    return chosen, [(run, values) for run, values in having if _dataset(run) == _dataset(having[0][0])]


def _parts(
    runs: Sequence[RunData], by: str, protocol: str | None
) -> tuple[str, str, list[tuple[RunData, dict[str, float | None]]]] | None:
    """The protocol, its main metric, and by run the values of the parts."""
    own: list[tuple[RunData, dict[str, float | None]]] = []
    metric = ""
    for run in runs:
        if run.metrics is None or not _counts(run):
            continue
        for name, _, parts in find_parts(run.metrics, by):
            if name != (protocol or name):
                continue
            protocol = name
            if not own:
                metric = _main_metric(name, [one for _, values in parts.values() for one in values])
            if not own or _dataset(run) == _dataset(own[0][0]):
                own.append((run, {part: values.get(metric) for part, (count, values) in parts.items() if count != 0}))
            break
    return (protocol, metric, own) if protocol and own and any(own[0][1]) else None


def _main_metric(protocol: str, names: Sequence[str]) -> str:
    return next((name for name in headlines_of(protocol) if name in names), names[0] if names else "")


def _curves(run: RunData, task: str, threshold: float | None) -> dict[str, tuple[list[float], list[float]]]:
    """Class → (recall, precision) at the threshold."""
    found = {}
    for name, by_threshold in run.details[task]["curves"].items():
        at = sorted(by_threshold, key=float)
        wanted = at[len(at) // 2] if threshold is None else next((one for one in at if float(one) == threshold), None)
        if wanted is not None and by_threshold[wanted]["recall"]:
            found[name] = (by_threshold[wanted]["recall"], by_threshold[wanted]["precision"])
    return found


def _times_ms(run: RunData) -> list[float]:
    """The times of the model call [ms]; none of a run whose workers shared their device."""
    if run.header is not None and run.header.shared is not None:
        return []
    return [1e3 * one.inference_time for one in run.samples if one.inference_time is not None and one.index_in_scene]


def _machine(run: RunData) -> str:
    header = run.header
    device = "" if header is None else header.device.name if header.device else header.gpu or header.device_kind.upper()
    precision = "" if run.latency is None else run.latency.precision or ""
    return ", ".join(part for part in (device, precision) if part)


def _draw_intervals(plot: Axes, at: Sequence[float], metrics: Sequence[Metric | None]) -> None:
    for place, metric in zip(at, metrics, strict=True):
        if metric is not None and metric.interval is not None and metric.value is not None:
            low, high = metric.interval
            ends = [[max(0.0, metric.value - low)], [max(0.0, high - metric.value)]]
            plot.errorbar([place], [metric.value], yerr=ends, color="#222222", linewidth=0.9, capsize=2)


def _say_what(
    figure: Figure,
    plot: Axes,
    protocol: str,
    values: Mapping[str, Metric] | None,
    *,
    samples: int | None = None,
    by: str | None = None,
) -> None:
    """Write protocol and n above the chart, and who is who beside it."""
    count = samples if values is None else max(metric.n for metric in values.values())
    plot.set_title(f"{protocol}\n{'' if by is None else f'by {by}, '}n = {count}", loc="left", fontsize=7)
    figure.legend(loc="outside lower center", ncols=2)
