"""The report's charts. Each takes plain values and returns an `<svg>` element, or None where there is nothing to show.

Times come in seconds and are shown in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter
from numpy.typing import NDArray

from admlops.evaluation.statistics.ranking import Axis
from admlops.pipeline.run_data import Reading
from admlops.reports.figures import (
    BAR_SHARE,
    BARS_TOGETHER,
    GRID,
    INK,
    MUTED,
    SURFACE,
    bar_style,
    new_figure,
    page_style,
    series_colour,
    series_dashes,
    to_page_svg,
)
from admlops.reports.speed_score import SpeedScore
from admlops.results.record import Metadata

CHART, WIDE, SMALL = (350, 250), (760, 250), (220, 200)
MAX_BINS = 40
LOGARITHMIC_FROM = 10
"""The ratio of times from which on an axis is logarithmic."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
"""Runs differ by mark as well as by colour."""
MAX_NAMED_SCENES = 12
MAX_NAME_OF_TWO = 16
"""Longer names do not fit side by side under a chart."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One run in a chart: its label and its number among the runs, which decides colour and line style."""

    label: str
    index: int


def draw_radar(axes: Sequence[Axis], runs: Sequence[Series], *, name: str) -> str | None:
    """Scores of two or more models on three or more common axes, 0 in the middle, 1 at the rim."""
    labels = [run.label for run in runs]
    shared = [axis for axis in axes if set(axis.values) >= set(labels)]
    if len(shared) < 3 or len(labels) < 2:
        return None
    angles = np.linspace(0, 2 * np.pi, len(shared), endpoint=False)
    with page_style():
        figure = new_figure(350, 350)
        plot = figure.add_subplot(projection="polar")
        plot.set_theta_offset(np.pi / 2)  # type: ignore[attr-defined]
        plot.set_theta_direction(-1)  # type: ignore[attr-defined]
        for run in runs:
            index, label = run.index, run.label
            values = [axis.values[label] for axis in shared]
            style: dict[str, Any] = {"color": series_colour(index), "linestyle": series_dashes(index), "label": label}
            plot.plot([*angles, angles[0]], [*values, values[0]], **style)
            plot.fill([*angles, angles[0]], [*values, values[0]], color=series_colour(index), alpha=0.08)
        plot.set_xticks(angles, [_axis_label(axis) for axis in shared])
        plot.tick_params(axis="x", pad=7)
        for text, angle in zip(plot.get_xticklabels(), angles, strict=True):  # so that no name lies over the rim
            text.set_horizontalalignment(_side(float(np.sin(angle))))
        plot.set_ylim(0, 1)
        plot.set_yticks([0.25, 0.5, 0.75, 1.0], ["", "0.5", "", "1"])
        plot.spines["polar"].set_color(GRID)
        figure.legend(loc="outside lower center", ncols=2 if max(map(len, labels)) <= MAX_NAME_OF_TWO else 1)
        words = "; ".join(f"{x.name}: " + ", ".join(f"{k} {x.values[k]:.2f}" for k in labels) for x in shared)
        return to_page_svg(figure, name=name, label=f"Radar chart. {words}")


def draw_scores(axes: Sequence[Axis], run: Series, *, name: str) -> str | None:
    """One model's scores as bars: what stands where a radar chart would need more models or more axes."""
    own = [axis for axis in axes if run.label in axis.values]
    if not own:
        return None
    values = [axis.values[run.label] for axis in own]
    with page_style():
        figure = new_figure(350, 60 + 26 * len(own))
        plot = figure.add_subplot()
        looks = bar_style(series_colour(run.index), edge=SURFACE)
        plot.barh(range(len(own)), values, height=BARS_TOGETHER * BAR_SHARE, **looks)
        for row, value in enumerate(values):
            plot.text(min(value, 0.86) + 0.02, row, f"{value:.3f}", va="center")
        plot.set_yticks(range(len(own)), [_axis_label(axis) for axis in own])
        plot.invert_yaxis()
        plot.set_xlim(0, 1)
        plot.grid(visible=False, axis="y")
        words = ", ".join(f"{axis.name} {value:.3f}" for axis, value in zip(own, values, strict=True))
        return to_page_svg(figure, name=name, label=f"Scores of {run.label}: {words}")


def draw_speed_score(chart: SpeedScore, *, name: str) -> str:
    """Scores over costs, a mark a run; costs that differ by more than an order stand on a logarithmic axis."""
    times = [point.cost for point in chart.points]
    is_wide = max(times) > LOGARITHMIC_FROM * min(times)
    with page_style():
        figure = new_figure(420, 320)
        plot = figure.add_subplot()
        for point in chart.points:
            marker = MARKERS[point.index % len(MARKERS)]
            style: dict[str, Any] = {"color": series_colour(point.index), "marker": marker, "markersize": 9}
            plot.plot([point.cost], [point.score], linestyle="", label=point.label, **style)
        front = [point for label in chart.front for point in chart.points if point.label == label]
        plot.plot([p.cost for p in front], [p.score for p in front], color="#7a838e", linewidth=1, zorder=0)
        if is_wide:
            plot.set_xscale("log")
            plot.xaxis.set_major_formatter(ScalarFormatter())
            plot.xaxis.set_minor_formatter(NullFormatter())
        else:
            plot.set_xlim(0, 1.12 * max(times))
        low, high = min(p.score for p in chart.points), max(p.score for p in chart.points)
        room = 0.15 * (high - low) or 0.1 * abs(high) or 0.1
        plot.set_ylim(max(0.0, low - room) if low >= 0 else low - room, high + room)
        better = "higher" if chart.higher_is_better else "lower"
        plot.set(
            xlabel=f"{chart.cost} [{chart.cost_unit}], lower is better", ylabel=f"{chart.metric}, {better} is better"
        )
        longest = max(len(point.label) for point in chart.points)
        figure.legend(loc="outside lower center", ncols=2 if longest <= MAX_NAME_OF_TWO else 1)
        words = "; ".join(f"{p.label} {p.score:.3f} at {p.cost:.1f} {chart.cost_unit}" for p in chart.points)
        return to_page_svg(figure, name=name, label=f"{chart.title}. {words}")


def draw_latency_histogram(times_s: Mapping[str, Sequence[float]], *, name: str) -> str | None:
    """Draw how often each inference time occurred, first frames of scenes left out; one outline a run.

    The page names the runs beside the chart: their names are too long to lie within it.
    """
    known = {label: 1e3 * np.asarray(times) for label, times in times_s.items() if len(times)}
    if not known:
        return None
    edges = _bins(list(known.values()))
    with page_style():
        figure = new_figure(*CHART)
        plot = figure.add_subplot()
        for index, label in enumerate(times_s):
            if label in known:
                counts, _ = np.histogram(known[label], edges)
                colour = series_colour(index)
                plot.stairs(counts, edges, color=colour, fill=True, alpha=0.25)
                plot.stairs(counts, edges, color=colour, linestyle=series_dashes(index), linewidth=1.6)
        plot.set(xlabel="inference time [ms]", ylabel="samples")
        plot.yaxis.set_major_locator(MaxNLocator(integer=True))
        medians = ", ".join(f"{label} median {np.median(times):.1f} ms" for label, times in known.items())
        return to_page_svg(figure, name=name, label=f"Histogram of inference times: {medians}")


def draw_latency_ecdf(times_s: Mapping[str, Sequence[float]], *, name: str) -> str | None:
    """The share of samples that took at most so long; one curve a run."""
    known = {label: np.sort(1e3 * np.asarray(times)) for label, times in times_s.items() if len(times)}
    if not known:
        return None
    with page_style():
        figure = new_figure(*CHART)
        plot = figure.add_subplot()
        for index, label in enumerate(times_s):
            if label in known:
                style: dict[str, Any] = {"color": series_colour(index), "linestyle": series_dashes(index)}
                plot.ecdf(known[label], **style)
        plot.set(xlabel="inference time [ms]", ylabel="share of samples", ylim=(0, 1.02))
        return to_page_svg(figure, name=name, label="Share of samples that took at most a given inference time")


def draw_timeline(samples: Sequence[Metadata], *, name: str, series: Series) -> str | None:
    """Inference time over the run's samples, with scene borders; first frames are diamonds, failures crosses."""
    timed = [(i, 1e3 * s.inference_time, s.index_in_scene == 0) for i, s in enumerate(samples) if s.inference_time]
    if not timed:
        return None
    at, times_ms, first = (np.asarray(column) for column in zip(*timed, strict=True))
    with page_style():
        figure = new_figure(*WIDE)
        plot = figure.add_subplot()
        colour = series_colour(series.index)
        _draw_scene_borders(plot, samples)
        plot.plot(at, times_ms, color=colour, linewidth=1, marker="o" if len(at) < 200 else "", markersize=2.6)
        marker: dict[str, Any] = {
            "marker": "D",
            "markersize": 6,
            "markerfacecolor": SURFACE,
            "markeredgecolor": INK,
            "linestyle": "",
        }
        plot.plot(at[first.astype(bool)], times_ms[first.astype(bool)], label="first frame of a scene", **marker)
        failed = [i for i, sample in enumerate(samples) if sample.status == "failed"]
        if failed:
            plot.plot(failed, np.zeros(len(failed)), "x", color=INK, label="failed", clip_on=False)
        plot.set(xlabel="sample", ylabel="inference time [ms]", xlim=(-0.5, len(samples) - 0.5))
        plot.set_ylim(0, 1.12 * float(times_ms.max()))
        plot.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside upper left", ncols=2)
        label = f"Inference time over {len(samples)} samples of {series.label}, up to {times_ms.max():.1f} ms"
        return to_page_svg(figure, name=name, label=label)


def draw_telemetry(readings: Sequence[Reading], kind: str, *, name: str) -> str | None:
    """Curves over the run: `kind` is `memory` [GB], `utilisation` [%] or `power` [W]."""
    curves = {
        "memory": (("worker", "worker_memory_mb"), ("GPUs", "gpu_memory_mb")),
        "utilisation": (("CPU", "cpu_percent"), ("GPUs", "gpu_percent")),
        "power": (("GPUs", "power_w"),),
    }[kind]
    unit, scale = {"memory": ("GB", 1e-3), "utilisation": ("%", 1.0), "power": ("W", 1.0)}[kind]
    known = [
        (label, [(r.t, scale * value) for r in readings if (value := getattr(r, key)) is not None])
        for label, key in curves
    ]
    if not any(len(values) > 1 for _, values in known):
        return None
    with page_style():
        figure = new_figure(*CHART)
        plot = figure.add_subplot()
        for index, (label, values) in enumerate(known):
            if len(values) > 1:
                t, y = zip(*values, strict=True)
                plot.plot(t, y, color=series_colour(index), linestyle=series_dashes(index), label=label)
        plot.set(xlabel="time [s]", ylabel=f"{kind} [{unit}]")
        plot.set_ylim(0, 105 if kind == "utilisation" else None)
        plot.legend(loc="best")
        return to_page_svg(figure, name=name, label=f"{kind.capitalize()} [{unit}] over the run")


Curve = tuple[Sequence[float], Sequence[float]]


def draw_precision_recall(curves: Mapping[str, Curve], labels: Sequence[str], *, title: str, name: str) -> str:
    """Precision over recall of one class; `curves` maps a run's label to (recall, precision)."""
    with page_style():
        figure = new_figure(*SMALL)
        plot = figure.add_subplot()
        for index, label in enumerate(labels):
            if label in curves:
                recall, precision = curves[label]
                plot.plot(*thin_curve(recall, precision), color=series_colour(index), linestyle=series_dashes(index))
        plot.set(xlim=(0, 1.02), ylim=(0, 1.04), xlabel="recall", ylabel="precision")
        plot.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        plot.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        plot.set_title(title, fontsize=12, loc="left", color=INK)
        return to_page_svg(figure, name=name, label=f"Precision over recall of {title}")


def thin_curve(
    recall: Sequence[float], precision: Sequence[float], points: int = 101
) -> tuple[list[float], list[float]]:
    """At most `points` of a curve's points, ends included: a small chart cannot show more."""
    count = min(len(recall), len(precision))
    kept = sorted({round(i) for i in np.linspace(0, count - 1, min(points, count))}) if count else []
    return [recall[i] for i in kept], [precision[i] for i in kept]


def _side(to_the_right: float) -> Literal["left", "center", "right"]:
    if abs(to_the_right) < 0.1:
        return "center"
    return "left" if to_the_right > 0 else "right"


def _axis_label(axis: Axis) -> str:
    name = axis.name.replace("_", " ")
    return f"1 − {name}" if axis.scale == "1 - error" else name


def _bins(runs_ms: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Common bin edges: as wide as Freedman and Diaconis' rule asks for the narrowest run, at most `MAX_BINS`."""
    low, high = min(float(times.min()) for times in runs_ms), max(float(times.max()) for times in runs_ms)
    if high - low < 1e-9:
        return np.linspace(low - 0.5, high + 0.5, 4)
    steps = [np.diff(np.histogram_bin_edges(times, "fd")[:2])[0] for times in runs_ms if np.ptp(times) > 0]
    return np.linspace(low, high, 1 + min(MAX_BINS, math.ceil((high - low) / min(steps, default=high - low))))


def _draw_scene_borders(plot: Axes, samples: Sequence[Metadata]) -> None:
    starts = [i for i, sample in enumerate(samples) if i == 0 or sample.scene != samples[i - 1].scene]
    for start in starts[1:]:
        plot.axvline(start - 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    if len(starts) > MAX_NAMED_SCENES:
        return
    for start, end in pairwise([*starts, len(samples)]):
        middle = (start + end - 1) / 2
        place: dict[str, Any] = {"transform": plot.get_xaxis_transform(), "ha": "center", "va": "top", "fontsize": 11}
        plot.text(middle, 0.99, samples[start].scene, color=MUTED, **place)
