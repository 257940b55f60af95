"""What UniAD's `tools/test.py --out` writes: a pickle with boxes and the plan of each sample, by token.

UniAD 1.0 stands on mmdet3d 0.17, where yaw counts from the -y axis; UniAD 2.0 on mmdet3d 1.0. The files look alike, so
each has a format of its own. Boxes are the detector's where the file has them apart from the tracker's, as UniAD
evaluates them. Predicted motion and segmentation are not read.

Source: UniAD dd161b2, `uniad/apis/test.py`, `uniad/detectors/uniad_e2e.py`, `datasets/nuscenes_e2e_dataset.py`
(`_format_bbox_det`), `datasets/data_utils/data_utils.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from admlops.evaluation.submissions import nuscenes
from admlops.evaluation.submissions.base import Predictions, Sample, SubmissionFormat, Target, refuse
from admlops.evaluation.submissions.lidar_boxes import arrays_of, to_global_boxes
from admlops.evaluation.submissions.nuscenes import to_detections
from admlops.evaluation.submissions.results_file import PICKLE, ResultsFile
from admlops.evaluation.submissions.vad import COMMANDS, plan_of, raw_list
from admlops.evaluation.trajectories.arrays import STEPS
from admlops.results.record import Outputs, Plan

KEYS = {"boxes": "boxes_3d", "scores": "scores_3d", "labels": "labels_3d"}
DETECTOR = "_det"
"""Ends the keys of the detector's boxes, where the tracker's are beside them."""


class UniadPredictions:
    """What the network decoded of each sample, by token."""

    def __init__(self, file: ResultsFile, decoded: Mapping[str, Mapping[str, Any]], *, yaw_from_y: bool) -> None:
        self._file = file
        self._decoded = decoded
        self._yaw_from_y = yaw_from_y
        self.tokens = list(decoded)
        version = "1.0 (--format uniad is for 2.0)" if yaw_from_y else "2.0 (--format uniad-1.0 is for 1.0)"
        self.notes = [f"boxes are read as those of UniAD {version}"]

    def outputs(self, token: str, sample: Sample) -> Outputs:
        """Return what the network decoded. Raises UsageError: see `base.Predictions`."""
        found = self._decoded[token]
        answers: dict[str, Any] = {}
        try:
            boxes = []
            if "boxes_3d" in found or "boxes_3d_det" in found:
                end = DETECTOR if "boxes_3d_det" in found else ""
                arrays = arrays_of(found, {name: key + end for name, key in KEYS.items()})
                boxes = to_global_boxes(**arrays, sample=sample, token=token, yaw_from_y=self._yaw_from_y)
            nuscenes.check_boxes(boxes, self._file, token)
            answers["detections_3d"] = to_detections(list(enumerate(boxes)), sample)
            if "planning_traj" in found:
                answers["plan"] = _plan(found, sample)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise refuse(self._file.path, f"sample {token}", what) from error
        return Outputs(**answers)


def _plan(found: Mapping[str, Any], sample: Sample) -> Plan:
    """Return the plan: positions (1, 6, 2) [m] in the LiDAR frame. Raises ValueError: it is no plan."""
    path = np.asarray(found["planning_traj"], dtype=np.float32).reshape(-1, np.shape(found["planning_traj"])[-1])
    if len(path) < STEPS or path.shape[1] < 2 or not np.isfinite(path[:STEPS, :2]).all():
        raise ValueError(f"planning_traj is {path.shape}, and not {STEPS} positions x, y")
    command = int(np.asarray(found.get("command", len(COMMANDS) - 1)).reshape(-1)[0])
    if not 0 <= command < len(COMMANDS):
        raise ValueError(f"command is {command}")
    return plan_of(path[:STEPS, :2], COMMANDS[command], sample)


def _recognise(file: ResultsFile) -> bool:
    if file.kind != PICKLE:
        return False
    listed = raw_list(file.unpickled)
    return listed is not None and "token" in listed[0]


@dataclass(frozen=True, kw_only=True)
class _Reader:
    yaw_from_y: bool

    def __call__(self, file: ResultsFile, target: Target) -> Predictions:
        decoded: dict[str, Mapping[str, Any]] = {}
        for index, one in enumerate(raw_list(file.unpickled) or []):
            token = one.get("token")
            if not isinstance(token, str) or token in decoded:
                what = "is there twice" if isinstance(token, str) else "is no sample token"
                raise file.complain(f"entry {index}: {token!r} {what}")
            decoded[token] = one
        return UniadPredictions(file, decoded, yaw_from_y=self.yaw_from_y)


def _declare(identifier: str, version: str, *, yaw_from_y: bool) -> SubmissionFormat:
    return SubmissionFormat(
        id=identifier,
        title=f"UniAD {version}'s results (the pickle of tools/test.py --out)",
        looks_for='a pickled {"bbox_results": [{"token": …, "boxes_3d": …, "planning_traj": …}, …]}',
        kinds=("nuscenes",),
        recognise=_recognise,
        read=_Reader(yaw_from_y=yaw_from_y),
        suffix=".pkl",
    )


FORMAT = _declare("uniad", "2.0", yaw_from_y=False)
FORMAT_1_0 = _declare("uniad-1.0", "1.0", yaw_from_y=True)
