"""Vehicles as boxes in the images: the outline of what one camera found, in pixels of its original image.

A camera's own finding is taken, before it is merged with the others' and tracked: it is what this image showed. The box
that stands on the ground contact and fits the silhouette is projected; its outline is cut at the image's edges.
"""

from typing import Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from .geometry import Camera, project
from .objects import Hypothesis
from .records import Box2D
from .silhouette import HEIGHT, LENGTH, WIDTH, YAW, X, Y

VEHICLES = ("car", "truck", "bus")
NEAREST_M = 0.3
MIN_SHARE = 0.2
"""Of the outline's area, which must lie inside the image: less is a guess about what is outside."""
NMS_IOU = 0.6
_SIGNS = np.array([[u, v, w] for u in (-0.5, 0.5) for v in (-0.5, 0.5) for w in (0.0, 1.0)])


class Sight(NamedTuple):
    """What one camera found; `camera` is that of the working image."""

    camera: Camera
    found: List[Hypothesis]


def outlines(sight: Sight, size: Tuple[int, int]) -> List[Box2D]:
    """The vehicles in one image, the most confident first; of two that overlap, the better one.

    `size` is the original image's width and height [pixels], which the boxes are in.
    """
    return _suppressed(sorted(_outlines(sight, size), key=lambda one: -one.confidence))


def _outlines(sight: Sight, size: Tuple[int, int]) -> Iterator[Box2D]:
    limit = np.array(size, dtype=float)
    # Pixels count from the middle of the first one there, from its corner here.
    ratio = limit / np.array(sight.camera.size)
    for item in sight.found:
        if item.class_name not in VEHICLES:
            continue
        pixels, depth = project(sight.camera, corners(item.box))
        if depth.min() < NEAREST_M:
            continue
        pixels = (pixels + 0.5) * ratio
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        inside_low, inside_high = np.clip(low, 0.0, limit), np.clip(high, 0.0, limit)
        area = np.prod(inside_high - inside_low)
        if area <= 0.0 or area < MIN_SHARE * np.prod(high - low):
            continue
        yield Box2D(sight.camera.name, item.class_name, item.confidence, (*inside_low, *inside_high))


def corners(box: np.ndarray) -> np.ndarray:
    """The eight corners (8, 3) [m] of a box on the ground."""
    local = _SIGNS * box[[LENGTH, WIDTH, HEIGHT]]
    cosine, sine = np.cos(box[YAW]), np.sin(box[YAW])
    x = box[X] + cosine * local[:, 0] - sine * local[:, 1]
    y = box[Y] + sine * local[:, 0] + cosine * local[:, 1]
    return np.column_stack([x, y, local[:, 2]])


def _suppressed(boxes: Sequence[Box2D]) -> List[Box2D]:
    kept: List[Box2D] = []
    for box in boxes:
        if all(_overlap(box, other) <= NMS_IOU for other in kept):
            kept.append(box)
    return kept


def _overlap(first: Box2D, second: Box2D) -> float:
    a, b = np.array(first.corners), np.array(second.corners)
    shared = float(np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0, None)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / union if union > 0.0 else 0.0
