"""Vector map elements of MapTR-like networks as standard records."""

from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from .geometry import lidar_plane_to_ego


def map_elements(decoded: Mapping[str, Any], classes: Sequence[str], sample: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Standard records of what a network decodes, in its order.

    Args:
        decoded: `pts_3d` (n, points, 2) [m] in the LiDAR's frame seen from above (x right, y forward), `scores_3d`
            (n,) and `labels_3d` (n,), as arrays or tensors.
        classes: the names of the labels.
        sample: the sample, for its poses.
    """
    points = lidar_plane_to_ego(np.asarray(decoded["pts_3d"], dtype=np.float64), sample).tolist()
    scores = np.asarray(decoded["scores_3d"], dtype=np.float64).tolist()
    labels = np.asarray(decoded["labels_3d"], dtype=np.int64).tolist()
    return [
        {"id": index, "type": classes[label], "points": line, "confidence": score}
        for index, (line, score, label) in enumerate(zip(points, scores, labels))
    ]
