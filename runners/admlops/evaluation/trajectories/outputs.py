"""The plans and possible futures of a run: kept in the ego frame, moved to the LiDAR frame that they are compared in.

Detections below the score that counts keep nothing: their futures are never decoded.

A failed sample has no plan and no detections. It counts as a vehicle that stays where it is: failing never pays, and
two runs over the same samples stay comparable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from admlops.core.errors import RecordError
from admlops.datasets.nuscenes.tables import rotation_matrix
from admlops.datasets.nuscenes.vector_map import ego_to_patch
from admlops.evaluation.context import Context
from admlops.evaluation.metrics import LARGEST
from admlops.evaluation.trajectories.arrays import LABELS, STEP_S, STEPS, MotionPrediction, no_futures
from admlops.results.record import Metadata, PartialRecord, Trajectory

MIN_SCORE = 0.6
"""VAD counts objects above this score."""

Floats = NDArray[np.float64]
_Found = TypeVar("_Found")
_decode_trajectories = msgspec.json.Decoder(list[Trajectory]).decode


class PlanTable:
    """The plans of a run, record after record: (6, 2) positions [m] in the ego frame, None where there is none."""

    def __init__(self) -> None:
        self._paths: list[Floats | None] = []

    def add(self, record: PartialRecord) -> None:
        """Take the next record. Raises RecordError: a plan is not six steps of 0.5 s, or too large."""
        self._paths.append(None if record.plan is UNSET else _path(record))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all plans, for `extend` of a table in another process."""
        there = np.array([path is not None for path in self._paths], dtype=np.bool_)
        paths = [path for path in self._paths if path is not None]
        return {"there": there, "paths": np.stack(paths) if paths else np.zeros((0, STEPS, 2))}

    def extend(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append the plans of the records that come after these."""
        paths = iter(arrays["paths"])
        self._paths += [next(paths) if there else None for there in arrays["there"].tolist()]

    def notes(self, context: Context) -> list[str]:
        """Say how many samples failed, because they count as plans."""
        failed = sum(entry.status == "failed" for entry in context.metadata)
        return [f"{failed} failed samples count as plans to stay in place"] if failed else []

    def paths(self, context: Context) -> list[Floats]:
        """Return the planned positions in the LiDAR frame, (6, 2) [m]; empty where no record has any."""
        moved = [
            None if path is None else ego_to_patch(path, context.samples[entry.sample_token])
            for path, entry in zip(self._paths, context.metadata, strict=False)
        ]
        return _filled(moved, np.zeros((STEPS, 2)))


@dataclass(frozen=True, kw_only=True)
class _Futures:
    """P objects of one record above the score that counts, in the ego frame: `modes` is (P, M, 6, 2) [m]."""

    centers: Floats
    labels: NDArray[np.int64]
    scores: Floats
    modes: Floats


_NONE = _Futures(
    centers=np.zeros((0, 3)), labels=np.zeros(0, np.int64), scores=np.zeros(0), modes=np.zeros((0, 1, STEPS, 2))
)


class FutureTable:
    """The possible futures of a run, record after record; None where no detection has any."""

    def __init__(self) -> None:
        self._records: list[_Futures | None] = []

    @property
    def has_futures(self) -> bool:
        """Tell whether any detection has futures."""
        return any(own is not None for own in self._records)

    def add(self, record: PartialRecord) -> None:
        """Take the next record. Raises RecordError: a future is not six steps of 0.5 s, or too large."""
        found = record.detections_3d
        there = found is not UNSET and any(one.trajectories is not UNSET for one in found)
        self._records.append(_read(record, found) if there else None)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all futures, for `extend` of a table in another process; records differ in their number of modes."""
        own = [one or _NONE for one in self._records]
        return {
            "there": np.array([one is not None for one in self._records], dtype=np.bool_),
            "shapes": np.array([one.modes.shape[:2] for one in own], dtype=np.int64).reshape(-1, 2),
            "centers": np.concatenate([_NONE.centers, *(one.centers for one in own)]),
            "labels": np.concatenate([_NONE.labels, *(one.labels for one in own)]),
            "scores": np.concatenate([_NONE.scores, *(one.scores for one in own)]),
            "modes": np.concatenate([np.zeros(0), *(one.modes.ravel() for one in own)]),
        }

    def extend(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append the futures of the records that come after these."""
        shapes = arrays["shapes"]
        ends, mode_ends = np.cumsum(shapes[:, 0]), np.cumsum(shapes.prod(axis=1) * STEPS * 2)
        split = {name: np.split(arrays[name], ends[:-1]) for name in ("centers", "labels", "scores")}
        modes = np.split(arrays["modes"], mode_ends[:-1])
        for index, there in enumerate(arrays["there"].tolist()):
            own = {name: parts[index] for name, parts in split.items()}
            shaped = modes[index].reshape(*shapes[index], STEPS, 2)
            self._records.append(_Futures(modes=shaped, **own) if there else None)

    def predictions(self, context: Context) -> list[MotionPrediction]:
        """Return the predicted objects in the LiDAR frame, all with as many modes; empty where there are none."""
        moved = [
            None if own is None else _move(own, context.samples[entry.sample_token])
            for own, entry in zip(self._records, context.metadata, strict=False)
        ]
        return _same_modes(_filled(moved, no_futures()))


def _filled(found: Sequence[_Found | None], otherwise: _Found) -> list[_Found]:
    """Return the list with `otherwise` in its gaps; empty where there are gaps alone."""
    if all(one is None for one in found):
        return []
    return [otherwise if one is None else one for one in found]


def _path(record: PartialRecord) -> Floats:
    plan = record.plan
    if len(plan.waypoints) < STEPS or abs(plan.interval_s - STEP_S) > 1e-6:
        raise _complain(record.metadata, f"a plan of {len(plan.waypoints)} steps of {plan.interval_s} s")
    path = np.array(plan.waypoints, dtype=np.float64)
    if np.abs(path).max() > LARGEST:
        raise _complain(record.metadata, f"a plan with a coordinate larger than {LARGEST:,.0f} m")
    return path[:STEPS]


def _read(record: PartialRecord, found: Sequence[Any]) -> _Futures:
    """Decode what is predicted above the score that counts."""
    sure = [one for one in found if np.float32(one.confidence) > np.float32(MIN_SCORE) and one.class_name in LABELS]
    if not sure:
        return _NONE
    modes = _same_count([_modes(record, one) for one in sure])
    if np.abs(modes).max() > LARGEST:
        raise _complain(record.metadata, f"a future with a coordinate larger than {LARGEST:,.0f} m")
    return _Futures(
        centers=np.array([one.bbox_3d.center for one in sure]),
        labels=np.array([LABELS[one.class_name] for one in sure]),
        scores=np.array([one.confidence for one in sure]),
        modes=modes,
    )


def _move(own: _Futures, sample: Mapping[str, Any]) -> MotionPrediction:
    """Return the objects in the LiDAR frame of their sample."""
    if not len(own.labels):
        return no_futures()
    pose = sample["lidar"]["sensor2ego"]
    rotation = rotation_matrix(pose["rotation_wxyz"])
    # Steps lie in the plane: they take the rotation seen from above, as adapters give it to them.
    first = (len(own.modes), own.modes.shape[1], 1, 2)
    start = np.broadcast_to(own.centers[:, np.newaxis, np.newaxis, :2], first)
    from_center = np.diff(own.modes, axis=2, prepend=start)
    return MotionPrediction(
        centers=((own.centers - pose["translation"]) @ rotation)[:, :2],
        labels=own.labels,
        scores=own.scores,
        steps=from_center @ np.linalg.inv(rotation[:2, :2]).T,
    )


def _modes(record: PartialRecord, detection: Any) -> list[list[tuple[float, float]]]:
    trajectories = [] if detection.trajectories is UNSET else _decode(record, detection)
    wrong = [one for one in trajectories if len(one.waypoints) < STEPS or abs(one.interval_s - STEP_S) > 1e-6]
    if wrong or not trajectories:
        what = f"a future of {len(wrong[0].waypoints)} steps of {wrong[0].interval_s} s" if wrong else "no future"
        raise _complain(record.metadata, f"detection {detection.id} with {what}")
    return [list(one.waypoints[:STEPS]) for one in trajectories]


def _decode(record: PartialRecord, detection: Any) -> list[Trajectory]:
    try:
        return _decode_trajectories(detection.trajectories)
    except msgspec.DecodeError as error:
        raise _complain(
            record.metadata, f"detection {detection.id} with trajectories that are none ({error})"
        ) from error


def _same_count(modes: list[list[list[tuple[float, float]]]]) -> Floats:
    """(P, modes, 6, 2); a future given twice changes no minimum, so the last one fills up what others have more."""
    count = max(len(own) for own in modes)
    return np.array([own + own[-1:] * (count - len(own)) for own in modes], dtype=np.float64)


def _same_modes(futures: list[MotionPrediction]) -> list[MotionPrediction]:
    """Return the same, all with as many modes as the one that has most."""
    count = max((found.steps.shape[1] for found in futures), default=0)
    return [
        replace(found, steps=found.steps[:, np.minimum(np.arange(count), found.steps.shape[1] - 1)])
        for found in futures
    ]


def _complain(meta: Metadata, what: str) -> RecordError:
    return RecordError(
        f"the record of sample {meta.sample_token} ({meta.scene}) has {what}; the metrics need {STEPS} steps of "
        f"{STEP_S} s",
        hint=f"mend convert() in the adapter of {meta.model_name} and run it again",
    )
