"""Boxes of an ordinary run at 2 Hz, judged when they would have been ready: one-shot latency, and no stream.

The outputs of a key frame are moved on by their velocity for as long as they took, and for as long as the output before
kept the processor busy, and are compared with the annotations interpolated at that moment. No frame is dropped and
inputs come at 2 Hz, so the numbers are not ASAP's. A sample whose moment no annotated key frame follows is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from admlops.core.errors import DataError
from admlops.core.nuscenes_classes import CLASS_RANGES_M
from admlops.datasets.annotations import Annotations
from admlops.datasets.nuscenes.interpolation import slerp
from admlops.evaluation.context import Context
from admlops.evaluation.detection_3d.box_table import BoxTable
from admlops.evaluation.detection_3d.evaluation import DetectionResult, evaluate_detections
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.protocols import DetectionProtocol
from admlops.evaluation.streaming.detection import move_on, repeat_boxes
from admlops.evaluation.streaming.pairing import measured_us, scene_rows

FOLLOWING = 2
"""Key frames after the run's own that annotations are needed of: outputs may take up to a second."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """Of each sample that is kept: its index, its age [s], the key frame before its moment, and how far past that."""

    sample: Integers
    age_s: NDArray[np.float64]
    base: Integers
    share: NDArray[np.float64]


def evaluate_staleness(table: BoxTable, context: Context, protocol: str) -> DetectionResult:
    """Evaluate the boxes of a run at the moments when they were ready.

    Raises:
        DataError: annotations are missing, no record has a time, or every output came after the last key frame.
    """
    annotations = context.annotations
    truth = context.share(
        "detection_3d.truth",
        lambda: make_ground_truth(context.share("annotated", lambda: annotations.first(table.records))),
    )
    boxes = context.share("detection_3d.global", lambda: table.in_global_frame(truth))
    moments = _find_moments(context, annotations)
    if not len(moments.sample):
        raise DataError(
            "every output was ready after the last annotated key frame, so none can be compared",
            hint="run whole scenes, or a faster device",
        )
    aged = repeat_boxes(boxes, moments.sample)
    aged = move_on(aged, moments.age_s[aged.sample])
    there = _interpolate(annotations, moments)
    judged = DetectionProtocol(name=protocol, class_range_m=CLASS_RANGES_M)
    return evaluate_detections(aged, make_ground_truth(there), there.scenes, judged)


def _find_moments(context: Context, annotations: Annotations) -> _Moments:
    data, metadata = context.data, context.metadata
    times = np.array([data.sample(token)["timestamp_us"] for token in annotations.samples], dtype=np.int64)
    latencies = measured_us(metadata, "inference")
    sample, age, base, share = [], [], [], []
    for rows in scene_rows(metadata).values():
        busy_until = 0
        for row in rows:
            ready = busy_until = max(int(times[row]), busy_until) + latencies[row]
            here = row
            while (after := int(annotations.next_sample[here])) >= 0 and times[after] <= ready:
                here = after
            if after < 0 and times[here] < ready:
                continue
            sample.append(row)
            age.append(1e-6 * (ready - times[row]))
            base.append(here)
            share.append((ready - times[here]) / (times[after] - times[here]) if after >= 0 else 0.0)
    return _Moments(
        sample=np.array(sample, dtype=np.int64),
        age_s=np.array(age),
        base=np.array(base, dtype=np.int64),
        share=np.array(share),
    )


def _interpolate(annotations: Annotations, moments: _Moments) -> Annotations:
    """The annotations at each moment: those of objects that the key frames on both sides have."""
    start = np.searchsorted(annotations.sample, moments.base, side="left")
    count = np.searchsorted(annotations.sample, moments.base, side="right") - start
    moment = np.repeat(np.arange(len(moments.base)), count)
    rows = np.repeat(start, count) + np.arange(len(moment)) - np.repeat(np.cumsum(count) - count, count)
    after = annotations.next_row[rows]
    goes_on = (after >= 0) & (annotations.sample[after] == annotations.next_sample[annotations.sample[rows]])
    kept = goes_on | (moments.share[moment] == 0)
    moment, rows = moment[kept], rows[kept]
    after = np.where(goes_on[kept], annotations.next_row[rows], rows)
    share = moments.share[moment]
    base, following = moments.base, annotations.next_sample[moments.base]
    following = np.where(following >= 0, following, base)
    way = annotations.center[after] - annotations.center[rows]
    return Annotations(
        samples=[annotations.samples[index] for index in moments.sample.tolist()],
        scenes=[annotations.scenes[index] for index in moments.sample.tolist()],
        ego=annotations.ego[base] + moments.share[:, np.newaxis] * (annotations.ego[following] - annotations.ego[base]),
        ego_rotation=slerp(annotations.ego_rotation[base], annotations.ego_rotation[following], moments.share),
        lidar=annotations.lidar[base],
        lidar_rotation=annotations.lidar_rotation[base],
        next_sample=np.full(len(base), -1, dtype=np.int32),
        tokens=[annotations.tokens[index] for index in rows.tolist()],
        sample=moment.astype(np.int32),
        category=[annotations.category[index] for index in rows.tolist()],
        attribute=[annotations.attribute[index] for index in rows.tolist()],
        center=annotations.center[rows] + share[:, np.newaxis] * way,
        size=annotations.size[rows],
        rotation=slerp(annotations.rotation[rows], annotations.rotation[after], share),
        velocity=annotations.velocity[rows],
        points=annotations.points[rows],
        visibility=annotations.visibility[rows],
        next_row=np.full(len(rows), -1, dtype=np.int32),
    )
