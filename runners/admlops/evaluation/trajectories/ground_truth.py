"""Where the ego vehicle and the others will be, from nuScenes' annotations: the ground truth of plans and motion.

Everything is in the LiDAR frame of the key frame (x right, y forward, metres), at 0.5 s steps up to 3 s.

VAD takes the objects annotated in the key frame that have a LiDAR or radar point, are of the ten detection classes and
lie in its range of 30 × 60 m, and follows the annotations of each: a future ends where they do. UniAD takes the
vehicles annotated in each later key frame, wherever they are, whether or not they were annotated before. The driven
path is that of the LiDAR; for UniAD, of a point 0.78 m below it. Single precision where VAD's files have it.

UniAD moves boxes through global coordinates in single precision, which blurs them by some 0.1 mm; here they are not.
Box length is along the heading, as in UniAD 1.0. UniAD 2.0's converter swaps width and length; we do not.

Source: VAD 1688c4b, tools/data_converter/vad_nuscenes_converter.py (`_fill_trainval_infos`), nuscenes_vad_dataset.py
(`get_ann_info`) and pipelines/transform_3d.py (`CustomObjectRangeFilter`, `CustomObjectNameFilter`); UniAD,
datasets/pipelines/occflow_label.py and datasets/data_utils/trajectory_api.py (`get_sdc_planning_label`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from admlops.core.nuscenes_classes import CATEGORY_CLASSES
from admlops.datasets.annotations import Annotations
from admlops.evaluation.context import Context
from admlops.evaluation.detection_3d.boxes import multiply, rotations, yaws
from admlops.evaluation.trajectories.arrays import (
    LABELS,
    STEPS,
    MotionPrediction,
    MotionTruth,
    PlanTruth,
    Traffic,
    positions,
)
from admlops.evaluation.trajectories.vad_files import VadSample

VAD_RANGE_M = (15.0, 30.0)
"""Half of VAD's range: to the sides, and ahead and behind."""

BELOW_LIDAR_M = 0.78
"""The point of the ego vehicle that UniAD follows: the floor of a box of 1.56 m around the LiDAR."""

VEHICLES = frozenset({"car", "truck", "construction_vehicle", "bus", "trailer", "motorcycle", "bicycle"})
PERSON = "pedestrian"
NONE = -1
RIGHT_ANGLE = np.float32(np.pi / 2)
VAD_CAR, VAD_PERSON, VAD_OTHER = 17, 4, 9
"""VAD's numbers of a category of each kind."""

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Tracks:
    """Every annotated object in the LiDAR frame of its own sample, and its future, as VAD's files have them.

    Attributes:
        center: (N, 2) [m]. step: (N, 6, 2) [m] from each position to the next, 0 where it is not known.
        known: (N, 6). yaw: (N,) [rad] as mmdet3d 0.17 counts it. rotation: (N, 6) [rad] from each yaw to the next.
    """

    center: Floats32
    step: Floats32
    known: Bools
    yaw: Floats32
    rotation: Floats32


class MotionGroundTruth:
    """The motion of the ego vehicle and of others.

    A sample is named by its index into the samples of `annotations`, which holds the six after it as well.
    """

    def __init__(self, annotations: Annotations) -> None:
        self._data = annotations
        names = [CATEGORY_CLASSES.get(name, "") for name in annotations.category]
        self._label = np.array([LABELS.get(name, NONE) for name in names], dtype=np.int64)
        self._vehicle = np.array([name in VEHICLES for name in names], dtype=np.bool_)
        self._person = np.array([name == PERSON for name in names], dtype=np.bool_)
        self._bounds = np.searchsorted(annotations.sample, np.arange(len(annotations.samples) + 1))
        self._ego, self._lidar = rotations(annotations.ego_rotation), rotations(annotations.lidar_rotation)
        self._rotation = self._ego @ self._lidar
        self._origin = annotations.ego + np.einsum("sij,sj->si", self._ego, annotations.lidar)

    def motion(self, sample: int) -> MotionTruth:
        """Return what VAD's motion metrics compare with."""
        rows, tracks = self._vad_rows(sample), self._tracks
        return MotionTruth(
            centers=tracks.center[rows], labels=self._label[rows], steps=tracks.step[rows], known=tracks.known[rows]
        )

    def vad_plan(self, sample: int) -> PlanTruth:
        """What VAD's planning metrics compare with; beyond the end of the scene the vehicle stays where it is."""
        rows, tracks = self._vad_rows(sample), self._tracks
        steps, known = self._driven(sample)
        return PlanTruth(
            path=positions(steps),
            known=known,
            traffic=Traffic(
                positions=np.cumsum(tracks.step[rows], axis=1) + tracks.center[rows, np.newaxis],
                yaws=np.cumsum(tracks.rotation[rows], axis=1) - (tracks.yaw[rows, np.newaxis] + RIGHT_ANGLE),
                sizes_lw=self._data.size[rows][:, [1, 0]].astype(np.float32),
                present=tracks.known[rows],
                vehicle=self._vehicle[rows],
                person=self._person[rows],
            ),
        )

    def vad_sample(self, sample: int, plan: Floats, found: MotionPrediction) -> VadSample:
        """The same ground truth in the form of VAD's files, with what a model says: a plan, (6, 2) [m], and futures."""
        rows, tracks = self._vad_rows(sample), self._tracks
        count = len(rows)
        boxes, features = np.zeros((count, 9), np.float32), np.zeros((count, 34), np.float32)
        boxes[:, :2], boxes[:, 3:6], boxes[:, 6] = tracks.center[rows], self._data.size[rows], tracks.yaw[rows]
        features[:, : 2 * STEPS] = tracks.step[rows].reshape(count, 2 * STEPS)
        features[:, 2 * STEPS : 3 * STEPS] = tracks.known[rows]
        kinds = np.select([self._vehicle[rows], self._person[rows]], [VAD_CAR, VAD_PERSON], VAD_OTHER)
        features[:, 3 * STEPS + 9] = kinds
        features[:, 3 * STEPS + 10 :] = tracks.rotation[rows]
        found_boxes = np.zeros((len(found.labels), 9), np.float32)
        found_boxes[:, :2] = found.centers
        steps, known = self._driven(sample)
        return VadSample(
            boxes=boxes,
            features=features,
            labels=self._label[rows],
            found_boxes=found_boxes,
            found_labels=found.labels,
            found_scores=found.scores.astype(np.float32),
            modes=found.steps.astype(np.float32),
            plan=np.diff(plan, axis=0, prepend=np.zeros((1, 2))).astype(np.float32),
            path=steps,
            known=known,
        )

    def _driven(self, sample: int) -> tuple[Floats32, Bools]:
        """The steps of the driven path, (6, 2) [m], and which are known."""
        later = self._later(sample)
        last = np.maximum.accumulate(np.where(later == NONE, NONE, np.arange(1, STEPS + 1)))
        place = np.array([sample, *later])[np.append(0, np.maximum(last, 0))]
        path = self._to_lidar(self._origin[place], sample)[:, :2]
        return np.diff(path, axis=0).astype(np.float32), later != NONE

    def uniad_plan(self, sample: int) -> PlanTruth:
        """Return what UniAD's planning metrics compare with; the path is 0 where it is not known."""
        later = self._later(sample)
        known = later != NONE
        path = np.zeros((STEPS, 2))
        below = self._origin[later] - BELOW_LIDAR_M * self._rotation[later][:, :, 2]
        path[known] = self._to_lidar(below, sample)[known, :2]
        listed = [self._rows(int(after)) if after != NONE else np.zeros(0, np.int64) for after in later]
        rows = np.concatenate([own[self._vehicle[own]] for own in listed])
        step = np.repeat(np.arange(STEPS), [int(self._vehicle[own].sum()) for own in listed])
        place = self._to_lidar(self._floor[rows], sample)[:, :2]
        yaw = self._flat_yaw[rows] + _yaw_of(self._ego[sample].T) + _yaw_of(self._lidar[sample].T)
        return PlanTruth(
            path=path.astype(np.float32),
            known=known,
            traffic=Traffic(
                positions=np.broadcast_to(place[:, np.newaxis].astype(np.float32), (len(rows), STEPS, 2)),
                yaws=np.broadcast_to(yaw[:, np.newaxis].astype(np.float32), (len(rows), STEPS)),
                sizes_lw=self._data.size[rows][:, [1, 0]].astype(np.float32),
                present=step[:, np.newaxis] == np.arange(STEPS),
                vehicle=np.ones(len(rows), dtype=np.bool_),
                person=np.zeros(len(rows), dtype=np.bool_),
            ),
        )

    def _rows(self, sample: int) -> Rows:
        return np.arange(self._bounds[sample], self._bounds[sample + 1])

    def _vad_rows(self, sample: int) -> Rows:
        rows = self._rows(sample)
        near = (np.abs(self._tracks.center[rows]) < np.array(VAD_RANGE_M, dtype=np.float32)).all(axis=1)
        chosen: Rows = rows[near & (self._label[rows] != NONE) & (self._data.points[rows] > 0)]
        return chosen

    def _later(self, sample: int) -> Rows:
        """The next six samples of the scene, NONE beyond its end."""
        later = []
        for _ in range(STEPS):
            sample = NONE if sample == NONE else int(self._data.next_sample[sample])
            later.append(sample)
        return np.array(later, dtype=np.int64)

    def _to_lidar(self, points: Floats, sample: int) -> Floats:
        """Points (K, 3) of the global frame in the LiDAR frame of a sample."""
        return np.asarray((points - self._origin[sample]) @ self._rotation[sample])

    @cached_property
    def _tracks(self) -> _Tracks:
        data = self._data
        chain = np.empty((len(data.sample), STEPS + 1), dtype=np.int64)
        chain[:, 0] = np.arange(len(data.sample))
        for step in range(STEPS):
            chain[:, step + 1] = np.where(chain[:, step] == NONE, NONE, data.next_row[chain[:, step]])
        known = chain[:, 1:] != NONE
        place, yaw = np.zeros((*chain.shape, 2)), np.zeros(chain.shape)
        for step in range(STEPS + 1):
            rows = np.flatnonzero(chain[:, step] != NONE)
            to, of = data.sample[rows], chain[rows, step]
            apart = data.center[of] - self._origin[to]
            place[rows, step] = np.einsum("nij,ni->nj", self._rotation[to], apart)[:, :2]
            yaw[rows, step] = yaws(self._in_lidar(of, to))
        own = _limited((-_upright_yaw(self._in_lidar(chain[:, 0], data.sample)) - np.pi / 2).astype(np.float32))
        return _Tracks(
            center=place[:, 0].astype(np.float32),
            step=np.where(known[..., np.newaxis], np.diff(place, axis=1), 0.0).astype(np.float32),
            known=known,
            yaw=own,
            rotation=np.where(known, np.diff(yaw, axis=1), 0.0).astype(np.float32),
        )

    def _in_lidar(self, rows: Rows, samples: NDArray[np.integer]) -> Floats:
        """The rotations of annotations, (K, 4), in the LiDAR frames of samples."""
        back = np.array([1.0, -1.0, -1.0, -1.0])
        ego, lidar = self._data.ego_rotation[samples] * back, self._data.lidar_rotation[samples] * back
        return multiply(lidar, multiply(ego, self._data.rotation[rows]))

    @cached_property
    def _floor(self) -> Floats:
        """(N, 3) the middle of each box's floor as mmdet3d has it: half its height down in its sample's LiDAR frame."""
        return np.asarray(self._data.center - self._data.size[:, 2:] / 2 * self._rotation[self._data.sample][:, :, 2])

    @cached_property
    def _flat_yaw(self) -> Floats:
        """(N,) yaws in the global frame, by way of the LiDAR's and the ego vehicle's rotations."""
        of = self._data.sample
        yaw = _upright_yaw(self._in_lidar(np.arange(len(of)), of))
        return yaw + _yaw_of(self._lidar[of]) + _yaw_of(self._ego[of])


def motion_ground_truth(context: Context) -> MotionGroundTruth:
    """Return the ground truth of a run's samples. Raises DataError: the annotations are missing or damaged."""
    return context.share("trajectories.truth", lambda: MotionGroundTruth(context.annotations))


def _yaw_of(rotation: Floats) -> Floats:
    """Return by how much mmdet3d's boxes rotate under matrices (…, 3, 3) [rad], from one column, tilted or not."""
    return np.asarray(-np.arctan2(rotation[..., 0, 1], rotation[..., 0, 0]))


def _upright_yaw(quaternions: Floats) -> Floats:
    """The yaw of quaternions w x y z, (K, 4), in the order of rotations of pyquaternion's `yaw_pitch_roll`."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    yaw: Floats = np.arctan2(2 * (w * z - x * y), 1 - 2 * (y * y + z * z))
    return yaw


def _limited(yaw: Floats32) -> Floats32:
    """Yaws brought to ±π in single precision, as mmdet3d's `limit_yaw` does."""
    period = np.float32(2 * np.pi)
    limited: Floats32 = yaw - np.floor(yaw / period + np.float32(0.5)) * period
    return limited
