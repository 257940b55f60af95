"""Records made from the ground truth of a data set: perfect ones, and worse ones on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from admlops.datasets.nuscenes.tables import GroundTruthBox, NuScenes
from admlops.datasets.nuscenes.vector_map import MapVector, patch_to_ego, sample_vectors
from admlops.results.record import Box3D, Detection3D, Failure, MapElement, Metadata, Outputs, Record
from admlops.results.record_json import make_record


def truth_record(data: NuScenes, token: str, *, noise: float = 0.0, seed: int = 0) -> Record:
    """Ground truth as a record; noise moves, drops and invents outputs.

    Without noise, boxes that no sensor touched are left out: they are not in the evaluator's ground truth.
    """
    rng = np.random.default_rng([seed, *token.encode()])
    boxes = [box for box in data.ground_truth(token) if rng.uniform() >= noise / 4]
    if not noise:
        boxes = [box for box in boxes if box.num_lidar_pts + box.num_radar_pts > 0]
    invented = data.ground_truth(token)[: int(4 * noise)]
    detections = [*(_shift(box, rng, noise) for box in boxes), *(_shift(box, rng, 8.0) for box in invented)]
    outputs = Outputs(
        detections_3d=[msgspec.structs.replace(box, id=index) for index, box in enumerate(detections)],
        map_elements=_noisy(elements_of(data, token), noise, rng),
    )
    return make_record(metadata(data, token), outputs)


def metadata(data: NuScenes, token: str, *, failed: bool = False) -> Metadata:
    sample = data.sample(token)
    return Metadata(
        model_name="Oracle",
        variant="modern",
        run="oracle",
        sample_token=token,
        scene=sample["scene"],
        index_in_scene=sample["index_in_scene"],
        status="failed" if failed else "ok",
        inference_time=None if failed else 0.05,
        end_to_end_time=None if failed else 0.08,
        failure=Failure(kind="data", message="unreadable", hint="look") if failed else msgspec.UNSET,
    )


def detection(box: GroundTruthBox, *, confidence: float = 1.0, id: int = 0) -> Detection3D:  # noqa: A002
    geometry = Box3D(center=box.center, size_wlh=box.size_wlh, rotation_wxyz=box.rotation_wxyz, velocity=box.velocity)
    return Detection3D(
        id=id, class_name=box.class_name, confidence=confidence, bbox_3d=geometry, attribute=box.attribute
    )


def vectors_in_ego(maps_root: Path, location: str, sample: Mapping[str, Any]) -> list[MapVector]:
    """`sample_vectors` in the record's ego frame (x forward, y left)."""
    vectors = sample_vectors(maps_root, location, sample)
    return [MapVector(type=vector.type, points=patch_to_ego(vector.points, sample)) for vector in vectors]


def elements_of(data: NuScenes, token: str) -> Sequence[MapElement]:
    sample = data.sample(token)
    vectors = vectors_in_ego(data.root / "maps", data.location(token), sample)
    return [
        MapElement(id=index, type=vector.type, points=[(x, y) for x, y in vector.points.tolist()], confidence=0.9)
        for index, vector in enumerate(vectors)
    ]


def _shift(box: GroundTruthBox, rng: np.random.Generator, noise: float) -> Detection3D:
    perfect = detection(box, confidence=1.0)
    center = np.array(box.center) + rng.normal(0, 1, 3) * noise
    velocity = None if box.velocity is None else np.array(box.velocity) + rng.normal(0, 1, 2) * noise
    geometry = {"center": center.tolist(), "velocity": None if velocity is None else velocity.tolist()}
    moved = msgspec.convert({**msgspec.to_builtins(perfect.bbox_3d), **geometry}, Box3D)
    confidence = round(float(np.clip(1.0 - 0.3 * noise * rng.uniform(), 0, 1)), 2)
    return msgspec.structs.replace(perfect, bbox_3d=moved, confidence=confidence)


def _noisy(elements: Sequence[MapElement], noise: float, rng: np.random.Generator) -> list[MapElement]:
    return [
        msgspec.structs.replace(
            element,
            points=[(x + noise * rng.normal(), y + noise * rng.normal()) for x, y in element.points],
            confidence=round(float(rng.uniform(0.3, 1.0)), 3) if noise else element.confidence,
        )
        for element in elements
    ]
