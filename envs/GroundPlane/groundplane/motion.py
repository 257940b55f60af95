"""Kalman filters for objects that may stand or move: both are followed, and the likelier one is believed.

A small form of multiple-model filtering: Bar-Shalom, Li, Kirubarajan, "Estimation with Applications to Tracking and
Navigation", Wiley 2001, chapter 11.
"""

import math
from typing import NamedTuple, Optional, Tuple

import numpy as np

SPEED_M_S = 7.0  # standard deviation of a vehicle's speed along its heading
DRIFT_M_S = 0.7  # ... and across it; of what has no heading, in any direction, PACE_M_S
PACE_M_S = 1.2
ACCELERATION_M_S2 = 1.5
CREEP_M = 0.05  # of what stands, for each step: sightings from new sides differ
STANDING_PRIOR = math.log(0.65 / 0.35)
MAX_ODDS = 6.0
MIN_SPEED_M_S = 0.8  # slower is standing


class Estimate(NamedTuple):
    """`still` (2,) with `still_spread` (2, 2): where it is if it stands [m]; `state` (4,) with `state_spread` (4, 4):
    place and velocity if it moves [m, m/s]; `odds` the log odds that it stands."""

    still: np.ndarray
    still_spread: np.ndarray
    state: np.ndarray
    state_spread: np.ndarray
    odds: float

    @property
    def moves(self) -> bool:
        """Whether it is likelier to move."""
        return self.odds < 0.0 and math.hypot(self.state[2], self.state[3]) >= MIN_SPEED_M_S

    @property
    def place(self) -> np.ndarray:
        """The likelier place (2,) [m]."""
        return self.state[:2] if self.moves else self.still

    @property
    def velocity(self) -> np.ndarray:
        """The likelier velocity (2,) [m/s]."""
        return self.state[2:] if self.moves else np.zeros(2)

    @property
    def deviation(self) -> float:
        """The standard deviation of the place along its least certain direction [m]."""
        spread = self.state_spread[:2, :2] if self.moves else self.still_spread
        return math.sqrt(max(0.0, float(np.linalg.eigvalsh(spread)[-1])))

    def distance(self, place: np.ndarray, spread: np.ndarray) -> Tuple[float, float]:
        """Squared Mahalanobis distance of a sighting to the nearer model, and its cost as -2 log likelihood."""
        still, still_cost = _surprise(place - self.still, self.still_spread + spread)
        moving, moving_cost = _surprise(place - self.state[:2], self.state_spread[:2, :2] + spread)
        share = 1.0 / (1.0 + math.exp(-self.odds))  # that it stands
        likelihood = share * math.exp(-0.5 * still_cost) + (1.0 - share) * math.exp(-0.5 * moving_cost)
        return min(still, moving), -2.0 * math.log(max(likelihood, 1e-300))


def first_estimate(place: np.ndarray, spread: np.ndarray, yaw: Optional[float]) -> Estimate:
    """After one sighting; vehicles (with a yaw [rad]) move along their heading, if they do."""
    state_spread = np.zeros((4, 4))
    state_spread[:2, :2] = spread
    if yaw is None:
        state_spread[2:, 2:] = PACE_M_S**2 * np.eye(2)
    else:
        along = np.array([math.cos(yaw), math.sin(yaw)])
        aside = np.array([-along[1], along[0]])
        state_spread[2:, 2:] = SPEED_M_S**2 * np.outer(along, along) + DRIFT_M_S**2 * np.outer(aside, aside)
    return Estimate(place, spread, np.concatenate([place, np.zeros(2)]), state_spread, STANDING_PRIOR)


def predicted(estimate: Estimate, gap_s: float) -> Estimate:
    """After some time without a sighting."""
    step = np.eye(4)
    step[0, 2] = step[1, 3] = gap_s
    push = np.array([[gap_s**2 / 2, 0.0], [0.0, gap_s**2 / 2], [gap_s, 0.0], [0.0, gap_s]])
    noise = ACCELERATION_M_S2**2 * push @ push.T
    return estimate._replace(
        still_spread=estimate.still_spread + CREEP_M**2 * np.eye(2),
        state=step @ estimate.state,
        state_spread=step @ estimate.state_spread @ step.T + noise,
    )


def updated(estimate: Estimate, place: np.ndarray, spread: np.ndarray) -> Estimate:
    """After a sighting at a place (2,) with a spread (2, 2)."""
    gap = place - estimate.still
    total = estimate.still_spread + spread
    _, still_cost = _surprise(gap, total)
    gain = estimate.still_spread @ np.linalg.inv(total)
    still, still_spread = estimate.still + gain @ gap, estimate.still_spread - gain @ estimate.still_spread
    gap = place - estimate.state[:2]
    total = estimate.state_spread[:2, :2] + spread
    _, moving_cost = _surprise(gap, total)
    gain = estimate.state_spread[:, :2] @ np.linalg.inv(total)
    state, state_spread = estimate.state + gain @ gap, estimate.state_spread - gain @ estimate.state_spread[:2]
    odds = float(np.clip(estimate.odds + 0.5 * (moving_cost - still_cost), -MAX_ODDS, MAX_ODDS))
    return Estimate(still, still_spread, state, state_spread, odds)


def _surprise(gap: np.ndarray, spread: np.ndarray) -> Tuple[float, float]:
    """Squared Mahalanobis distance, and -2 log of the density but for a constant."""
    squared = float(gap @ np.linalg.solve(spread, gap))
    return squared, squared + math.log(max(1e-12, float(np.linalg.det(spread))))
