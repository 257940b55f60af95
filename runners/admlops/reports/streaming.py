"""The page of a stream: scores over multiples of the latencies, and how far behind outputs were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from admlops import __version__
from admlops.reports.figures import new_figure, page_style, series_colour, series_dashes, to_page_svg
from admlops.reports.html import make_environment

CURVE = (400, 300)


def render_streaming(curve: Mapping[str, Any]) -> str:
    """Return the page's text; the same curve gives the same text.

    Args:
        curve: what `admlops streaming --json` prints: `run`, `model`, `simulation`, and `rows`, each of one protocol
            (`base`) at one factor of the latencies.
    """
    rows = curve["rows"]
    headlines = [name for name in ("NDS-S", "mAP-S") if any(name in row["metrics"] for row in rows)]
    charts = [draw_stream_curve(rows, name, name=f"curve-{place}") for place, name in enumerate(headlines)]
    return (
        make_environment()
        .get_template("streaming.html.j2")
        .render(
            curve=curve,
            title=f"{curve['model']} as its outputs are ready",
            charts=[Markup(chart) for chart in charts],  # noqa: S704 - our own drawing
            has_bands=any(any(row["intervals"].values()) for row in rows),
            tables=_tables(rows),
            version=__version__,
        )
    )


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every protocol's rows, and the metrics that they have."""
    tables: dict[str, dict[str, Any]] = {}
    for row in rows:
        table = tables.setdefault(row["base"], {"protocol": row["base"], "metrics": list(row["metrics"]), "rows": []})
        table["rows"].append(row)
    return list(tables.values())


def draw_stream_curve(rows: Sequence[Mapping[str, Any]], metric: str, *, name: str) -> str:
    """A score over the factor of the latencies, one line a protocol, with 95 % intervals where there are any."""
    protocols = list(dict.fromkeys(row["base"] for row in rows if metric in row["metrics"]))
    words = []
    with page_style():
        figure = new_figure(*CURVE)
        plot = figure.add_subplot()
        for index, protocol in enumerate(protocols):
            own = sorted(
                (row for row in rows if row["base"] == protocol and metric in row["metrics"]), key=lambda r: r["factor"]
            )
            colour, factors = series_colour(index), [row["factor"] for row in own]
            values = [row["metrics"][metric] for row in own]
            style: dict[str, Any] = {"color": colour, "linestyle": series_dashes(index), "marker": "o"}
            plot.plot(factors, values, label=protocol, markersize=5, **style)
            ends = [row["intervals"].get(metric) for row in own]
            if all(ends):
                low, high = zip(*ends, strict=True)
                plot.fill_between(factors, low, high, color=colour, alpha=0.15, linewidth=0)
            words.append(f"{protocol}: " + ", ".join(f"{v:.3f} at {f:g}" for f, v in zip(factors, values, strict=True)))
        plot.set(xlabel="times the latencies", ylabel=f"{metric}, higher is better")
        plot.set_ylim(bottom=0)
        figure.legend(loc="outside lower center", ncols=1)
        return to_page_svg(figure, name=name, label=f"{metric} over latency. {'; '.join(words)}")
