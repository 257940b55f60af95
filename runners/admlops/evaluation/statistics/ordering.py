"""Orders of scores: from the highest down, and what equal scores leave open."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]

INDEX_BITS = np.uint64(32)
INDEX = np.uint64(0xFFFF_FFFF)


def order_descending(scores: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Indices of `scores` (N,), from the highest down; equal ones stay in their order.

    Equal to `argsort(-scores, kind="stable")`, some nine times as fast: NumPy sorts numbers by vector instructions and
    merges in a stable sort without any. So ranks come from the former; then rank and index, packed into one integer,
    put equal scores into their order.
    """
    if len(scores) < 2:
        return np.arange(len(scores))
    order = np.argsort(-scores)
    rank = np.cumsum(_begins(scores[order]), dtype=np.uint64)
    packed = rank << INDEX_BITS | order.astype(np.uint64)
    packed.sort()
    return (packed & INDEX).astype(np.intp)


def order_ties(ranked: NDArray[np.floating[Any]], positive: Bools) -> tuple[Bools, Bools] | None:
    """`positive` with the true ones last, and first, among equal scores; None where no two scores are equal.

    Both arguments are (N,), in the order of descending scores.
    """
    if not (ranked[1:] == ranked[:-1]).any():
        return None
    begins = _begins(ranked)
    starts = np.flatnonzero(begins)
    group = np.cumsum(begins) - 1
    hits = np.add.reduceat(positive, starts, dtype=np.intp)
    sizes = np.diff(np.append(starts, len(ranked)))
    place = np.arange(len(ranked)) - starts[group]
    return place >= (sizes - hits)[group], place < hits[group]


def _begins(ranked: NDArray[np.floating[Any]]) -> Bools:
    """Where a score differs from the one before it, (N,)."""
    begins: Bools = np.append(True, ranked[1:] != ranked[:-1])
    return begins
