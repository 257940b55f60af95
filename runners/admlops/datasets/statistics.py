"""What a data set holds, in numbers: samples, pictures and their sizes, objects by class, boxes by size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.types import Watch
from admlops.datasets.base import Dataset, HasBoxes2D, HasCounts

SMALL_PX2, LARGE_PX2 = 32.0**2, 96.0**2
"""COCO's limits [pixels²]: an object is small below the first, large from the second on."""
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(kw_only=True)
class ClassStatistics:
    """The objects of one class; `pictures` have one or more. Ignored regions are counted apart."""

    objects: int = 0
    pictures: int = 0
    ignored: int = 0
    small: int = 0
    medium: int = 0
    large: int = 0
    width_px: dict[str, float] = field(default_factory=dict)
    height_px: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Statistics:
    """The numbers of a data set; `sizes` counts pictures by `WIDTHxHEIGHT`, `unreadable` those without a size."""

    scenes: int = 0
    samples: int = 0
    pictures: int = 0
    unreadable: int = 0
    annotated: int = 0
    without_objects: int = 0
    counted: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    classes: dict[str, ClassStatistics] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def measure(data: Dataset, watch: Watch, *, chosen: Collection[str] | None = None) -> Statistics:
    """Count everything; `watch` gets the samples done and their total.

    Args:
        chosen: the tokens of the samples to look at; all if None.

    Raises:
        DataError: a label cannot be read.
    """
    own = [[token for token in scene.samples if chosen is None or token in chosen] for scene in data.scenes()]
    tokens = [token for samples in own for token in samples]
    found = Statistics(scenes=sum(map(bool, own)), samples=len(tokens))
    sizes, counts = Counter[str](), Counter[str]()
    sides: dict[str, list[NDArray[np.float64]]] = {}
    for number, token in enumerate(tokens, 1):
        _measure_cameras(data.sample(token)["cameras"].values(), found, sizes)
        if isinstance(data, HasBoxes2D) and "boxes_2d" in data.capabilities:
            _measure_boxes(data, token, found, sides)
        if isinstance(data, HasCounts) and "counts" in data.capabilities:
            held = data.object_counts(token)
            found.counted += held is not None
            counts.update(held or {})
        watch(number, len(tokens))
    found.sizes, found.counts = dict(sizes.most_common()), dict(counts)
    for name, parts in sides.items():
        _summarize(found.classes[name], np.concatenate(parts))
    return found


def _measure_cameras(cameras: Iterable[Mapping[str, Any]], found: Statistics, sizes: Counter[str]) -> None:
    for camera in cameras:
        found.pictures += 1
        if camera["width"] and camera["height"]:
            sizes[f"{camera['width']}x{camera['height']}"] += 1
        else:
            found.unreadable += 1


def _measure_boxes(
    data: HasBoxes2D, token: str, found: Statistics, sides: dict[str, list[NDArray[np.float64]]]
) -> None:
    for annotation in data.image_annotations(token).values():
        found.annotated += 1
        found.without_objects += not (~annotation.ignore).any()
        names = np.array(annotation.classes, dtype=object)
        for name in dict.fromkeys(annotation.classes):
            own = found.classes.setdefault(name, ClassStatistics())
            counted = (names == name) & ~annotation.ignore
            own.ignored += int(((names == name) & annotation.ignore).sum())
            if not counted.any():
                continue
            areas = annotation.areas[counted]
            own.objects += int(counted.sum())
            own.pictures += 1
            own.small += int((areas < SMALL_PX2).sum())
            own.large += int((areas >= LARGE_PX2).sum())
            boxes = annotation.boxes[counted]
            sides.setdefault(name, []).append(boxes[:, 2:] - boxes[:, :2])


def _summarize(own: ClassStatistics, sides: NDArray[np.float64]) -> None:
    own.medium = own.objects - own.small - own.large
    names = [f"p{round(100 * share)}" for share in QUANTILES]
    for target, values in ((own.width_px, sides[:, 0]), (own.height_px, sides[:, 1])):
        target.update(zip(names, np.quantile(values, QUANTILES).round(2).tolist(), strict=True))
