"""How far apart two data sets are: a distance for each quantity that both have.

Counts of names (classes, light, rings of distance) are compared by the Jensen-Shannon distance, base 2: 0 where the
shares are equal, 1 where nothing is in both. Numbers (speed, objects a sample) are compared by the Wasserstein
distance of order 1, in the quantity's own unit: how far the values of one set have to be moved, on average, to be
those of the other.

Sources: Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 37 (1), 1991,
and its square root, a metric: Endres and Schindelin, A new metric for probability distributions, ibid. 49 (7), 2003;
Ramdas, García Trillos and Cuturi, On Wasserstein two-sample testing, Entropy 19 (2), 2017, eq. for p = 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from admlops.curation.statistics import CELL_AXES, Distribution, SetStatistics
from admlops.datasets.statistics import Statistics

GROUPS = ("light", "weather", "hour", "location")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The distance of one quantity between two sets; `n` are the values of each."""

    quantity: str
    distance: Literal["Jensen-Shannon", "Wasserstein"]
    value: float
    unit: str
    n: tuple[int, int]
    shares: Mapping[str, tuple[float, float]]
    """Of counts of names: the share of each in the first and in the second set."""


def find_differences(first: SetStatistics, second: SetStatistics) -> list[Difference]:
    """Compare two sets of tables; quantities that either lacks are left out."""
    found = []
    for place, axis in enumerate(CELL_AXES[:3]):
        counts = [_count(one, place) for one in (first, second)]
        found += _compare_names(axis if axis == "class" else f"{axis} of boxes", *counts)
    for name in GROUPS:
        if name not in first.lacking and name not in second.lacking:
            groups = ({value: own["samples"] for value, own in one.groups[name].items()} for one in (first, second))
            found += _compare_names(name, *groups)
    for section in ("driving", "per_sample", "tracks"):
        own, other = getattr(first, section), getattr(second, section)
        found += [
            one for name in own if name in other for one in _compare(_title(section, name), own[name], other[name])
        ]
    return found


def compare_pictures(first: Statistics, second: Statistics) -> list[Difference]:
    """Compare two sets of pictures."""
    found = _compare_names(
        "class", *({name: own.objects for name, own in one.classes.items()} for one in (first, second))
    )
    sizes = [
        {size: sum(getattr(own, size) for own in one.classes.values()) for size in ("small", "medium", "large")}
        for one in (first, second)
    ]
    found += _compare_names("size of boxes", *sizes)
    return [*found, *_compare_names("size of pictures", first.sizes, second.sizes)]


def _title(section: str, name: str) -> str:
    return {"per_sample": f"{name} a sample", "tracks": f"track {name}"}.get(section, name.replace("_", " "))


def _count(one: SetStatistics, place: int) -> dict[str, int]:
    counts = Counter[str]()
    for cell in one.cells:
        counts[cell.values[place]] += cell.boxes
    return dict(counts)


def _compare_names(quantity: str, first: Mapping[str, int], second: Mapping[str, int]) -> list[Difference]:
    """One difference, or none where a set has no values."""
    names = sorted({*first, *second})
    counts = [np.array([one.get(name, 0) for name in names], dtype=np.float64) for one in (first, second)]
    totals = [float(count.sum()) for count in counts]
    if not all(totals):
        return []
    shares = [count / total for count, total in zip(counts, totals, strict=True)]
    return [
        Difference(
            quantity=quantity,
            distance="Jensen-Shannon",
            value=float(np.nan_to_num(jensenshannon(*shares, base=2))),
            unit="",
            n=(int(totals[0]), int(totals[1])),
            shares={name: (float(shares[0][row]), float(shares[1][row])) for row, name in enumerate(names)},
        )
    ]


def _compare(quantity: str, first: Distribution, second: Distribution) -> list[Difference]:
    if not first.n or not second.n:
        return []
    return [
        Difference(
            quantity=quantity,
            distance="Wasserstein",
            value=float(wasserstein_distance(first.values, second.values)),
            unit=first.unit,
            n=(first.n, second.n),
            shares={},
        )
    ]


def to_json(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """Return plain values."""
    from dataclasses import asdict

    return [{**asdict(one), "n": list(one.n)} for one in differences]
