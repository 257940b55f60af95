"""Map elements in MapTR's form: `{"meta": …, "results": [{"sample_token": …, "vectors": [element, …]}, …]}`.

Elements lie in the patch frame (LiDAR, x right, y forward, metres). `type` says what one is, by number; `cls_name` does
not count. MapTRv2's files have a fourth type, centrelines; VAD's have the same under `map_results` (`vad.py`).

Source of what is taken: MapTR a6872d8, `projects/mmdet3d_plugin/datasets/nuscenes_map_dataset.py` (`_format_bbox`,
`_format_gt`) and `map_utils/mean_ap.py` (`get_cls_results`). That code pairs results with ground truth by their place
in the two lists; here they are paired by token, so a list in another order is evaluated right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from admlops.core.errors import UsageError
from admlops.datasets.base import Dataset
from admlops.datasets.nuscenes.vector_map import ego_to_patch, patch_to_ego
from admlops.evaluation.detection_3d.nuscenes_submission import META
from admlops.evaluation.metrics import LARGEST
from admlops.evaluation.run_outputs import read_records
from admlops.evaluation.submissions.base import Predictions, Sample, SubmissionFormat, Target, refuse
from admlops.evaluation.submissions.results_file import ResultsFile
from admlops.evaluation.vector_map.element_table import TYPE_INDEX, TYPES
from admlops.results.derived_structs import Take
from admlops.results.record import MapElement, Outputs
from admlops.results.replacing import replacing
from admlops.results.run_folder import RunFolder

LEAST_POINTS = 2


class Vector(msgspec.Struct, gc=False):
    """One element; a third coordinate does not count."""

    pts: list[list[float]]
    type: int
    confidence_level: float


class Entry(msgspec.Struct, gc=False):
    """The elements of a sample, not decoded."""

    sample_token: str
    vectors: msgspec.Raw


class MapPredictions:
    """The map elements of a file, decoded sample by sample; `vectors` by token."""

    def __init__(self, file: ResultsFile, vectors: Mapping[str, msgspec.Raw]) -> None:
        self._file = file
        self._vectors = vectors
        self._short = 0
        self.tokens = list(vectors)

    @property
    def notes(self) -> list[str]:
        """Say how many elements do not count."""
        short = (
            f"{self._short} map elements of fewer than {LEAST_POINTS} points are left out, as MapTR's evaluator does"
        )
        return [short] if self._short else []

    def outputs(self, token: str, sample: Sample) -> Outputs:
        """Return the elements of a sample in its ego frame. Raises UsageError: see `base.Predictions`."""
        vectors = self._file.decode(self._vectors[token], list[Vector], f"sample {token}")
        elements, self_short = to_elements(vectors, sample, self._file.path, token)
        self._short += self_short
        return Outputs(map_elements=elements)


def to_elements(vectors: Sequence[Vector], sample: Sample, file: Path, token: str) -> tuple[list[MapElement], int]:
    """Return the elements in the ego frame, and how many had too few points. Raises UsageError."""
    elements, short = [], 0
    for index, vector in enumerate(vectors):
        entry = f"sample {token}, element {index}"
        if not 0 <= vector.type < len(TYPES):
            raise refuse(file, entry, f"type is {vector.type}; {', '.join(f'{i} is {n}' for i, n in enumerate(TYPES))}")
        if len(vector.pts) < LEAST_POINTS:
            short += 1
            continue
        elements.append(
            MapElement(
                id=index,
                type=TYPES[vector.type],
                points=_to_ego(vector.pts, sample, file, entry),
                confidence=vector.confidence_level,
            )
        )
    return elements, short


def _to_ego(points: list[list[float]], sample: Sample, file: Path, entry: str) -> list[tuple[float, float]]:
    try:
        array = np.array(points, dtype=np.float64)
    except ValueError:
        array = np.zeros((0, 0))
    if array.ndim != 2 or array.shape[1] not in (2, 3):
        raise refuse(file, entry, "pts are not all pairs x, y")
    if not (np.abs(array) <= LARGEST).all():
        raise refuse(file, entry, f"a coordinate is not finite, or larger than {LARGEST:,.0f} m")
    return [(x, y) for x, y in patch_to_ego(array[:, :2], sample).tolist()]


def read_entries(file: ResultsFile, content: Any, where: str) -> dict[str, msgspec.Raw]:
    """Return by token the elements of a list of samples. Raises UsageError: it is no list, or repeats a sample."""
    found: dict[str, msgspec.Raw] = {}
    for index, entry in enumerate(file.decode(content, list[Entry], where)):
        if entry.sample_token in found:
            raise file.complain(f"{where}, entry {index}: sample {entry.sample_token} is there twice")
        found[entry.sample_token] = entry.vectors
    return found


def _recognise(file: ResultsFile) -> bool:
    if not file.is_object or "results" not in file.top:
        return False
    first = file.peek(file.top["results"])
    return isinstance(first, dict) and "vectors" in first


def _read(file: ResultsFile, target: Target) -> Predictions:
    return MapPredictions(file, read_entries(file, file.top.get("results", b"[]"), "'results'"))


def vectors_of(run: RunFolder, data: Dataset) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each sample's token and its elements in MapTR's form. Raises UsageError: the run has no map elements."""
    has_elements = False
    for record in read_records(run, {"map_elements": Take.WHOLE}):
        token, found = record.metadata.sample_token, record.map_elements
        has_elements |= found is not UNSET
        sample = data.sample(token) if found else {}
        yield token, [] if found is UNSET else [_to_vector(one, sample) for one in found]
    if not has_elements:
        raise UsageError(
            f"{run.path.name} has no map elements: {run.header.model} does not do that task, or no scene is complete",
            hint=f"admlops results show {run.path.name}",
        )


def _to_vector(element: Any, sample: Sample) -> dict[str, Any]:
    points = ego_to_patch(element.points, sample)
    return {
        "pts": points.tolist(),
        "pts_num": len(points),
        "cls_name": element.type,
        "type": TYPE_INDEX[element.type],
        "confidence_level": element.confidence,
    }


def write(run: RunFolder, data: Dataset, out: Path, truth_2d: Path | None = None) -> int:
    """Write the map elements of a run, and return the number of samples. Raises as `vectors_of`, and StorageError."""
    results = [{"sample_token": token, "vectors": vectors} for token, vectors in vectors_of(run, data)]
    with replacing(out) as temporary:
        temporary.write_text(json.dumps({"meta": META, "results": results}))
    return len(results)


FORMAT = SubmissionFormat(
    id="maptr",
    title="MapTR's or MapTRv2's map results (JSON)",
    looks_for='{"results": [{"sample_token": …, "vectors": [{"pts": …, "type": …, "confidence_level": …}]}]}',
    kinds=("nuscenes",),
    recognise=_recognise,
    read=_read,
    write=write,
)
