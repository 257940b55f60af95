"""Charts of what data sets hold: shares of names as bars, quantities as histograms; one or two sets in a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from admlops.curation.statistics import Distribution
from admlops.reports.figures import (
    BAR_SHARE,
    BARS_TOGETHER,
    SURFACE,
    bar_style,
    new_figure,
    page_style,
    series_colour,
    series_dashes,
    to_page_svg,
)

MOST_BARS = 16
LONGEST = 26
"""Letters of a name beside a bar."""


def draw_shares(
    counts: Sequence[Mapping[str, int]], labels: Sequence[str], *, title: str, name: str, is_ranked: bool = False
) -> str | None:
    """The share of each name among all counts, a bar a set; ranked ones begin with the most frequent."""
    totals = [sum(one.values()) for one in counts]
    if not counts or not all(totals):
        return None
    names = list(dict.fromkeys(key for one in counts for key in one))
    if is_ranked:
        names.sort(key=lambda key: -sum(one.get(key, 0) / total for one, total in zip(counts, totals, strict=True)))
    names = names[:MOST_BARS]
    width = BARS_TOGETHER / len(counts)
    with page_style():
        figure = new_figure(350, 70 + (18 + 8 * len(counts)) * len(names))
        plot = figure.add_subplot()
        for index, (one, total) in enumerate(zip(counts, totals, strict=True)):
            at = [row - BARS_TOGETHER / 2 + (index + 0.5) * width for row in range(len(names))]
            shares = [100 * one.get(key, 0) / total for key in names]
            looks = bar_style(series_colour(index), edge=SURFACE)
            plot.barh(at, shares, height=BAR_SHARE * width, **looks)
        plot.set_yticks(range(len(names)), [_shorten(key) for key in names])
        plot.invert_yaxis()
        plot.set_xlabel("share [%]")
        plot.grid(visible=False, axis="y")
        words = "; ".join(
            f"{label}: " + ", ".join(f"{key} {100 * one.get(key, 0) / total:.1f} %" for key in names)
            for label, one, total in zip(labels, counts, totals, strict=True)
        )
        return to_page_svg(figure, name=name, label=f"Shares by {title}. {words}")


def draw_histograms(own: Sequence[Distribution], labels: Sequence[str], *, title: str, name: str) -> str | None:
    """The histogram of a quantity as shares of all its values, an outline a set."""
    if not own or not all(one.n for one in own):
        return None
    with page_style():
        figure = new_figure(350, 230)
        plot = figure.add_subplot()
        for index, one in enumerate(own):
            shares = 100 * np.array(one.counts) / max(1, one.n)
            plot.stairs(shares, one.edges, color=series_colour(index), fill=True, alpha=0.25)
            style = {"color": series_colour(index), "linestyle": series_dashes(index)}
            plot.stairs(shares, one.edges, linewidth=1.6, **style)  # type: ignore[arg-type]
        unit = f" [{own[0].unit}]" if own[0].unit else ""
        plot.set(xlabel=f"{title}{unit}", ylabel="share [%]")
        words = "; ".join(
            f"{label} median {one.quantiles['p50']:.2f}{unit}" for label, one in zip(labels, own, strict=True)
        )
        return to_page_svg(figure, name=name, label=f"Histogram of {title}: {words}")


def _shorten(text: str) -> str:
    plain = text.replace("_", " ")
    return plain if len(plain) <= LONGEST else f"…{plain[-LONGEST:]}"
