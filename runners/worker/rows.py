"""Outputs whose rows are a set: equal scores change places at rounding errors, so rows are paired before they differ.

A detector of two stages gives a thousand boxes in the order of their scores, and what it says of each. A memory of
queries has the best ones first. Compared row by row, two that changed places differ by the whole picture, though
nothing is wrong. `Network.pair` of such a network returns what `pair_rows` or `keep_rows` makes of its outputs.
"""

from importlib import import_module
from typing import Any, List, Sequence, Tuple

from .network import Arrays, Paired

REACH = 1e-4
"""How far the two rows of a pair may be apart, over the range of all of them: as far as pixels may be, and no further.

Where suppression keeps the other of two boxes, these overlap: a pixel apart they would pass for one that is wrong.
"""


def pair_rows(names: Sequence[str], key: str, ours: Arrays, theirs: Arrays) -> Paired:
    """Pair rows by the output `key`, which tells them apart, and bring those of the outputs `names` into one order.

    Rows lie along the first axis. An output that has not as many as `key` stays as it is: its shape is the fault.
    """
    own, other = find_pairs(ours[key], theirs[key])
    fitting = [name for name in names if len(ours[name]) == len(ours[key]) and len(theirs[name]) == len(theirs[key])]
    return keep_rows(fitting, own, other, ours, theirs)


def keep_rows(
    names: Sequence[str], own: Sequence[int], other: Sequence[int], ours: Arrays, theirs: Arrays, *, axis: int = 0
) -> Paired:
    """Return the outputs with the rows `own` of ours and `other` of theirs alone, in this order; of all else, all."""
    numpy = import_module("numpy")
    left, right, unpaired = dict(ours), dict(theirs), {}
    for name in names:
        most = max(ours[name].shape[axis], theirs[name].shape[axis])
        if most:
            unpaired[name] = 1 - len(own) / most
            left[name] = numpy.take(ours[name], numpy.array(own, int), axis=axis)
            right[name] = numpy.take(theirs[name], numpy.array(other, int), axis=axis)
    return Paired(left, right, unpaired)


def find_pairs(ours: Any, theirs: Any) -> Tuple[Any, Any]:
    """Return the places of rows that belong together; those of one place first, then the nearest of the rest."""
    numpy = import_module("numpy")
    first, second = (one.reshape(len(one), -1).astype("float64") for one in (ours, theirs))
    if not len(first) or not len(second) or first.shape[1] != second.shape[1]:
        return numpy.zeros(0, int), numpy.zeros(0, int)
    reach = REACH * (float(numpy.ptp(second)) or 1.0)
    common = min(len(first), len(second))
    same = numpy.flatnonzero(numpy.abs(first[:common] - second[:common]).max(axis=1) <= reach)
    own, other = same.tolist(), same.tolist()
    rest = [_without(len(one), same) for one in (first, second)]
    if all(len(one) for one in rest):
        apart = numpy.abs(first[rest[0]][:, None] - second[rest[1]][None]).max(axis=-1)
        taken = _nearest_first(apart, reach)
        own += [int(rest[0][a]) for a, _ in taken]
        other += [int(rest[1][b]) for _, b in taken]
    return numpy.array(own, int), numpy.array(other, int)


def _without(count: int, places: Any) -> Any:
    numpy = import_module("numpy")
    return numpy.setdiff1d(numpy.arange(count), places)


def _nearest_first(apart: Any, reach: float) -> List[Tuple[int, int]]:
    """Take pairs from the nearest on, each row once; those that are not finite are never near."""
    numpy = import_module("numpy")
    near = numpy.argwhere(apart <= reach)
    order = numpy.argsort(apart[near[:, 0], near[:, 1]], kind="stable")
    taken, used, given = [], set(), set()
    for a, b in near[order].tolist():
        if a not in used and b not in given:
            taken.append((a, b))
            used.add(a)
            given.add(b)
    return taken
