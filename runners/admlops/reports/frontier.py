"""The page of ways to run models: what each gives and costs, which are beaten, charts, a filter and an export."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

from markupsafe import Markup

from admlops import __version__
from admlops.pipeline.frontier import Point, to_csv
from admlops.reports.charts import draw_speed_score
from admlops.reports.html import make_environment
from admlops.reports.speed_score import Point as Mark
from admlops.reports.speed_score import SpeedScore

FILTERS = ("model", "engine", "precision", "fault", "metric", "device")
COLUMNS = (
    ("score", "Score", 4),
    ("streaming", "Streaming", 4),
    ("worst_fault", "Worst fault", 4),
    ("p99_ms", "p99 [ms]", 1),
    ("p50_ms", "p50 [ms]", 1),
    ("energy_j", "J a sample", 2),
    ("memory_mb", "Memory [MB]", 0),
)


def render_frontier(points: Sequence[Point]) -> str:
    """Return the page's text; the same points give the same text."""
    script = (resources.files("admlops.reports") / "scripts" / "frontier.js").read_text("utf-8")
    rows = [{**point.to_json(), "way": point.way._asdict()} for point in points]
    filters = {name: sorted({str(row[name] or "–") for row in rows}) for name in FILTERS}
    return (
        make_environment()
        .get_template("frontier.html.j2")
        .render(
            title="What models give and cost",
            rows=rows,
            columns=COLUMNS,
            filters={name: values for name, values in filters.items() if len(values) > 1},
            charts=[Markup(chart) for chart in _charts(points)],  # noqa: S704 - our own drawing
            export=base64.b64encode(to_csv(points).encode()).decode("ascii"),
            script=Markup(script),  # noqa: S704 - our own file
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
            version=__version__,
        )
    )


def _charts(points: Sequence[Point]) -> list[str]:
    """Scores against the time that most points of a protocol have, one chart a protocol, set of samples and device."""
    groups: dict[tuple[str, str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.protocol, point.dataset, point.way.device), []).append(point)
    drawn = []
    for number, ((protocol, _, device), own) in enumerate(groups.items()):
        cost = "p99_ms" if sum(one.values.get("p99_ms") is not None for one in own) > 1 else "p50_ms"
        timed = [one for one in own if one.values.get(cost) is not None]
        if len(timed) < 2:
            continue
        marks = tuple(
            Mark(label=one.run, index=place, cost=float(one.values[cost] or 0), score=float(one.values["score"] or 0))
            for place, one in enumerate(timed)
        )
        chart = SpeedScore(
            metric=timed[0].metric,
            higher_is_better=True,
            note=f"{protocol}, on {device}",
            points=marks,
            cost=f"{cost.removesuffix('_ms')} of the model call",
            front=tuple(one.run for one in timed if one.dominated_by is None),
        )
        drawn.append(draw_speed_score(chart, name=f"frontier-{number}"))
    return drawn
