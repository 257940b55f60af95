"""Runs with plans and predicted futures, made of the ground truth and moved away from it on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from admlops.core.nuscenes_classes import MMDET3D_CLASSES
from admlops.datasets.nuscenes.tables import NuScenes, rotation_matrix
from admlops.datasets.nuscenes.vector_map import patch_to_ego
from admlops.evaluation.trajectories.arrays import MotionTruth
from admlops.evaluation.trajectories.ground_truth import MotionGroundTruth
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.record import Box3D, Detection3D, Failure, Metadata, Outputs, Plan, Trajectory
from admlops.results.record_json import make_record
from admlops.results.run_folder import RunFolder
from admlops.worker.samples.quaternions import multiply_quaternions

STEP_S = 0.5
AROUND_Z = (0.5**0.5, 0.0, 0.0, 0.5**0.5)

Change = Callable[[Outputs], Outputs]


def write_planned_run(
    path: Path,
    data: NuScenes,
    futures: MotionGroundTruth,
    tokens: list[str],
    *,
    aside_m: float = 0.0,
    failed: frozenset[str] = frozenset(),
    change: Change = lambda outputs: outputs,
    weights: str | None = None,
) -> RunFolder:
    """A complete run over `tokens`: each plan is the driven path and each object its annotation, `aside_m` beside."""
    scenes: dict[str, list[str]] = {}
    for token in tokens:
        scenes.setdefault(data.sample(token)["scene"], []).append(token)
    header = RunHeader(
        run=path.name,
        model="Planner",
        variant="modern",
        environment=EnvironmentInfo(name="e", digest="d", backend="venv", python="3.11"),
        data=DataInfo(root=str(data.root), version=data.version, split=None, samples_sha256="", synthetic=False),
        provenance=Provenance(commit=None, admlops="0", host="h"),
        scenes={name: len(own) for name, own in scenes.items()},
        settings={"options": {"weights": weights}} if weights else {},
        created="2026-01-01T00:00:00+00:00",
    )
    run = RunFolder.create(path, header)
    for name, own in scenes.items():
        with run.scene_writer(name) as writer:
            for place, token in enumerate(own):
                fails = token in failed
                whole = Outputs() if fails else _outputs(data, futures, tokens.index(token), token, aside_m)
                writer.append(make_record(_metadata(path.name, name, token, place, fails), change(whole)))
            writer.commit()
    run.update(state="complete")
    return run


def _metadata(run: str, scene: str, token: str, place: int, failed: bool) -> Metadata:
    return Metadata(
        model_name="Planner",
        variant="modern",
        run=run,
        sample_token=token,
        scene=scene,
        index_in_scene=place,
        status="failed" if failed else "ok",
        inference_time=None if failed else 0.1,
        end_to_end_time=None if failed else 0.2,
        failure=Failure(kind="data", message="unreadable", hint="look") if failed else UNSET,
    )


def _outputs(data: NuScenes, futures: MotionGroundTruth, index: int, token: str, aside_m: float) -> Outputs:
    sample = data.sample(token)
    path = futures.vad_plan(index).path + np.array([aside_m, 0.0])
    truth = futures.motion(index)
    return Outputs(
        detections_3d=[_detection(sample, truth, row, aside_m) for row in range(len(truth.labels))],
        plan=Plan(command="straight", interval_s=STEP_S, waypoints=_points(patch_to_ego(path, sample))),
    )


def _detection(sample: dict[str, Any], truth: MotionTruth, row: int, aside_m: float) -> Detection3D:
    """The object on the ground, with its future and one that stands still."""
    lidar = sample["lidar"]["sensor2ego"]
    turn = rotation_matrix(lidar["rotation_wxyz"])
    center = turn @ np.append(truth.centers[row], -1.0) + np.asarray(lidar["translation"])
    steps = np.asarray(truth.steps[row], dtype=np.float64)
    steps[0] += (aside_m, 0.0)
    modes = [center[:2] + np.cumsum(way @ turn[:2, :2].T, axis=0) for way in (steps, np.zeros((6, 2)))]
    upright = multiply_quaternions(tuple(lidar["rotation_wxyz"]), AROUND_Z)
    return Detection3D(
        id=row,
        class_name=MMDET3D_CLASSES[int(truth.labels[row])],
        confidence=0.9,
        bbox_3d=Box3D(center=tuple(center.tolist()), size_wlh=(1.9, 4.6, 1.7), rotation_wxyz=upright),
        trajectories=[Trajectory(confidence=0.5, interval_s=STEP_S, waypoints=_points(way)) for way in modes],
    )


def _points(points: NDArray[np.floating]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points.tolist()]
