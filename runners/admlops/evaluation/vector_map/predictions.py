"""The map elements of records, in the patch frame that they are evaluated in."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from admlops.core.errors import RecordError
from admlops.datasets.nuscenes.vector_map import CENTERLINE, MAP_CLASSES, MapVector, ego_to_patch
from admlops.evaluation.metrics import LARGEST
from admlops.results.record import MapElement, MapElements, Metadata, decode_record
from admlops.results.run_folder import RunFolder

OTHER_TYPES = frozenset({CENTERLINE})
"""Element types that a record may hold and that a protocol may leave alone."""


Points = NDArray[np.float64]


class MapRecord(Protocol):
    """What is asked of a record."""

    @property
    def metadata(self) -> Metadata: ...
    @property
    def map_elements(self) -> list[MapElement] | UnsetType: ...


class LeanRecord(msgspec.Struct):
    """A record without its other tasks, which would fill the memory."""

    metadata: Metadata
    map_elements: MapElements | UnsetType = UNSET


_decode = msgspec.json.Decoder(LeanRecord).decode


def read_map_records(run: RunFolder) -> Iterator[LeanRecord]:
    """The map elements of every record of a run's complete scenes. Raises RecordError: a line is not a record."""
    for scene in run.complete_scenes():
        for line, where in run.lines_of(scene):
            try:
                yield _decode(line)
            except msgspec.DecodeError:
                decode_record(line, where=where)
                raise  # the two decoders differ: a mistake of this file, not of the user


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The predictions of one class in one sample, in the record's order: (M, 2) [m] each, confidences, record ids."""

    lines: tuple[Points, ...]
    confidences: NDArray[np.float64]
    ids: tuple[int, ...]


def read_all_predictions(
    records: Iterable[MapRecord],
    ground_truth: Mapping[str, Sequence[MapVector]],
    samples: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str],
) -> dict[str, dict[str, Predictions]]:
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
    record: MapRecord, sample: Mapping[str, Any], *, classes: Sequence[str] = MAP_CLASSES
) -> dict[str, Predictions]:
    """A record's elements by class, moved to the patch frame. Raises RecordError as `evaluate_map`."""
    elements = list(record.map_elements or [])
    for element in elements:
        if element.type not in classes and element.type not in OTHER_TYPES:
            raise RecordError(
                f"the record of sample {record.metadata.sample_token} has a map element {element.id} of type "
                f"{element.type!r}; the types are {', '.join((*classes, *sorted(OTHER_TYPES - {*classes})))}",
                hint=f"mend convert() in the adapter of {record.metadata.model_name} and run it again",
            )
    lines = _move_to_patch(record.metadata, elements, sample)
    by_class: dict[str, list[int]] = {name: [] for name in classes}
    for index, element in enumerate(elements):
        if element.type in by_class:
            by_class[element.type].append(index)
    return {
        name: Predictions(
            lines=tuple(lines[index] for index in indices),
            confidences=np.array([elements[index].confidence for index in indices], dtype=float),
            ids=tuple(elements[index].id for index in indices),
        )
        for name, indices in by_class.items()
    }


def _move_to_patch(meta: Metadata, elements: Sequence[MapElement], sample: Mapping[str, Any]) -> list[Points]:
    """All lines of a record in one go: converting them one by one would take most of the evaluation's time."""
    if not elements:
        return []
    points = ego_to_patch([point for element in elements for point in element.points], sample)
    ends = np.cumsum([len(element.points) for element in elements]).tolist()
    if np.abs(points).max() > LARGEST:
        first = int((np.abs(points) > LARGEST).any(axis=1).argmax())
        raise RecordError(
            f"the record of sample {meta.sample_token} has a map element {elements[bisect_right(ends, first)].id} with "
            f"a coordinate larger than {LARGEST:,.0f} m",
            hint=f"mend convert() in the adapter of {meta.model_name} and run it again",
        )
    return [points[start:end] for start, end in itertools.pairwise([0, *ends])]
