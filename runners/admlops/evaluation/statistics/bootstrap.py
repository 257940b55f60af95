"""Confidence intervals over scenes: how much a number would move with other scenes of the same kind.

Samples of one scene show the same street and the same cars, so scenes are drawn anew, not samples: as many as there
are, with replacement. The interval is between percentiles of the resampled numbers. Resampling is seeded: the same
scenes give the same interval.

Source: B. Efron and R. Tibshirani, *An Introduction to the Bootstrap*, 1993, chapters 13 (percentile intervals) and 16
(tests); the cluster version draws whole scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_UNITS = 200
"""Single pictures are drawn in at most so many random groups, which costs little precision and much less time."""

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0
MIN_SCENES = 10
"""With fewer scenes the percentiles say more about the few scenes than about others: no interval is given."""

Values = NDArray[np.float64]
Weights = NDArray[np.int32]
Scenes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals were made. `weights` is (R, S): how often each resample has each scene; None if `reason` is set.

    `unit` names what is drawn: scenes, pictures, or groups of pictures.
    """

    scenes: int
    weights: Weights | None
    reason: str | None
    unit: str = "scenes"

    def to_json(self) -> dict[str, Any]:
        """The form in `metrics.json`."""
        return {
            "method": f"percentile bootstrap over {self.unit}",
            "level": LEVEL,
            "resamples": 0 if self.weights is None else len(self.weights),
            "seed": SEED,
            "scenes": self.scenes,
            "reason": self.reason,
        }


def resample_scenes(scenes: int, *, unit: str = "scenes") -> Resampling:
    """The resamples of so many scenes, or other units, the same at every call."""
    if scenes < MIN_SCENES:
        reason = f"no intervals: too few {unit} to resample: {scenes}, at least {MIN_SCENES} are needed"
        return Resampling(scenes=scenes, weights=None, reason=reason, unit=unit)
    generator = np.random.default_rng(SEED)
    weights = generator.multinomial(scenes, np.full(scenes, 1 / scenes), size=RESAMPLES)
    return Resampling(scenes=scenes, weights=weights.astype(np.int32), reason=None, unit=unit)


def number_units(units: Sequence[str]) -> tuple[Scenes, int]:
    """The number of each sample's unit, (S,), and how many there are; many units stand in MAX_UNITS random groups."""
    names = sorted(set(units))
    places = np.arange(len(names))
    if len(names) > MAX_UNITS:
        places = np.random.default_rng(SEED).permutation(len(names)) % MAX_UNITS
    number = dict(zip(names, places.tolist(), strict=True))
    return np.array([number[unit] for unit in units], dtype=np.int64), min(len(names), MAX_UNITS)


def resample_ratios(sums: Values, counts: Values, scenes: Scenes, weights: Weights) -> Values:
    """Ratios of sums over the samples in each resample, (R, K); NaN where a denominator is 0.

    Args:
        sums, counts: (S, K) what each sample adds to numerators and denominators.
        scenes: (S,) the scene of each sample, from 0.
        weights: (R, C) how often each resample has each scene.
    """
    above, below = (
        weights.astype(np.float64) @ _by_scene(values, scenes, weights.shape[1]) for values in (sums, counts)
    )
    ratios: Values = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return ratios


def _by_scene(values: Values, scenes: Scenes, count: int) -> Values:
    columns = [np.bincount(scenes, weights=column, minlength=count) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((count, 0))


def interval(values: Values) -> tuple[float, float] | None:
    """The percentile interval of resampled numbers; None where any of them is undefined."""
    if not len(values) or np.isnan(values).any():
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def p_value(differences: Values) -> float:
    """The two-sided p-value of "no difference" from paired resampled differences.

    Twice the smaller share of resamples on either side of zero, one more resample counted on each side: never 0, and
    at most 1.
    """
    below, above = int((differences <= 0).sum()), int((differences >= 0).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + len(differences)))
