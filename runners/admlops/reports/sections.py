"""The sections of the page, in their order. `section.py` says how to add one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from admlops.pipeline.run_data import RunData
from admlops.reports import charts, page
from admlops.reports.battle_cards import MAX_CARDS, make_cards
from admlops.reports.car_pictures import IDS, draw_pictures
from admlops.reports.car_pictures import make_tables as make_car_tables
from admlops.reports.class_tables import group_classes, list_answers, list_confusions
from admlops.reports.drawn import Chart, draw_curves, draw_latency, draw_scores, draw_telemetry, drawn
from admlops.reports.lidar_section import lidar_section
from admlops.reports.part_tables import group_parts
from admlops.reports.section import Report, Section
from admlops.reports.speed_score import list_energy_scores, list_speed_scores
from admlops.reports.summary import summarize_runs

Values = Mapping[str, Any]


def _summary(report: Report) -> Values:
    return {
        "tables": summarize_runs(report.ran),
        "not_run": [(label, run) for label, run in report.pairs if run.header is None],
    }


def _scores(report: Report) -> Values:
    groups = _score_groups(report.pairs)
    return {
        "scores": [(group, draw_scores(group, number, report.ran)) for number, group in enumerate(groups)],
        "numbers": {label: number for number, (label, _) in enumerate(report.ran)},
    }


def _score_groups(pairs: Sequence[tuple[str, RunData]]) -> list[page.Scores]:
    """The groups of scores to draw: beside trained weights, random ones say nothing and are left out."""
    trained = [(label, run) for label, run in pairs if run.header is None or not run.header.random_weights]
    shown = trained if any(run.measured for _, run in trained) else pairs
    return page.group_scores([label for label, _ in shown], [run for _, run in shown])


def _speed(report: Report) -> Values | None:
    found: list[Chart] = []
    for number, one in enumerate([*list_speed_scores(report.ran), *list_energy_scores(report.ran)]):
        found += drawn(one.title, charts.draw_speed_score(one, name=f"speed-{number}"), note=one.note)
    return {"charts": found} if found else None


def _classes(report: Report) -> Values | None:
    groups = group_classes(report.ran)
    return {"groups": groups} if groups else None


def _confusion(report: Report) -> Values | None:
    tables = list_confusions(report.ran)
    having = {table.label for table in tables}
    older = [
        run.name for label, run in report.ran if label not in having and "detection" in run.details and run.metrics
    ]
    answers = list_answers(report.ran)
    return {"tables": tables, "older": older, "answers": answers} if tables or older or answers else None


def _engines(report: Report) -> Values | None:
    groups = (report.comparison or {}).get("engines", [])
    return {"groups": groups} if groups else None


def _curves(report: Report) -> Values:
    evaluated = any(run.measured for _, run in report.ran)
    return {"curves": draw_curves(report.ran), "evaluated": evaluated}


def _parts(report: Report) -> Values | None:
    groups = group_parts([label for label, _ in report.ran], [run for _, run in report.ran])
    return {"groups": groups} if groups else None


def _battles(report: Report) -> Values | None:
    battles = (report.comparison or {}).get("battles", ())
    cards = make_cards(battles)
    return {"cards": cards[:MAX_CARDS], "more": cards[MAX_CARDS:]} if cards else None


def _cars(report: Report) -> Values | None:
    """Nothing where no run looks for cars in pictures."""
    looks = any(key in run.details for _, run in report.ran for key in IDS)
    if not looks and not report.samples.are_flat:
        return None
    data = [one for one in (report.data, *report.also) if one is not None]
    return {"tables": make_car_tables(report.ran), "pictures": draw_pictures(report.ran, data)}


def _samples(report: Report) -> Values | None:
    if report.samples.are_flat:
        return None  # nothing of it lies in space: the pictures stand in a section of their own
    cards, left_out = report.samples.cards
    packed, are_worst = report.samples.packed, report.samples.are_worst
    return {"cards": cards, "left_out": left_out, "are_worst": are_worst, "packed": packed}


def _latency(report: Report) -> Values:
    return {
        "verdicts": page.group_verdicts(report.labels, report.runs),
        "precision_warning": page.warn_of_precisions(report.labels, report.runs),
        "charts": draw_latency(report.ran),
    }


def _throughput(report: Report) -> Values | None:
    found = [(label, run.throughput) for label, run in report.ran if run.throughput is not None]
    return {"groups": found} if found else None


def _resources(report: Report) -> Values:
    found = [(label, draw_telemetry(run, index)) for index, (label, run) in enumerate(report.ran)]
    return {"groups": [(label, charts_) for label, charts_ in found if charts_]}


def _claims(report: Report) -> Values:
    return {
        "claims": [row for label, run in report.pairs for row in page.compare_claims(label, run)],
        "labels_that_ran": {label for label, _ in report.ran},
    }


def _failures(report: Report) -> Values | None:
    groups = [group for label, run in report.ran for group in page.group_failures(label, run)]
    return {"groups": groups} if groups else None


def _provenance(report: Report) -> Values:
    return {"runs": [(label, page.list_provenance(run)) for label, run in report.ran]}


SECTIONS: list[Section] = [
    Section(id="summary", title="Summary", template="summary.html.j2", values=_summary, scripts=("tables.js",)),
    Section(id="battles", title="Battles", template="battles.html.j2", values=_battles),
    Section(id="scores", title="Scores", template="scores.html.j2", values=_scores),
    Section(id="speed", title="Speed, energy and score", template="charts.html.j2", values=_speed),
    Section(id="classes", title="Classes", template="classes.html.j2", values=_classes, scripts=("tables.js",)),
    Section(id="confusion", title="Confusion", template="confusion.html.j2", values=_confusion),
    Section(id="cars", title="Cars in pictures", template="cars.html.j2", values=_cars),
    Section(id="engines", title="Engines", template="engines.html.j2", values=_engines),
    Section(
        id="worst",
        title="Samples",
        template="samples.html.j2",
        values=_samples,
        scripts=("drawing.js", "samples.js", "pictures.js"),
    ),
    Section(
        id="lidar",
        title="LiDAR view",
        template="lidar.html.j2",
        values=lidar_section,
        scripts=("vendor/three.min.js", "lidar_view.js"),
    ),
    Section(id="curves", title="Precision and recall", template="curves.html.j2", values=_curves),
    Section(id="parts", title="Parts of the data", template="parts.html.j2", values=_parts, scripts=("tables.js",)),
    Section(id="latency", title="Latency", template="latency.html.j2", values=_latency),
    Section(id="throughput", title="Throughput", template="throughput.html.j2", values=_throughput),
    Section(id="resources", title="Memory and utilisation", template="resources.html.j2", values=_resources),
    Section(
        id="claims", title="Claimed and measured", template="claims.html.j2", values=_claims, scripts=("tables.js",)
    ),
    Section(id="failures", title="Failures", template="failures.html.j2", values=_failures, scripts=("tables.js",)),
    Section(id="provenance", title="Provenance", template="provenance.html.j2", values=_provenance),
]
