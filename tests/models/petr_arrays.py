"""What goes into a network like PETR and comes out of it, as arrays: the same for the adapter's way and upstream's."""

from __future__ import annotations

from typing import Any

import numpy as np


def describe_inputs(inputs: dict[str, Any]) -> dict[str, Any]:
    """Copies of every tensor, of projections and times, before the call: upstream changes its inputs in place."""
    arrays = {"img": inputs["img"][0].numpy().copy()}
    for name, value in inputs.items():
        if name not in ("img", "img_metas"):
            arrays[name] = value[0][0].numpy().copy()
    metas = inputs["img_metas"][0][0]
    for name in ("lidar2img", "timestamp", "can_bus"):
        if name in metas:
            arrays[name] = np.stack(metas[name])
    return arrays


def describe_outputs(raw: list[dict[str, Any]], head: dict[str, Any]) -> dict[str, Any]:
    """The network's last layer, and what is decoded from it."""
    decoded = raw[0]["pts_bbox"]
    return {
        "classes": head["all_cls_scores"].numpy().copy(),
        "codes": head["all_bbox_preds"].numpy().copy(),
        "boxes_3d": decoded["boxes_3d"].tensor.numpy().copy(),
        "scores_3d": decoded["scores_3d"].numpy().copy(),
        "labels_3d": decoded["labels_3d"].numpy().copy(),
    }


def known_boxes() -> dict[str, Any]:
    """Boxes of every class all around, of all sizes and directions, fast and slow, as a network would decode them."""
    generator = np.random.RandomState(7)
    low, high = [-45, -45, -3, 0.4, 0.4, 0.4, -np.pi, -15, -15], [45, 45, 1, 12, 12, 4, np.pi, 15, 15]
    return {
        "boxes_3d": generator.uniform(low, high, (300, 9)).astype(np.float32),
        "scores_3d": np.sort(generator.uniform(0, 1, 300))[::-1].astype(np.float32),
        "labels_3d": np.arange(300) % 10,
    }
