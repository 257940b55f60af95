"""Ground truth of map elements from a file in MapTR's form, such as `nuscenes_map_anns_val.json`.

`{"GTs": [{"sample_token": …, "vectors": [{"pts": [[x, y], …], "type": 0, …}, …]}, …]}`, in the patch frame; `type` is a
number, `cls_name` does not count. Samples are found by their token, and samples outside the run are passed over.

Source: MapTR a6872d8, `projects/mmdet3d_plugin/datasets/nuscenes_map_dataset.py` (`_format_gt`).
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from admlops.core.counting import count_of
from admlops.core.errors import DataError
from admlops.core.nuscenes_classes import CENTERLINE, MAP_CLASSES
from admlops.core.storage import file_sha256
from admlops.datasets.nuscenes.vector_map import MapVector

TYPES = (*MAP_CLASSES, CENTERLINE)


class _Vector(msgspec.Struct, gc=False):
    pts: list[list[float]]
    type: int


class _Entry(msgspec.Struct, gc=False):
    sample_token: str
    vectors: msgspec.Raw


class _File(msgspec.Struct):
    entries: list[_Entry] = msgspec.field(name="GTs")


@dataclass(frozen=True, kw_only=True)
class ReadyTruth:
    """By sample token the elements of a file, and the file's sha256: numbers compare only where it is the same."""

    vectors: Mapping[str, Sequence[MapVector]]
    sha256: str


def read_map_truth(path: Path, tokens: Sequence[str]) -> ReadyTruth:
    """Read the ground truth of samples.

    Raises:
        DataError: the file cannot be read, is not of MapTR's form, or lacks a sample.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _decode(content, set(tokens), path)
    except ValueError as error:  # what mmap says of an empty file
        raise _wrong(path, "it is empty") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
    missing = [token for token in tokens if token not in found]
    if missing:
        raise DataError(
            f"{path} has no ground truth of {len(missing)} of {count_of(len(tokens), 'sample')}, such as {missing[0]}",
            hint="pass the file of the split that the results are of",
        )
    return ReadyTruth(vectors=found, sha256=file_sha256(path))


def _decode(content: mmap.mmap, wanted: set[str], path: Path) -> dict[str, list[MapVector]]:
    try:
        entries = msgspec.json.decode(content, type=_File).entries
        decode = msgspec.json.Decoder(list[_Vector]).decode
        vectors = {one.sample_token: decode(one.vectors) for one in entries if one.sample_token in wanted}
        del entries  # they are parts of `content`, which is about to close
    except msgspec.DecodeError as error:
        raise _wrong(path, str(error)) from error
    return {token: [_vector(one, path, token) for one in own] for token, own in vectors.items()}


def _vector(one: _Vector, path: Path, token: str) -> MapVector:
    if not 0 <= one.type < len(TYPES):
        raise _wrong(path, f"sample {token} has an element of type {one.type}")
    points = np.array(one.pts, dtype=np.float64) if len({len(point) for point in one.pts}) == 1 else np.zeros(0)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or len(points) < 2:
        raise _wrong(path, f"sample {token} has an element that is no line of two or more points")
    return MapVector(type=TYPES[one.type], points=points[:, :2])


def _wrong(path: Path, what: str) -> DataError:
    return DataError(
        f"{path} is no ground truth in MapTR's form: {what}", hint="docs/submissions.md shows what the file holds"
    )
