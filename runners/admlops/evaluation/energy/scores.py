"""Scores from energy: right cars per kilojoule, the Pareto front, and the seed's green score."""

from __future__ import annotations

from collections.abc import Mapping

GREEN_SCALE, GREEN_MOST = 10.0, 100.0


def correct_per_kj(right: int, joules: float) -> float | None:
    """The right boxes per kilojoule [1/kJ]; None where no energy was used."""
    return right / (joules / 1e3) if joules > 0 else None


def seed_green_score(accuracy: float, kg: float, seconds: float) -> float | None:
    """min(100, 10 · accuracy / (kg · s)); None where either is 0.

    Args:
        accuracy: the count score, 0 to 1.
        kg: CO₂ equivalents of the whole run.
        seconds: the mean time of a sample.
    """
    product = kg * seconds
    return min(GREEN_MOST, GREEN_SCALE * accuracy / product) if product > 0 else None


def pareto_front(points: Mapping[str, tuple[float, float]], *, higher_is_better: bool = True) -> list[str]:
    """The names that no other beats in both cost and score, the cheapest first.

    Args:
        points: name → (cost, of which less is better, score).
    """
    sign = 1.0 if higher_is_better else -1.0

    def beaten(name: str) -> bool:
        cost, score = points[name]
        return any(
            other_cost <= cost and sign * other >= sign * score and (other_cost, other) != (cost, score)
            for other_cost, other in points.values()
        )

    return sorted((name for name in points if not beaten(name)), key=lambda name: (points[name][0], name))
