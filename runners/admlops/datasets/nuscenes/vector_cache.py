"""Ground-truth vectors kept on disk, found again by what they were made of and never by a name.

The name of a cache file is the sha256 over everything that decides its content: the bytes of the map's JSON file, the
pose of every sample in order, the patch, the classes and the version of the code that cuts. A changed map or another
choice of samples therefore never meets an old file. Files are arrays without pickles; one that cannot be read is made
anew.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from admlops.core.nuscenes_classes import CENTERLINE, MAP_CLASSES
from admlops.core.storage import file_sha256, write_atomically
from admlops.datasets.nuscenes.vector_map import (
    PATCH_SIZE_M,
    MapVector,
    PatchPose,
    load_map,
    local_vectors,
    patch_pose,
)

VERSION = 1
"""Raise it whenever `vector_map` or `centerlines` cuts differently."""

TYPES = (*MAP_CLASSES, CENTERLINE)

Vectors = dict[str, list[MapVector]]


def cached_vectors(
    maps_root: Path,
    samples: Mapping[str, tuple[str, Mapping[str, Any]]],
    *,
    cache: Path,
    centerlines: bool = False,
) -> Vectors:
    """`sample_vectors` of many samples, by token in their order.

    Args:
        maps_root: the data set's `maps` folder.
        samples: by token, the location and the sample in the shape of docs/architecture.md.
        cache: the folder of the cache files, made if it is missing.
        centerlines: whether to add MapTRv2's fourth class.

    Raises:
        DataError: a map is missing, older than version 1.3 or not whole.
        StorageError: the cache cannot be written.
    """
    found: Vectors = {}
    for location in dict.fromkeys(location for location, _ in samples.values()):
        poses = {token: patch_pose(sample) for token, (place, sample) in samples.items() if place == location}
        found |= _of_location(maps_root, location, poses, cache, centerlines)
    return {token: found[token] for token in samples}


def _of_location(
    maps_root: Path, location: str, poses: Mapping[str, PatchPose], cache: Path, centerlines: bool
) -> Vectors:
    map_path = maps_root / "expansion" / f"{location}.json"
    if not map_path.is_file():
        load_map(map_path)  # says what is missing and what to do
    path = cache / f"{_digest(map_path, list(poses.values()), centerlines)}.npz"
    kept = _read(path, len(poses))
    if kept is None:
        kept = [
            local_vectors(maps_root, location, translation=pose.translation, yaw=pose.yaw, centerlines=centerlines)
            for pose in poses.values()
        ]
        cache.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _encode(kept))
    return dict(zip(poses, kept, strict=True))


def _digest(map_path: Path, poses: Sequence[PatchPose], centerlines: bool) -> str:
    """The hash of the map's content, the poses and the parameters."""
    numbers = np.array([(*pose.translation, pose.yaw) for pose in poses], dtype="<f8")
    parameters = f"{VERSION} {file_sha256(map_path)} {PATCH_SIZE_M} {centerlines} "
    return hashlib.sha256(parameters.encode() + numbers.tobytes()).hexdigest()


def _encode(samples: Sequence[Sequence[MapVector]]) -> bytes:
    vectors = [vector for own in samples for vector in own]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        counts=np.array([len(own) for own in samples], dtype=np.int64),
        types=np.array([TYPES.index(vector.type) for vector in vectors], dtype=np.int8),
        sizes=np.array([len(vector.points) for vector in vectors], dtype=np.int64),
        points=np.concatenate([np.zeros((0, 2)), *(vector.points for vector in vectors)]),
    )
    return buffer.getvalue()


def _read(path: Path, samples: int) -> list[list[MapVector]] | None:
    """The vectors of each sample, or None where the file is not there or broken."""
    try:
        with np.load(path, allow_pickle=False) as file:
            counts, types, sizes, points = (file[name] for name in ("counts", "types", "sizes", "points"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if len(counts) != samples or counts.sum() != len(sizes) or sizes.sum() != len(points):
        return None
    lines = np.split(points, np.cumsum(sizes)[:-1]) if len(sizes) else []
    vectors = [MapVector(type=TYPES[kind], points=line) for kind, line in zip(types.tolist(), lines, strict=True)]
    ends = np.cumsum(counts).tolist()
    return [vectors[end - count : end] for end, count in zip(ends, counts.tolist(), strict=True)]
