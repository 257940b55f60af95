"""Boxes of the network's output: distances to the four sides as distributions, scores, non-maximum suppression.

Each cell of a level (strides 8, 16, 32) predicts a score a class and, for each side, a distribution over 0 … 10 strides
(generalised focal loss, arXiv 2006.04388): softmax over the 11 bins, mean of the bins' numbers, times the stride. A
cell's centre is (i + 0.5) · stride, as in NanoDet of the version that nanodet-g is of.
"""

from typing import NamedTuple, Sequence, Tuple

import numpy as np

from .config import Config


class Boxes(NamedTuple):
    """The boxes (n, 4) x1, y1, x2, y2 [input pixels], confidences (n,), class numbers (n,), the best first."""

    corners: np.ndarray
    confidences: np.ndarray
    classes: np.ndarray


def decode(scores: Sequence[np.ndarray], distances: Sequence[np.ndarray], config: Config) -> Boxes:
    """Boxes of one picture.

    Args:
        scores: for each stride (cells, classes), after the sigmoid.
        distances: for each stride (cells, 44): left, top, right, bottom, 11 bins each.
        config: strides, bins, thresholds.
    """
    parts = [_decode_level(*level, config) for level in zip(scores, distances, config.strides)]
    corners, confidences, classes = (np.concatenate(column) for column in zip(*parts))
    kept = suppress(corners, confidences, classes, config.nms_iou)[: config.max_boxes]
    return Boxes(corners[kept], confidences[kept], classes[kept])


def _decode_level(scores: np.ndarray, distances: np.ndarray, stride: int, config: Config) -> Tuple[np.ndarray, ...]:
    cells, classes = np.nonzero(scores >= config.min_confidence)
    confidences = scores[cells, classes]
    best = np.argsort(-confidences, kind="stable")[: config.candidates_per_level]
    cells, classes, confidences = cells[best], classes[best], confidences[best]
    side = -(-config.input_size // stride)
    centers = (np.stack([cells % side, cells // side], axis=1) + np.float32(0.5)) * np.float32(stride)
    reach = _means(distances[cells].reshape(-1, 4, config.reg_max + 1)) * np.float32(stride)
    corners = np.concatenate([centers - reach[:, :2], centers + reach[:, 2:]], axis=1)
    return np.clip(corners, 0, np.float32(config.input_size)), confidences, classes


def _means(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers * np.arange(logits.shape[-1], dtype=np.float32)).sum(axis=-1) / powers.sum(axis=-1)


def suppress(corners: np.ndarray, confidences: np.ndarray, classes: np.ndarray, nms_iou: float) -> np.ndarray:
    """Non-maximum suppression within each class; returns the places of what is kept, the best first.

    A box goes where a better one of its class, itself kept, covers it with an IoU above `nms_iou`.
    """
    order = np.argsort(-confidences, kind="stable")
    kept = np.ones(len(order), bool)
    for number in np.unique(classes):
        ranks = np.flatnonzero(classes[order] == number)
        own = corners[order[ranks]]
        covers = overlaps_between(own, own) > nms_iou
        stays = np.ones(len(ranks), bool)
        for rank in range(len(ranks) - 1):
            if stays[rank]:
                stays[rank + 1 :] &= ~covers[rank, rank + 1 :]
        kept[ranks] = stays
    return order[kept]


def overlaps_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of each box (n, 4) with each (m, 4), (n, m); 0 between boxes without area."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas, others = (np.prod(one[:, 2:] - one[:, :2], axis=-1) for one in (first, second))
    union = areas[:, None] + others[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
