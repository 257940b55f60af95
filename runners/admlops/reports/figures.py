"""matplotlib figures as SVG for a page: text stays text, and every colour is a variable of the page's style.

A figure is drawn with place-holder colours; on the way into the page each becomes `var(--name)`, so that one drawing
serves light and dark mode. Ids get a prefix, for several SVGs live in one document. The same input gives the same
bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID, SURFACE = "#000101", "#000202", "#000303", "#000404"
SERIES = tuple(f"#00050{index}" for index in range(1, 8))
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--rule", SURFACE: "--surface"} | {
    colour: f"--series-{index}" for index, colour in enumerate(SERIES, start=1)
}
Dashes = str | tuple[int, tuple[float, ...]]
DASHES: tuple[Dashes, ...] = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), "-", "--")
"""Series differ by line style as well as by colour."""

BARS_TOGETHER = 0.8
"""The share of its place on the axis that a group of bars fills."""
BAR_SHARE = 0.92
"""The share of its own room that a bar fills."""
POINTS_PER_INCH = 72
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "admlops",
    "text.parse_math": False,
    "font.size": 12,
    "font.sans-serif": ["DejaVu Sans"],
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


def series_colour(index: int) -> str:
    """The place-holder colour of the run or class number `index`, repeating after the palette's end."""
    return SERIES[index % len(SERIES)]


def series_dashes(index: int) -> Dashes:
    """The line style that goes with `series_colour(index)`."""
    return DASHES[index % len(DASHES)]


def bar_style(colour: str, hatch: str = "", *, edge: str = "white") -> dict[str, Any]:
    """Every bar's looks, on the page and in papers: filled, without an outline; `edge` colours the hatch."""
    return {"color": colour, "hatch": hatch, "edgecolor": edge, "linewidth": 0}


@contextmanager
def page_style() -> Iterator[None]:
    """Draw in the page's style while the block runs."""
    with mpl.rc_context(_STYLE):
        yield


def new_figure(width: int, height: int) -> Figure:
    """A figure of `width` × `height` CSS pixels; call within `page_style`."""
    return Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), layout="constrained")


def to_page_svg(figure: Figure, *, name: str, label: str) -> str:
    """The figure as an `<svg>` element for a page. `name` prefixes its ids; `label` is what a screen reader says."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)  # type: ignore[no-untyped-call]
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'xlink:href="#', f'href="#{name}-', text)
    text = re.sub(r"(font: [^;\"]*?px) [^;\"]*", r"\1 var(--sans)", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", text)
    text = re.sub("|".join(_VARIABLES), lambda found: f"var({_VARIABLES[found.group()]})", text)
    view_box = re.search(r'viewBox="[^"]*"', text)
    assert view_box is not None
    head = f'<svg class="chart" role="img" aria-label="{escape(label, quote=True)}" {view_box.group()}>'
    return re.sub(r"^<svg[^>]*>", lambda _: head, text)
