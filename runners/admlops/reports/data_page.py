"""The page of a data set, or of two side by side: what it holds, in charts and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from admlops import __version__
from admlops.curation.differences import Difference
from admlops.curation.overview import Measured
from admlops.curation.statistics import SetStatistics
from admlops.reports.data_charts import draw_histograms, draw_shares
from admlops.reports.drawn import Chart, drawn
from admlops.reports.html import make_environment

Counts = Mapping[str, int]


def render_data(first: Measured, second: Measured | None, differences: Sequence[Difference]) -> str:
    """Return the page's text; the same numbers give the same text. Nothing is loaded from elsewhere."""
    sets = [first, *([second] if second is not None else [])]
    return (
        make_environment()
        .get_template("data.html.j2")
        .render(
            title=" and ".join(dict.fromkeys(one.data.root.name for one in sets)),
            sets=[_facts(one) for one in sets],
            synthetic=any(one.data.is_synthetic for one in sets),
            charts=_charts(sets),
            differences=differences,
            crossed=[_cross(one) for one in sets if one.tables is not None],
            version=__version__,
        )
    )


def _facts(one: Measured) -> dict[str, Any]:
    own = one.tables or one.pictures
    assert own is not None
    return {"name": one.name, "kind": one.data.kind, "where": one.where, "own": own, "lacking": one.lacking}


def _charts(sets: Sequence[Measured]) -> list[tuple[str, list[Chart]]]:
    """Headings with the charts below each; a set without a quantity leaves its charts out."""
    labels = [f"{'AB'[place]}: {one.name}" for place, one in enumerate(sets)]
    tables = [one.tables for one in sets if one.tables is not None]
    if len(tables) < len(sets):
        return [("Objects", _share_charts([_picture_counts(one) for one in sets], labels))]
    counts = [_table_counts(one) for one in tables]
    groups = [("Boxes and scenes", _share_charts(counts, labels))]
    for heading, section in (("Driving", "driving"), ("Objects a sample", "per_sample"), ("Tracks", "tracks")):
        names = [name for name in getattr(tables[0], section) if all(name in getattr(one, section) for one in tables)]
        charts: list[Chart] = []
        for name in names:
            title = name.replace("_", " ")
            own = [getattr(one, section)[name] for one in tables]
            charts += drawn(title.capitalize(), draw_histograms(own, labels, title=title, name=f"{section}-{name}"))
        groups.append((heading, charts))
    return [(heading, charts) for heading, charts in groups if charts]


def _share_charts(sets: Sequence[Mapping[str, Counts]], labels: Sequence[str]) -> list[Chart]:
    found: list[Chart] = []
    for number, title in enumerate(sets[0]):
        counts = [one.get(title, {}) for one in sets]
        svg = draw_shares(counts, labels, title=title, name=f"shares-{number}", is_ranked=title == "class")
        found += drawn(title.capitalize(), svg)
    return found


def _table_counts(one: SetStatistics) -> dict[str, Counts]:
    found: dict[str, Counts] = {"class": {name: row.boxes for name, row in one.classes.items()}}
    for place, title in ((1, "distance"), (2, "visibility")):
        counts = Counter[str]()
        for cell in one.cells:
            counts[cell.values[place]] += cell.boxes
        order = sorted(counts, key=lambda name: (name.startswith(">"), name))
        found[title] = {name: counts[name] for name in order}
    for name, group in one.groups.items():
        if name not in one.lacking:
            found[name] = {value: own["samples"] for value, own in group.items()}
    for split, bins in one.training.items():
        found[f"{split}: nearest training sample"] = bins
    return found


def _picture_counts(one: Measured) -> dict[str, Counts]:
    assert one.pictures is not None
    classes = one.pictures.classes
    sizes = {size: sum(getattr(own, size) for own in classes.values()) for size in ("small", "medium", "large")}
    return {"class": {name: own.objects for name, own in classes.items()}, "size of boxes": sizes}


def _cross(one: Measured) -> dict[str, Any]:
    """Boxes by class and distance with the share of each cell in its class, which is the heat."""
    assert one.tables is not None
    counts: dict[str, Counter[str]] = {}
    for cell in one.tables.cells:
        counts.setdefault(cell.values[0], Counter())[cell.values[1]] += cell.boxes
    rings = sorted({ring for own in counts.values() for ring in own}, key=lambda name: (name.startswith(">"), name))
    rows = [
        (name, [(counts[name][ring], counts[name][ring] / max(1, sum(counts[name].values()))) for ring in rings])
        for name in one.tables.classes
    ]
    return {"name": one.name, "rings": rings, "rows": rows}
