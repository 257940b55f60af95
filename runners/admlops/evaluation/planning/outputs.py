"""The plans and predicted futures of a run, from its records to the LiDAR frame that the metrics compare them in.

Only what the metrics need is decoded; a line that cannot be taken goes through the full record decoder, which says what
is wrong with it. Detections below the score that counts keep their futures as text.

A failed sample has no plan and no detections. It counts as a vehicle that stays where it is: failing never pays, and
two runs over the same samples stay comparable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from admlops.core.errors import RecordError
from admlops.datasets.nuscenes.tables import rotation_matrix
from admlops.datasets.nuscenes.vector_map import ego_to_patch
from admlops.evaluation.metrics import LARGEST
from admlops.evaluation.motion.scores import LABELS, MIN_SCORE, MotionPrediction
from admlops.evaluation.planning.scores import STEP_S, STEPS
from admlops.results.record import Plan, Point3, Trajectory, decode_record
from admlops.results.run_folder import RunFolder

Floats = NDArray[np.float64]
_Found = TypeVar("_Found")


class _Box(msgspec.Struct, gc=False):
    center: Point3


class _Detection(msgspec.Struct, gc=False):
    id: int
    class_name: str
    confidence: float
    bbox_3d: _Box
    trajectories: msgspec.Raw | UnsetType = UNSET


class _Metadata(msgspec.Struct, gc=False):
    model_name: str
    sample_token: str
    scene: str
    status: str


class _Record(msgspec.Struct, gc=False):
    metadata: _Metadata
    detections_3d: list[_Detection] | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Record).decode
_decode_trajectories = msgspec.json.Decoder(list[Trajectory]).decode


@dataclass(frozen=True, kw_only=True)
class RunPlans:
    """What a run says, sample after sample in its order; a task that no record does has an empty list.

    Attributes:
        plans: (6, 2) planned positions [m], LiDAR frame.
        futures: predicted objects above the score that counts, LiDAR frame.
    """

    plans: list[Floats]
    futures: list[MotionPrediction]


def read_run_plans(run: RunFolder, samples: Mapping[str, Mapping[str, Any]]) -> RunPlans:
    """Read the plans and futures of every record of a run's complete scenes.

    Args:
        samples: by token, each sample in the shape of docs/architecture.md.

    Raises:
        RecordError: a line is not a standard record, or a plan or a future is not six steps of 0.5 s.
    """
    plans: list[Floats | None] = []
    futures: list[MotionPrediction | None] = []
    without: list[_Record] = []
    for record in _records(run):
        sample = samples[record.metadata.sample_token]
        plans.append(_plan(record, sample))
        futures.append(_futures(record, sample))
        if plans[-1] is None and record.metadata.status == "ok":
            without.append(record)
    if without and len(without) < len(plans):
        raise _complain(without[0], "no plan, where others have one")
    return RunPlans(
        plans=_filled(plans, np.zeros((STEPS, 2))),
        futures=_same_modes(_filled(futures, no_futures())),
    )


def _records(run: RunFolder) -> Iterator[_Record]:
    for scene in run.complete_scenes():
        for line, where in run.lines_of(scene):
            try:
                yield _decode(line)
            except msgspec.DecodeError:
                decode_record(line, where=where)
                raise  # the two decoders differ: a mistake of this file, not of the user


def _filled(found: list[_Found | None], otherwise: _Found) -> list[_Found]:
    """The list with `otherwise` in its gaps; empty where there are gaps alone."""
    if all(one is None for one in found):
        return []
    return [otherwise if one is None else one for one in found]


def _plan(record: _Record, sample: Mapping[str, Any]) -> Floats | None:
    """The six planned positions, (6, 2) [m], in the LiDAR frame."""
    plan = record.plan
    if isinstance(plan, UnsetType):
        return None
    if len(plan.waypoints) < STEPS or abs(plan.interval_s - STEP_S) > 1e-6:
        raise _complain(record, f"a plan of {len(plan.waypoints)} steps of {plan.interval_s} s")
    if np.abs(plan.waypoints).max() > LARGEST:
        raise _complain(record, f"a plan with a coordinate larger than {LARGEST:,.0f} m")
    return ego_to_patch(plan.waypoints[:STEPS], sample)


def _futures(record: _Record, sample: Mapping[str, Any]) -> MotionPrediction | None:
    """What is predicted above the score that counts; None where no detection has futures."""
    found = record.detections_3d
    if isinstance(found, UnsetType) or not any(one.trajectories is not UNSET for one in found):
        return None
    sure = [one for one in found if np.float32(one.confidence) > np.float32(MIN_SCORE) and one.class_name in LABELS]
    if not sure:
        return no_futures()
    pose = sample["lidar"]["sensor2ego"]
    turn = rotation_matrix(pose["rotation_wxyz"])
    centers = np.array([one.bbox_3d.center for one in sure])
    modes = _same_count([_modes(record, one) for one in sure])
    if np.abs(modes).max() > LARGEST:
        raise _complain(record, f"a future with a coordinate larger than {LARGEST:,.0f} m")
    # Steps lie in the plane: they take the turn seen from above, as adapters give it to them.
    from_center = np.diff(modes, axis=2, prepend=np.broadcast_to(centers[:, np.newaxis, np.newaxis, :2], _first(modes)))
    return MotionPrediction(
        centers=((centers - pose["translation"]) @ turn)[:, :2],
        labels=np.array([LABELS[one.class_name] for one in sure]),
        scores=np.array([one.confidence for one in sure]),
        steps=from_center @ np.linalg.inv(turn[:2, :2]).T,
    )


def _first(modes: Floats) -> tuple[int, int, int, int]:
    return modes.shape[0], modes.shape[1], 1, 2


def _modes(record: _Record, detection: _Detection) -> list[list[tuple[float, float]]]:
    trajectories = [] if isinstance(detection.trajectories, UnsetType) else _decode_trajectories(detection.trajectories)
    wrong = [one for one in trajectories if len(one.waypoints) < STEPS or abs(one.interval_s - STEP_S) > 1e-6]
    if wrong or not trajectories:
        what = f"a future of {len(wrong[0].waypoints)} steps of {wrong[0].interval_s} s" if wrong else "no future"
        raise _complain(record, f"detection {detection.id} with {what}")
    return [list(one.waypoints[:STEPS]) for one in trajectories]


def _same_count(modes: list[list[list[tuple[float, float]]]]) -> Floats:
    """(P, modes, 6, 2); a future given twice changes no minimum, so the last one fills up what others have more."""
    count = max(len(own) for own in modes)
    return np.array([own + own[-1:] * (count - len(own)) for own in modes], dtype=np.float64)


def _same_modes(futures: list[MotionPrediction]) -> list[MotionPrediction]:
    """The same, all with as many modes as the one that has most."""
    count = max((found.steps.shape[1] for found in futures), default=0)
    return [
        replace(found, steps=found.steps[:, np.minimum(np.arange(count), found.steps.shape[1] - 1)])
        for found in futures
    ]


def no_futures() -> MotionPrediction:
    """A sample in which nothing is predicted."""
    return MotionPrediction(
        centers=np.zeros((0, 2)), labels=np.zeros(0, np.int64), scores=np.zeros(0), steps=np.zeros((0, 1, STEPS, 2))
    )


def _complain(record: _Record, what: str) -> RecordError:
    meta = record.metadata
    return RecordError(
        f"the record of sample {meta.sample_token} ({meta.scene}) has {what}; the metrics need {STEPS} steps of "
        f"{STEP_S} s",
        hint=f"mend convert() in the adapter of {meta.model_name} and run it again",
    )
