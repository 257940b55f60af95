"""Corruption errors and resilience rates, by RoboBEV's definition, with intervals where the runs were resampled.

With a score m (NDS of boxes, mAP of maps), faults i and levels l:

    CE_i = Σ_l (1 - m_il) / Σ_l (1 - m_il of the baseline)      mCE = mean of CE_i
    RR_i = Σ_l m_il / (levels · m_clean)                        mRR = mean of RR_i

Less mCE is better, more mRR. All runs of a grid are resampled with the same scenes, so a rate's interval is that of the
ratio, and two models' rates are compared in pairs.

Source: RoboBEV (arXiv 2304.06719), docs/RESULTS.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from admlops.evaluation.statistics.bootstrap import Values, interval, p_value

Grid = Mapping[str, Sequence[float]]
"""By fault, a score at each level."""
Resampled = Mapping[str, Sequence[Values]]
"""By fault, the score in each resample at each level, (R,) each."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Rates as shares: 1 is what a model without loss has (RR), or what the baseline has (CE)."""

    resilience: Mapping[str, float]
    errors: Mapping[str, float]

    @property
    def mrr(self) -> float | None:
        """The mean resilience rate; None without faults."""
        return _mean(self.resilience)

    @property
    def mce(self) -> float | None:
        """The mean corruption error; None without a baseline."""
        return _mean(self.errors)

    def to_json(self) -> dict[str, Any]:
        """The form in robustness.json, in percent as the benchmark prints them."""
        return {
            "mRR": _percent(self.mrr),
            "mCE": _percent(self.mce),
            "RR": {name: _percent(value) for name, value in self.resilience.items()},
            "CE": {name: _percent(value) for name, value in self.errors.items()},
        }


def rate(clean: float, grid: Grid, baseline: Grid | None = None) -> Rates:
    """Return the rates of a grid of scores.

    Args:
        baseline: the baseline's scores; a fault that it lacks, or has at other levels, has no error.
    """
    resilience = {name: float(np.mean(row)) / clean for name, row in grid.items() if clean > 0}
    known = {} if baseline is None else baseline
    errors = {
        name: float(np.sum(1 - np.asarray(row)) / np.sum(1 - np.asarray(known[name])))
        for name, row in grid.items()
        if name in known and len(known[name]) == len(row)
    }
    return Rates(resilience=resilience, errors=errors)


def resampled_mrr(clean: Values, grid: Resampled) -> Values | None:
    """The mean resilience rate in each resample, (R,); None where a clean score is 0 in one, or lengths differ."""
    rows = [values for row in grid.values() for values in row]
    if not rows or any(len(values) != len(clean) for values in rows) or not (clean > 0).all():
        return None
    rates: Values = np.mean([np.mean(row, axis=0) / clean for row in grid.values()], axis=0)
    return rates


def resampled_mce(grid: Resampled, baseline: Grid | Resampled) -> Values | None:
    """The mean corruption error in each resample, (R,).

    None where nothing is in common with the baseline, lengths differ, or the baseline has no error in a resample.

    Args:
        baseline: by fault the score at each level: numbers of a published table, or paired resamples.
    """
    common = [name for name, row in grid.items() if name in baseline and len(baseline[name]) == len(row)]
    if not common or len({len(values) for name in common for values in grid[name]}) > 1:
        return None
    errors = []
    for name in common:
        own, other = (np.sum([1 - np.asarray(values) for values in rows[name]], axis=0) for rows in (grid, baseline))
        if other.shape not in ((), own.shape) or not np.all(other > 0):
            return None
        errors.append(own / other)
    rates: Values = np.mean(errors, axis=0)
    return rates


def difference(a: Values, b: Values) -> dict[str, Any]:
    """b - a of paired resamples: the interval and the p-value."""
    between = interval(b - a)
    return {"interval": None if between is None else list(between), "p_value": p_value(b - a)}


def _mean(values: Mapping[str, float]) -> float | None:
    return float(np.mean(list(values.values()))) if values else None


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
