"""The report: one HTML file that opens from disk and asks the network for nothing; its LiDAR view alone is a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from admlops import __version__
from admlops.catalog.protocols import LATENCY as LATENCY_PROTOCOL
from admlops.core.storage import write_atomically
from admlops.pipeline.run_data import RunData
from admlops.reports import charts, page
from admlops.reports.bird_eye import BIRD_EYE_STYLE, OVERLAY_STYLE, bird_eye_svg
from admlops.reports.camera_view import CameraPicture, draw_cameras
from admlops.reports.lidar_view import draw_lidar
from admlops.reports.part_tables import group_parts
from admlops.reports.scene_view import Samples, SceneView, view_sample
from admlops.results.record import Record

PICTURE_BUDGET_BYTES = 6_000_000
MAX_SAMPLES_SHOWN = 12
"""Over all runs together; each sample brings six pictures."""
CURVES = (
    ("detection", 2.0, "Boxes, centres at most 2 m apart"),
    ("map", 1.0, "Map elements, Chamfer distance at most 1 m"),
)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawn chart with its caption; a `wide` one keeps its width and scrolls on a small screen."""

    title: str
    svg: Markup
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class SampleCard:
    """One of the worst samples: `worst` is its entry in `metrics.json`."""

    id: str
    rank: int
    label: str
    view: SceneView
    record: Record
    worst: Mapping[str, Any]
    bird_eye: Markup
    cameras: Sequence[CameraPicture]

    @property
    def title(self) -> str:
        return f"{self.label}, number {self.rank}: {self.view.scene}"


def write_report(
    target: Path,
    runs: Sequence[RunData],
    comparison: Mapping[str, Any] | None,
    *,
    data: Samples | None,
    also: Sequence[Samples] = (),
) -> Path:
    """Write `report.html` for one run, or for several side by side, and return its path.

    `comparison` is `comparison_summary.json` where the report is one of a comparison. What is missing (metrics,
    telemetry, the data set, a map) becomes a sentence that names the next command. `also` are data sets of runs that
    were not made on `data`.

    Raises:
        StorageError: the file cannot be written; an older one is as it was.
    """
    write_atomically(target, render_report(runs, comparison, data=data, also=also).encode("utf-8"))
    return target


def render_report(
    runs: Sequence[RunData],
    comparison: Mapping[str, Any] | None,
    *,
    data: Samples | None,
    also: Sequence[Samples] = (),
) -> str:
    """The page's text; the same input gives the same text."""
    labels = page.label_runs(runs)
    columns = page.find_columns(runs)
    ran = [(label, run) for label, run in zip(labels, runs, strict=True) if run.header is not None]
    cards, left_out = _draw_worst(ran, data, also)
    template = _environment().get_template("report.html.j2")
    return template.render(
        title=_title(runs, comparison),
        is_comparison=comparison is not None or len(runs) > 1,
        version=__version__,
        runs=list(zip(labels, runs, strict=True)),
        ran=ran,
        columns=columns,
        column_groups=page.group_columns(columns),
        rows=[page.make_row(label, run, columns) for label, run in zip(labels, runs, strict=True)],
        data_sets=list(dict.fromkeys(page.describe_data(run) for _, run in ran)),
        synthetic=any(run.header is not None and run.header.data.synthetic for run in runs),
        random_weights=[run.header.run for run in runs if run.header is not None and run.header.random_weights],
        created=_created(runs, comparison),
        labels_that_ran={label for label, _ in ran},
        claims=[row for label, run in zip(labels, runs, strict=True) for row in page.compare_claims(label, run)],
        scores=[(group, _draw_scores(group, number, ran)) for number, group in enumerate(_score_groups(labels, runs))],
        parts_of_data=group_parts([label for label, _ in ran], [run for _, run in ran]),
        verdicts=page.group_verdicts(labels, runs),
        latency_protocol=LATENCY_PROTOCOL,
        precision_warning=page.warn_of_precisions(labels, runs),
        latency_charts=_draw_latency(ran),
        telemetry_charts=[(label, found) for i, (label, run) in enumerate(ran) if (found := _draw_telemetry(run, i))],
        curves=_draw_curves(ran),
        cards=cards,
        lidar=draw_lidar(cards),
        left_out=left_out,
        failures=[group for label, run in ran for group in page.group_failures(label, run)],
        provenance=[(label, page.list_provenance(run)) for label, run in ran],
        notes=[(label, note) for label, run in zip(labels, runs, strict=True) for note in run.notes],
        overlay_style=Markup(OVERLAY_STYLE + BIRD_EYE_STYLE),  # noqa: S704 - our own constant
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("admlops.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = page.number
    environment.filters["moment"] = page.moment
    return environment


def _title(runs: Sequence[RunData], comparison: Mapping[str, Any] | None) -> str:
    if comparison is not None or len(runs) != 1:
        return " · ".join(dict.fromkeys(run.model for run in runs))
    return runs[0].name


def _created(runs: Sequence[RunData], comparison: Mapping[str, Any] | None) -> str:
    """When the comparison was made, or the newest run began; empty where nothing ran."""
    if comparison is not None and "created" in comparison:
        return str(comparison["created"])
    return max((run.header.created for run in runs if run.header is not None), default="")


def _score_groups(labels: Sequence[str], runs: Sequence[RunData]) -> list[page.Scores]:
    """The groups of scores to draw: beside trained weights, random ones say nothing and are left out."""
    pairs = list(zip(labels, runs, strict=True))
    trained = [(label, run) for label, run in pairs if run.header is None or not run.header.random_weights]
    shown = trained if any(run.measured for _, run in trained) else pairs
    return page.group_scores([label for label, _ in shown], [run for _, run in shown])


def _drawn(title: str, svg: str | None, *, wide: bool = False) -> list[Chart]:
    """A list of one chart, or of none. Our own drawing code escapes what it takes in."""
    return [] if svg is None else [Chart(title=title, svg=Markup(svg), wide=wide)]  # noqa: S704


def _draw_scores(group: page.Scores, number: int, ran: Sequence[tuple[str, RunData]]) -> list[Chart]:
    # A run keeps its colour in every chart of the page.
    series = [charts.Series(label=label, index=i) for i, (label, _) in enumerate(ran) if label in group.labels]
    radar = charts.draw_radar(group.axes, series, name=f"radar-{number}")
    if radar is not None:
        return _drawn("Comparable scores, outer is better", radar)
    if len(group.labels) == 1:
        bars = charts.draw_scores(group.axes, group.labels[0], name=f"scores-{number}")
        return _drawn("Scores, longer is better", bars)
    return []


def _draw_latency(ran: Sequence[tuple[str, RunData]]) -> list[Chart]:
    times = {
        label: [m.inference_time for m in run.samples if m.inference_time is not None and m.index_in_scene > 0]
        for label, run in ran
    }
    found = _drawn("Latency histogram", charts.draw_latency_histogram(times, name="latency-histogram"))
    found += _drawn("Cumulative latency (ECDF)", charts.draw_latency_ecdf(times, name="latency-ecdf"))
    for index, (label, run) in enumerate(ran):
        series = charts.Series(label=label, index=index)
        svg = charts.draw_timeline(run.samples, name=f"timeline-{index}", series=series)
        found += _drawn(f"Over the samples: {label}", svg, wide=True)
    return found


def _draw_telemetry(run: RunData, index: int) -> list[Chart]:
    titles = {"memory": "Memory", "utilisation": "CPU and GPU", "power": "Power"}
    return [
        chart
        for kind, title in titles.items()
        for chart in _drawn(title, charts.draw_telemetry(run.telemetry, kind, name=f"{kind}-{index}"))
    ]


def _draw_curves(ran: Sequence[tuple[str, RunData]]) -> list[tuple[str, list[Chart]]]:
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
            found += _drawn(title, svg)
        if found:
            groups.append((heading, found))
    return groups


def _draw_worst(
    ran: Sequence[tuple[str, RunData]], data: Samples | None, also: Sequence[Samples]
) -> tuple[list[SampleCard], int]:
    """The cards that fit the page's budget of bytes, and how many did not."""
    each = max(1, MAX_SAMPLES_SHOWN // max(1, len(ran)))
    cards: list[SampleCard] = []
    left_out, used = 0, 0
    for index, (label, run) in enumerate(ran):
        entries = {str(entry["sample_token"]): entry for entry in (run.metrics or {}).get("worst", ())}
        root = "" if run.header is None else run.header.data.root
        own = next((one for one in also if str(one.root) == root), data)
        for rank, record in enumerate((run.worst or run.first)[:each], start=1):
            view = view_sample(record, own, cutoffs=(run.metrics or {}).get("operating_points"))
            cameras = draw_cameras(view)
            size = sum(len(camera.jpeg_base64 or "") + len(camera.overlay) for camera in cameras)
            if used + size > PICTURE_BUDGET_BYTES:
                left_out += 1
                continue
            used += size
            cards.append(
                SampleCard(
                    id=f"sample-{index}-{rank}",
                    rank=rank,
                    label=label,
                    view=view,
                    record=record,
                    worst=entries.get(record.metadata.sample_token, {}),
                    bird_eye=Markup(bird_eye_svg(view)),  # noqa: S704 - it escapes what it takes in
                    cameras=cameras,
                )
            )
    return cards, left_out
