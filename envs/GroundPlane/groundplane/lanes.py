"""Lane lines: strokes of paint linked across the gaps of dashed and hidden lines."""

import math
from typing import Dict, List, NamedTuple, Sequence, Set, Tuple

import numpy as np

from .markings import Stroke, angle_between, end_headings

End = Tuple[int, int]  # stroke, and 0 for its first node or 1 for its last

MAX_GAP_M = 12.5  # dashes of 3 m with 9 m between them are the sparsest in use
MAX_BEND = math.radians(14)


class Line(NamedTuple):
    """A linked line: nodes (n, 2) [m] and the painted share of its length, 0..1."""

    nodes: np.ndarray
    painted: float

    @property
    def length(self) -> float:
        """Along the nodes [m]."""
        return polyline_length(self.nodes)


def polyline_length(nodes: np.ndarray) -> float:
    """Length [m] of a polyline (n, 2)."""
    return float(np.hypot(*np.diff(nodes, axis=0).T).sum())


def link(strokes: Sequence[Stroke], max_gap: float = MAX_GAP_M) -> List[Line]:
    """Join strokes end to end where each continues the other, nearest ends first."""
    partner: Dict[End, End] = {}
    for _, first, second in sorted(_candidate_links(strokes, max_gap)):
        if first in partner or second in partner or _closes_loop(partner, first, second):
            continue
        partner[first], partner[second] = second, first
    lines = []
    done: Set[int] = set()
    for index in range(len(strokes)):
        if index in done:
            continue
        chain = _walk(partner, index)
        done.update(item for item, _ in chain)
        pieces = [strokes[item].nodes if forward else strokes[item].nodes[::-1] for item, forward in chain]
        nodes = np.concatenate(pieces)
        painted = sum(strokes[item].length for item, _ in chain)
        lines.append(Line(nodes, min(1.0, painted / max(polyline_length(nodes), 1e-6))))
    return lines


def _candidate_links(strokes: Sequence[Stroke], max_gap: float) -> List[Tuple[float, End, End]]:
    """(cost, end, end) of the pairs of ends that could be one line."""
    if len(strokes) < 2:
        return []
    ends: List[End] = [(index, side) for index in range(len(strokes)) for side in (0, 1)]
    points = np.array([strokes[index].nodes[-side] for index, side in ends])
    headings = []
    for stroke in strokes:
        into, out = end_headings(stroke.nodes)
        headings += [into + math.pi, out]  # both leave the stroke
    heading = np.array(headings)
    leaving = np.column_stack([np.cos(heading), np.sin(heading)])
    step = points[None] - points[:, None]
    gap = np.hypot(step[..., 0], step[..., 1])
    ahead = np.einsum("ijk,ik->ij", step, leaving)
    aside = np.abs(leaving[:, None, 0] * step[..., 1] - leaving[:, None, 1] * step[..., 0])
    reach = np.array([min(1.0, strokes[index].length / 3.0) for index, _ in ends])
    allowed = 0.25 + (0.05 + 0.07 * reach[:, None]) * gap
    fits = (ahead > -0.5) & (aside < allowed)
    opposite = leaving @ leaving.T < -math.cos(MAX_BEND)
    owner = np.array([index for index, _ in ends])
    good = fits & fits.T & opposite & (gap < max_gap) & (owner[:, None] < owner[None])
    cost = gap + 4.0 * (aside + aside.T)
    return [(float(cost[i, j]), ends[i], ends[j]) for i, j in zip(*np.nonzero(good))]


def _closes_loop(partner: Dict[End, End], first: End, second: End) -> bool:
    """Whether linking two free ends would close a ring of strokes."""
    at = (first[0], 1 - first[1])
    while at in partner:
        following = partner[at]
        at = (following[0], 1 - following[1])
    return at == second


def _walk(partner: Dict[End, End], start: int) -> List[Tuple[int, bool]]:
    """The whole chain that a stroke belongs to: (stroke, traversed forward)."""
    at: End = (start, 0)
    while at in partner:
        following = partner[at]
        at = (following[0], 1 - following[1])
    chain = []
    while True:
        chain.append((at[0], at[1] == 0))
        leaving = (at[0], 1 - at[1])
        if leaving not in partner:
            return chain
        at = partner[leaving]


def leaving_heading(nodes: np.ndarray, span: float) -> float:
    """Direction [rad] in which a polyline leaves its last node, over its last `span` metres."""
    steps = np.hypot(*(nodes - nodes[-1]).T)
    far = np.flatnonzero(steps > span)
    delta = nodes[-1] - (nodes[far[-1]] if len(far) else nodes[0])
    return math.atan2(delta[1], delta[0])


def smooth(nodes: np.ndarray, spacing: float = 1.0) -> np.ndarray:
    """A cubic through the nodes (least squares) where they run along one axis, sampled every `spacing` metres."""
    center = nodes.mean(axis=0)
    _, vectors = np.linalg.eigh((nodes - center).T @ (nodes - center))
    axis = vectors[:, 1]
    if (nodes[-1] - nodes[0]) @ axis < 0:
        axis = -axis
    normal = np.array([-axis[1], axis[0]])
    along, across = (nodes - center) @ axis, (nodes - center) @ normal
    span = float(along.max() - along.min())
    if span < 1e-3:
        return nodes[[0, -1]]
    degree = 1 if span < 8 else 2 if span < 20 else 3
    scaled = along / span
    coefficients = np.polyfit(scaled, across, min(degree, len(nodes) - 1))
    residual = across - np.polyval(coefficients, scaled)
    if np.abs(residual).max() > 0.6:  # not a function of one axis: keep its shape
        return nodes
    samples = np.linspace(along.min(), along.max(), max(2, int(span / spacing) + 1))
    return np.asarray(center + samples[:, None] * axis + np.polyval(coefficients, samples / span)[:, None] * normal)


def drop_doubles(lines: List[Line], distance: float = 0.6) -> List[Line]:
    """Keep the longest of lines that run beside each other closer than `distance`: a double line is one divider."""
    kept: List[Line] = []
    for line in sorted(lines, key=lambda item: -item.length * item.painted):
        if not any(_runs_along(line.nodes, other.nodes, distance) for other in kept):
            kept.append(line)
    return kept


def _runs_along(nodes: np.ndarray, other: np.ndarray, distance: float) -> bool:
    dense = densify(other, 0.5)
    gaps = np.hypot(nodes[:, None, 0] - dense[None, :, 0], nodes[:, None, 1] - dense[None, :, 1]).min(axis=1)
    return bool(np.mean(gaps < distance) > 0.7)


def densify(nodes: np.ndarray, spacing: float) -> np.ndarray:
    """Points every `spacing` metres along a polyline, both ends included."""
    steps = np.hypot(*np.diff(nodes, axis=0).T)
    at = np.concatenate([[0.0], np.cumsum(steps)])
    if at[-1] <= 0:
        return nodes[:1]
    samples = np.linspace(0.0, at[-1], max(2, int(at[-1] / spacing) + 1))
    return np.column_stack([np.interp(samples, at, nodes[:, 0]), np.interp(samples, at, nodes[:, 1])])


def main_heading(strokes: Sequence[Stroke]) -> float:
    """The road's direction [rad]: the heading that most paint agrees with, else straight ahead."""
    if not strokes:
        return 0.0
    headings = np.array([item.heading for item in strokes])
    # Paint on the vehicle's own road runs its way more often than not; streaks that objects leave run anywhere.
    weights = np.array([min(item.length, 10.0) * math.exp(-angle_between(item.heading, 0.0) / 0.4) for item in strokes])
    votes = [sum(w for h, w in zip(headings, weights) if angle_between(h, base) < 0.12) for base in headings]
    best = headings[int(np.argmax(votes))]
    near = [(h, w) for h, w in zip(headings, weights) if angle_between(h, best) < 0.12]
    double = sum(w * complex(math.cos(2 * h), math.sin(2 * h)) for h, w in near)
    return math.atan2(double.imag, double.real) / 2
