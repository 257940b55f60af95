"""What nuscenes-devkit refuses of a submission once its boxes are matched: by assertions within its metrics.

Source: nuscenes-devkit 1.2.0, `nuscenes/eval/common/utils.py` (`scale_iou`) and
`nuscenes/eval/detection/data_classes.py` (`DetectionMetricData`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from admlops.core.errors import UsageError
from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.context import Context
from admlops.evaluation.detection_3d.matching import NO_PARTNER
from admlops.evaluation.detection_3d.scores import Matching, Score
from admlops.results.header import Submission


def refuse_as_devkit(matching: Matching, score: Score, context: Context) -> None:
    """Refuse a submission whose numbers the devkit would not compute.

    Raises:
        UsageError: a box that matches has a side that is not above 0; or a class has scores below 0, so that its
            confidence rises again where its recall ends.
    """
    boxes = matching.predictions
    wrong = np.flatnonzero((matching.partners != NO_PARTNER).any(axis=0) & (boxes.size <= 0).any(axis=1))
    if len(wrong):
        row = int(wrong[0])
        raise _refuse(
            context,
            f"sample {context.tokens[boxes.sample[row]]}, box {boxes.number[row]}: size {boxes.size[row].tolist()} is "
            "not above 0, and the box matches an annotated one",
            "give every box a width, length and height above 0",
        )
    for name in CLASSES:
        curves = score.classes[name].curves.values()
        if any((np.diff(curve.confidence) > 0).any() for curve in curves):
            raise _refuse(
                context,
                f"class {name} has scores below 0, where the official code asks that confidence falls with recall",
                "give scores from 0 on, such as the sigmoid of a logit",
            )


def _refuse(context: Context, what: str, hint: str) -> UsageError:
    source = context.run.header.submission
    file = Path(source.file) if isinstance(source, Submission) else context.run.path
    return UsageError(f"{file}: {what}; nuscenes-devkit refuses it", hint=hint)
