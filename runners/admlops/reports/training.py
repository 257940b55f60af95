"""The page of a training: its curves, its evaluated checkpoints, what was checked, and where the weights are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from admlops import __version__
from admlops.core.storage import write_atomically
from admlops.reports.charts import WIDE
from admlops.reports.figures import new_figure, page_style, series_colour, series_dashes, to_page_svg
from admlops.reports.html import make_environment
from admlops.training.evaluations import Evaluated, read_evaluations
from admlops.training.folder import TrainingFolder
from admlops.training.log import Line, read_lines, summarise

MAX_POINTS = 1000
"""The most points of a curve; a longer one is drawn as the means of groups of neighbours."""
MAX_CURVES = 8
FEW_POINTS = 20
"""A curve of fewer points has them marked, because a single point draws no line."""
Curve = tuple[str, list[tuple[int, float]]]


def write_training_report(folder: TrainingFolder) -> None:
    """Write `report.html` of a training. Raises StorageError."""
    write_atomically(folder.report, render_training(folder).encode())


def render_training(folder: TrainingFolder) -> str:
    """Return the page's text; the same folder gives the same text."""
    lines, evaluated = read_lines(folder.log), read_evaluations(folder)
    told = [line for line in lines if line.kind == "iteration"]
    begins = [line for line in lines if line.kind == "begin"]
    return (
        make_environment()
        .get_template("training.html.j2")
        .render(
            header=folder.header(),
            summary=summarise(lines),
            begin=begins[-1] if begins else None,
            charts=[Markup(chart) for chart in _charts(told, evaluated)],  # noqa: S704  our own drawing
            evaluated=evaluated,
            notes=[line.text for line in lines if line.kind == "note"],
            version=__version__,
        )
    )


def _charts(told: Sequence[Line], evaluated: Sequence[Evaluated]) -> list[str]:
    """Loss, its parts, the gradient's norm and the learning rate by iteration; the deciding metric by checkpoint."""
    names = list(dict.fromkeys(name for line in told for name in line.losses))
    parts = [(name, _points((line.iteration, line.losses.get(name)) for line in told)) for name in names]
    parts.sort(key=lambda curve: -max((value for _, value in curve[1]), default=0.0))
    wanted: list[tuple[str, list[Curve]]] = [
        ("Loss", [("loss", _points((line.iteration, line.loss) for line in told))]),
        ("Parts of the loss", parts[:MAX_CURVES] if len(names) > 1 else []),
        ("Norm of the gradient", [("grad_norm", _points((line.iteration, line.grad_norm) for line in told))]),
        ("Learning rate", [("learning_rate", _points((line.iteration, line.learning_rate) for line in told))]),
        ("Seconds an iteration", [("time_s", _points((line.iteration, line.time_s) for line in told))]),
        ("Evaluated checkpoints", [("value", _points((one.iteration, one.value) for one in evaluated))]),
    ]
    drawn = []
    for number, (title, curves) in enumerate(wanted):
        filled = [(name, points) for name, points in curves if points]
        if filled:
            drawn.append(draw_curves(title, filled, name=f"training-{number}"))
    return drawn


def _points(pairs: Iterable[tuple[int, float | None]]) -> list[tuple[int, float]]:
    return [(place, value) for place, value in pairs if value is not None]


def draw_curves(title: str, curves: Sequence[Curve], *, name: str) -> str:
    """Values by iteration, one curve a name."""
    with page_style():
        figure = new_figure(*WIDE)
        plot = figure.add_subplot()
        for index, (label, points) in enumerate(curves):
            thin = _thin_out(points)
            style: dict[str, Any] = {"color": series_colour(index), "linestyle": series_dashes(index), "label": label}
            style["marker"] = "o" if len(thin) < FEW_POINTS else ""
            plot.plot([x for x, _ in thin], [y for _, y in thin], markersize=4, **style)
        plot.set_xlabel("iteration")
        plot.set_title(title)
        if len(curves) > 1:
            figure.legend(loc="outside right upper")
        words = "; ".join(f"{label} {points[0][1]:.4g} to {points[-1][1]:.4g}" for label, points in curves)
        return to_page_svg(figure, name=name, label=f"{title} by iteration. {words}")


def _thin_out(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(points) <= MAX_POINTS:
        return list(points)
    parts = np.array_split(np.asarray(points, dtype=np.float64), MAX_POINTS)
    return [(int(part[-1, 0]), float(part[:, 1].mean())) for part in parts]
