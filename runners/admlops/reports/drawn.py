"""The page's charts with their captions, made of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from admlops.pipeline.run_data import RunData
from admlops.reports import charts, page

CURVES = (
    ("detection", 2.0, "Boxes, centres at most 2 m apart"),
    ("map", 1.0, "Map elements, Chamfer distance at most 1 m"),
    ("cars", 0.5, "Cars in pictures, IoU at least 0.5"),
    ("cars_merged", 0.5, "Cars, trucks and buses in pictures, IoU at least 0.5"),
)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawn chart with its caption; a `wide` one keeps its width and scrolls on a small screen."""

    title: str
    svg: Markup
    wide: bool = False
    note: str = ""


def drawn(title: str, svg: str | None, *, wide: bool = False, note: str = "") -> list[Chart]:
    """A list of one chart, or of none. Our own drawing code escapes what it takes in."""
    return [] if svg is None else [Chart(title=title, svg=Markup(svg), wide=wide, note=note)]  # noqa: S704


def draw_scores(group: page.Scores, number: int, ran: Sequence[tuple[str, RunData]]) -> list[Chart]:
    """A radar chart of a group of comparable scores, or the bars of its only run."""
    # A run keeps its colour in every chart of the page.
    series = [charts.Series(label=label, index=i) for i, (label, _) in enumerate(ran) if label in group.labels]
    radar = charts.draw_radar(group.axes, series, name=f"radar-{number}")
    if radar is not None:
        return drawn("Comparable scores, outer is better", radar)
    if len(series) == 1:
        bars = charts.draw_scores(group.axes, series[0], name=f"scores-{number}")
        return drawn("Scores, longer is better", bars)
    return []


def draw_latency(ran: Sequence[tuple[str, RunData]]) -> list[Chart]:
    """How the times of the runs are spread, and how they went over the samples."""
    times = {
        label: [m.inference_time for m in run.samples if m.inference_time is not None and m.index_in_scene > 0]
        for label, run in ran
        if run.header is None or run.header.shared is None
    }
    found = drawn("Latency histogram", charts.draw_latency_histogram(times, name="latency-histogram"))
    found += drawn("Cumulative latency (ECDF)", charts.draw_latency_ecdf(times, name="latency-ecdf"))
    for index, (label, run) in enumerate(ran):
        series = charts.Series(label=label, index=index)
        svg = charts.draw_timeline(run.samples, name=f"timeline-{index}", series=series)
        found += drawn(f"Over the samples: {label}", svg, wide=True)
    return found


def draw_telemetry(run: RunData, index: int) -> list[Chart]:
    """Memory, utilisation and power over a run."""
    titles = {"memory": "Memory", "utilisation": "CPU and GPU", "power": "Power"}
    return [
        chart
        for kind, title in titles.items()
        for chart in drawn(title, charts.draw_telemetry(run.telemetry, kind, name=f"{kind}-{index}"))
    ]


def draw_curves(ran: Sequence[tuple[str, RunData]]) -> list[tuple[str, list[Chart]]]:
    """Small multiples: a heading, and a chart a class."""
    labels, runs = [label for label, _ in ran], [run for _, run in ran]
    if len(ran) > 1 and all(run.header is not None and run.header.random_weights for run in runs):
        return []
    groups = []
    for task, threshold, heading in CURVES:
        found: list[Chart] = []
        for class_name, curves in page.find_curves(labels, runs, task, threshold).items():
            values = [page.average_precision(run, task, class_name, threshold) for run in runs]
            title = class_name.replace("_", " ")
            if len(runs) == 1 and values[0] is not None:
                title += f", AP {values[0]:.2f}"
            svg = charts.draw_precision_recall(curves, labels, title=title, name=f"pr-{task}-{len(found)}")
            found += drawn(title, svg)
        if found:
            groups.append((heading, found))
    return groups
