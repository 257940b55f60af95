"""How far the outputs of two ways of running one network are apart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Arrays = Mapping[str, NDArray[Any]]
SCORES = ("scores_3d", "confidence", "map_scores_3d")
HEAD = ("all_bbox_preds", "all_cls_scores")
"""What a detection head gives for each of its queries: (layers, batch, queries, values)."""
GRAPH = "/record.lane_graph"
TOPOLOGY = {"lane_to_lane": ("lanes", "lanes"), "lane_to_traffic": ("lanes", "traffic_elements")}
"""The matrices of a lane graph, and the lists whose order their rows and columns have."""
IGNORED = (".id",)
"""Endings of names that say a row's place, not what the network gives."""


@dataclass
class Difference:
    """The largest absolute difference of each output, and the rows of sorted lists that stand elsewhere.

    Lists are sorted by score, and two rows of nearly one score may change places. Rows are matched before they are
    compared; `moved` counts those whose place differs, `exchanged` those at a list's end that the other list has not.
    A head that carries its best queries to the next frame orders them by score too: `moved_queries` counts those.
    """

    outputs: dict[str, float] = field(default_factory=dict)
    moved: int = 0
    moved_queries: int = 0
    exchanged: int = 0


def largest(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The largest absolute difference; infinite if the shapes differ or a value is no number."""
    if a.shape != b.shape:
        return float("inf")
    difference = np.abs(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).max(initial=0.0)
    return float(difference) if np.isfinite(difference) else float("inf")


def compare(ours: Arrays, theirs: Arrays) -> Difference:
    """Compare two sets of arrays, named `<sample>/<place>.<path>`, over all samples."""
    result = Difference()
    found: dict[str, float] = defaultdict(float)
    names = sorted((set(ours) | set(theirs)) - {"times"})
    theirs = _with_graphs_in_order(ours, _with_queries_in_order(ours, theirs, result), result)
    for group in _groups(names, ours):
        a, b = ({name: arrays[name] for name in group if name in arrays} for arrays in (ours, theirs))
        if a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
            found |= {_output(name): float("inf") for name in group}
            continue
        if len(group) > 1 and max(largest(a[name], b[name]) for name in group) > 0:
            b, kept = _match(a, b, result)
            a = {name: array[kept] for name, array in a.items()}
        for name in group:
            found[_output(name)] = max(found[_output(name)], largest(a[name], b[name]))
    result.outputs = {name: value for name, value in sorted(found.items()) if not name.endswith(IGNORED)}
    return result


def _with_queries_in_order(ours: Arrays, theirs: Arrays, result: Difference) -> Arrays:
    """`theirs`, the queries of each head in the places they have in `ours`: matched by what the last layer gives."""
    ordered = dict(theirs)
    for stem in {name.rpartition(".")[0] for name in ours if "/head." in name}:
        names = [f"{stem}.{last}" for last in HEAD]
        if not _alike(names, ours, theirs):
            continue
        order = _order(*([side[name][-1, 0] for name in names] for side in (ours, theirs)))
        result.moved_queries += _count_moved(order)
        ordered |= {name: theirs[name][:, :, order] for name in names}
    return ordered


def _with_graphs_in_order(ours: Arrays, theirs: Arrays, result: Difference) -> Arrays:
    """`theirs`, each lane graph's lanes and elements in the places they have in `ours`, and its matrices with them."""
    ordered = dict(theirs)
    for stem in {name.partition(GRAPH)[0] + GRAPH for name in ours if GRAPH in name}:
        orders = {}
        for things in ("lanes", "traffic_elements"):
            names = [name for name in ours if name.startswith(f"{stem}.{things}.") and not name.endswith(IGNORED)]
            if _alike(names, ours, theirs):
                orders[things] = _order(*([side[name] for name in names] for side in (ours, theirs)))
                result.moved += _count_moved(orders[things])
                ordered |= {name: theirs[name][orders[things]] for name in names}
        for last, (rows, columns) in TOPOLOGY.items():
            name = f"{stem}.{last}"
            if rows in orders and columns in orders and _alike([name], ours, theirs):
                ordered[name] = theirs[name][np.ix_(orders[rows], orders[columns])]
    return ordered


def _alike(names: Sequence[str], ours: Arrays, theirs: Arrays) -> bool:
    """Whether both have all of these, in the same shapes and with rows."""
    there = bool(names) and all(name in ours and name in theirs for name in names)
    return there and all(ours[name].shape == theirs[name].shape and ours[name].size for name in names)


def _order(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> NDArray[np.intp]:
    """For each row of ours the row of theirs that is it."""
    order: NDArray[np.intp] = linear_sum_assignment(_costs(ours, theirs))[1]
    return order


def _count_moved(order: NDArray[np.intp]) -> int:
    return int((order != np.arange(len(order))).sum())


def read_times(arrays: Arrays) -> dict[str, Any]:
    """What run_adapter.py measured."""
    times: dict[str, Any] = json.loads(str(arrays["times"]))
    return times


def _output(name: str) -> str:
    """The name without its sample."""
    return name.partition("/")[2]


def _groups(names: list[str], arrays: Arrays) -> list[list[str]]:
    """Names whose rows belong together, because they hang on one list with scores; every other name alone."""
    lists: dict[str, list[str]] = {}
    for name in names:
        stem, _, last = name.rpartition(".")
        if last in SCORES and name in arrays and arrays[name].ndim == 1 and len(arrays[name]) > 1:
            prefix = "map_" if last.startswith("map_") else ""
            rows = len(arrays[name])
            lists[name] = [
                other
                for other in names
                if other.startswith(f"{stem}.") and other in arrays and arrays[other].shape[:1] == (rows,)
                if other.removeprefix(f"{stem}.").startswith("map_") == bool(prefix) or "record" in stem
            ]
    together = {name for group in lists.values() for name in group}
    return [*lists.values(), *([name] for name in names if name not in together)]


def _match(a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]], result: Difference) -> tuple[Any, Any]:
    """`b` with its rows in the order of `a`'s, and which rows of `a` have a partner."""
    columns = [name for name in a if not name.endswith(IGNORED)]
    cost = _costs(*([side[name] for name in columns] for side in (a, b)))
    count = len(cost)
    rows, order = linear_sum_assignment(cost)
    partner = cost[rows, order] < 0.05
    last_first = np.zeros(count, dtype=bool)
    last_first[-max(1, count // 50) :] = True  # only the end of a list may hold what the other has not
    partner |= ~last_first[rows] | ~last_first[order]
    result.moved += int((rows[partner] != order[partner]).sum())
    result.exchanged += int((~partner).sum())
    kept = rows[partner]
    return {name: array[order[partner]] for name, array in b.items()}, kept


def _costs(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """How far each row of ours is from each of theirs, over all arrays, as a share of the array's largest value."""
    count = len(ours[0])
    cost = np.zeros((count, count))
    for a, b in zip(ours, theirs, strict=True):
        left, right = (np.asarray(side, dtype=np.float64).reshape(count, -1) for side in (a, b))
        scale = max(1e-6, float(np.abs(left).max(initial=0.0)))
        cost = np.maximum(cost, np.abs(left[:, None] - right[None]).max(axis=2) / scale)
    return cost
