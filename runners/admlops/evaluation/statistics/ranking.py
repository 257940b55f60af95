"""Models ranked by a metric, among comparable numbers only, and the axes of a radar chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from admlops.evaluation.metrics import Metric, require_comparable


@dataclass(frozen=True, kw_only=True)
class Place:
    """A model's place in a ranking. Equal values share a place: 1, 1, 3."""

    place: int
    model: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The models that have one metric under one protocol on the same data, best first."""

    name: str
    protocol: str
    dataset: str
    higher_is_better: bool
    places: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a radar chart: 0 in the middle, 1 at the rim. `scale` says what 1 means."""

    name: str
    protocol: str
    scale: str
    values: Mapping[str, float]


def rank(metrics: Mapping[str, Metric]) -> Ranking:
    """The models of `metrics` (model → one metric) in order; undefined values are left out.

    Raises:
        ComparabilityError: two of them follow different protocols or were measured on different data, or one was
            measured with random weights.
        ValueError: `metrics` is empty.
    """
    if not metrics:
        raise ValueError("nothing to rank")
    first = next(iter(metrics.values()))
    for other in metrics.values():
        require_comparable(first, other)
    sign = -1.0 if first.higher_is_better else 1.0
    values = [(model, metric.value) for model, metric in metrics.items() if metric.value is not None]
    ordered = sorted(values, key=lambda entry: (sign * entry[1], entry[0]))
    places: list[Place] = []
    for index, (model, value) in enumerate(ordered):
        tied = bool(places) and places[-1].value == value
        places.append(Place(place=places[-1].place if tied else index + 1, model=model, value=value))
    return Ranking(
        name=first.name,
        protocol=first.protocol,
        dataset=first.dataset,
        higher_is_better=first.higher_is_better,
        places=tuple(places),
    )


def rankings(metrics: Mapping[str, Sequence[Metric]]) -> list[Ranking]:
    """Every ranking that `metrics` (model → all its metrics) carries, in order of first appearance.

    A number that no other model has a counterpart for stands alone in its ranking: one place, nobody beaten. What was
    measured with random weights has no place in any.
    """
    groups: dict[tuple[str, str, str, str | None, str | None], dict[str, Metric]] = {}
    for model, own in metrics.items():
        for metric in own:
            if metric.value is not None and metric.weights is None:
                groups.setdefault(metric.key, {})[model] = metric
    return [rank(group) for group in groups.values()]


def radar_axes(
    metrics: Mapping[str, Sequence[Metric]], *, anchors: Mapping[tuple[str, str], float] | None = None
) -> list[Axis]:
    """Axes in [0, 1] for metrics that are comparable among all models shown on them.

    `anchors` maps (protocol, name) to a published value: a score is then shown as a share of it, at most 1. Without an
    anchor a score, which is in [0, 1] already, is shown as it is; an error as max(0, 1 - error), as NDS counts it; a
    rate, which has no natural end, as a share of the best.
    """
    axes: list[Axis] = []
    for ranking in rankings(metrics):
        if not ranking.places:
            continue
        anchor = (anchors or {}).get((ranking.protocol, ranking.name))
        scale, values = _normalise(ranking, anchor)
        axes.append(Axis(name=ranking.name, protocol=ranking.protocol, scale=scale, values=values))
    return axes


def _normalise(ranking: Ranking, anchor: float | None) -> tuple[str, dict[str, float]]:
    raw = {place.model: place.value for place in ranking.places}
    if not ranking.higher_is_better:
        return "1 - error", {model: min(1.0, max(0.0, 1.0 - value)) for model, value in raw.items()}
    if anchor is not None and anchor > 0:
        return f"share of the published {anchor:g}", {model: _share(value, anchor) for model, value in raw.items()}
    best = max(raw.values())
    if best > 1.0:
        return f"share of the best, {best:g}", {model: _share(value, best) for model, value in raw.items()}
    return "score", {model: max(0.0, value) for model, value in raw.items()}


def _share(value: float, whole: float) -> float:
    return min(1.0, max(0.0, value / whole))
