"""Match the map elements of single samples, to classify them as right or wrong.

An element is a match within 1 m Chamfer distance, MapTR's middle threshold, as the vector map protocol matches.
"""

from __future__ import annotations

import numpy as np

from admlops.evaluation.error_analysis import UNMATCHED, ClassMatch
from admlops.evaluation.vector_map.curves import SampleMatch

MATCH_CHAMFER_M = 1.0


def class_match(match: SampleMatch) -> ClassMatch:
    """Return the match of one class in one sample at MATCH_CHAMFER_M."""
    positive = match.true_positives(MATCH_CHAMFER_M)
    return ClassMatch(
        confidences=match.confidences,
        ids=match.ids,
        partners=np.where(positive, match.nearest, UNMATCHED),
        truth=match.ground_truth,
    )
