"""The map elements of records as arrays, and their way into the patch frame that they are evaluated in."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from admlops.core.errors import RecordError
from admlops.core.nuscenes_classes import CENTERLINE, MAP_CLASSES
from admlops.datasets.nuscenes.vector_map import MapVector, ego_to_patch
from admlops.evaluation.metrics import LARGEST
from admlops.results.record import Metadata, PartialRecord, Record

TYPES = (*MAP_CLASSES, CENTERLINE)
TYPE_INDEX = {name: index for index, name in enumerate(TYPES)}

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Elements:
    """The E map elements of one record, in its order.

    Attributes:
        points: (P, 2) [m] of all elements, ego frame. ends: (E,) where each element's points end.
        types: (E,) index into TYPES. confidences: (E,). ids: (E,) in the record.
    """

    points: Points
    ends: NDArray[np.int64]
    types: NDArray[np.int8]
    confidences: Points
    ids: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The predictions of one class in one sample, in the record's order: (M, 2) [m] each, confidences, record ids."""

    lines: tuple[Points, ...]
    confidences: NDArray[np.float64]
    ids: tuple[int, ...]


class ElementTable:
    """The map elements of a run, record after record; verbatim those of a submission, with confidences of any size."""

    def __init__(self, *, verbatim: bool = False) -> None:
        self._verbatim = verbatim
        self.records: list[Elements] = []
        self.has_centerlines = False

    def add(self, record: PartialRecord) -> None:
        """Take the next record.

        Raises:
            RecordError: an element has a type that no protocol knows, or a model's confidence is not 0 to 1.
        """
        elements = read_elements(record)
        sure = elements.confidences
        if not self._verbatim and not ((sure >= 0) & (sure <= 1)).all():
            meta = record.metadata
            raise RecordError(
                f"the record of sample {meta.sample_token} ({meta.scene}) has a map element whose confidence is not "
                "0 to 1",
                hint=f"mend convert() in the adapter of {meta.model_name} and run it again",
            )
        self.has_centerlines |= bool((elements.types == TYPE_INDEX[CENTERLINE]).any())
        self.records.append(elements)

    def predictions(
        self, metadata: Sequence[Metadata], samples: Mapping[str, Mapping[str, Any]], classes: Sequence[str]
    ) -> dict[str, dict[str, Predictions]]:
        """Return by sample token and class the elements in the patch frame; `metadata` is of the records, in order."""
        return {
            entry.sample_token: move_to_patch(own, entry, samples[entry.sample_token], classes=classes)
            for entry, own in zip(metadata, self.records, strict=True)
        }

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all elements, one record after another, for `extend` of a table in another process."""
        columns = {name: [getattr(own, name) for own in self.records] for name in _EMPTY.__dataclass_fields__}
        joined = {name: np.concatenate([getattr(_EMPTY, name), *parts]) for name, parts in columns.items()}
        return {
            **joined,
            "sizes": np.array([len(own.ids) for own in self.records], dtype=np.int64),
            "point_counts": np.array([len(own.points) for own in self.records], dtype=np.int64),
        }

    def extend(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append the elements of the records that come after these."""
        ends, point_ends = np.cumsum(arrays["sizes"]), np.cumsum(arrays["point_counts"])
        named = ("ends", "types", "confidences", "ids")
        split = {name: np.split(arrays[name], ends[:-1]) for name in named}
        points = np.split(arrays["points"], point_ends[:-1])
        for index in range(len(ends)):
            own = {name: parts[index] for name, parts in split.items()}
            self.records.append(Elements(points=points[index], **own))
        self.has_centerlines |= bool((arrays["types"] == TYPE_INDEX[CENTERLINE]).any())


_EMPTY = Elements(
    points=np.zeros((0, 2)),
    ends=np.zeros(0, np.int64),
    types=np.zeros(0, np.int8),
    confidences=np.zeros(0),
    ids=np.zeros(0, np.int64),
)


def read_elements(record: PartialRecord | Record) -> Elements:
    """Return the elements of a record. Raises RecordError: one has a type that no protocol knows."""
    found: Any = record.map_elements
    if found is UNSET or not found:
        return _EMPTY
    for element in found:
        if element.type not in TYPE_INDEX:
            meta = record.metadata
            raise RecordError(
                f"the record of sample {meta.sample_token} ({meta.scene}) has a map element {element.id} of type "
                f"{element.type!r}; the types are {', '.join(TYPES)}",
                hint=f"mend convert() in the adapter of {meta.model_name} and run it again",
            )
    sizes = [len(element.points) for element in found]
    flat = itertools.chain.from_iterable(itertools.chain.from_iterable(element.points for element in found))
    return Elements(
        points=np.fromiter(flat, np.float64, 2 * sum(sizes)).reshape(-1, 2),
        ends=np.cumsum(sizes),
        types=np.array([TYPE_INDEX[element.type] for element in found], dtype=np.int8),
        confidences=np.array([element.confidence for element in found], dtype=np.float64),
        ids=np.array([element.id for element in found], dtype=np.int64),
    )


def read_all_predictions(
    records: Iterable[PartialRecord | Record],
    ground_truth: Mapping[str, Sequence[MapVector]],
    samples: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str],
) -> dict[str, dict[str, Predictions]]:
    """Return by sample token and class the elements of records, in the patch frame. Raises as `evaluate_map`."""
    found: dict[str, dict[str, Predictions]] = {}
    for record in records:
        token = record.metadata.sample_token
        if token in found or token not in ground_truth:
            reason = "has two records" if token in found else "is not among the samples evaluated"
            raise RecordError(
                f"sample {token} {reason}", hint=f"admlops results verify {record.metadata.run}   # what the run holds"
            )
        found[token] = read_predictions(record, samples[token], classes=classes)
    return found


def read_predictions(
    record: PartialRecord | Record, sample: Mapping[str, Any], *, classes: Sequence[str] = MAP_CLASSES
) -> dict[str, Predictions]:
    """Return a record's elements by class, moved to the patch frame. Raises RecordError as `evaluate_map`."""
    return move_to_patch(read_elements(record), record.metadata, sample, classes=classes)


def move_to_patch(
    elements: Elements, meta: Metadata, sample: Mapping[str, Any], *, classes: Sequence[str]
) -> dict[str, Predictions]:
    """Return the elements by class in the patch frame: all points in one go, because one by one takes most of the time.

    Raises:
        RecordError: a coordinate is too large to be measured.
    """
    ends = elements.ends.tolist()
    points = ego_to_patch(elements.points, sample) if ends else elements.points
    if ends and np.abs(points).max() > LARGEST:
        first = int((np.abs(points) > LARGEST).any(axis=1).argmax())
        raise RecordError(
            f"the record of sample {meta.sample_token} ({meta.scene}) has a map element "
            f"{elements.ids[bisect_right(ends, first)]} with a coordinate larger than {LARGEST:,.0f} m",
            hint=f"mend convert() in the adapter of {meta.model_name} and run it again",
        )
    lines = [points[start:end] for start, end in itertools.pairwise([0, *ends])]
    found = {}
    for name in classes:
        own = np.flatnonzero(elements.types == TYPE_INDEX[name])
        found[name] = Predictions(
            lines=tuple(lines[index] for index in own.tolist()),
            confidences=elements.confidences[own],
            ids=tuple(elements.ids[own].tolist()),
        )
    return found
