"""What goes into a detector of mmdet3d 1.4 and comes out of it, as arrays: the same for both ways."""

from __future__ import annotations

from typing import Any

import numpy as np

EVERY = 7
"""Of a neck's features, every seventh is kept: they decide what the head finds, and are many."""


def watch_neck(model: Any) -> list[Any]:
    """A list that gets the features of each call's last neck: before proposals, which near-equal scores reorder."""
    seen: list[Any] = []
    neck = getattr(model, "pts_neck", None)
    neck = model.img_neck if neck is None else neck
    neck.register_forward_hook(lambda module, given, found: seen.append(found))
    return seen


def describe_inputs(inputs: Any) -> dict[str, Any]:
    """Copies of points, voxels, pictures and projections, before the call."""
    given = inputs["inputs"]
    arrays = {}
    for name in ("points", "imgs"):
        if name in given:
            arrays[name] = given[name][0].numpy().copy()
    for name, value in (given.get("voxels") or {}).items():
        arrays[f"voxels_{name}"] = value.numpy().copy()
    metas = inputs["data_samples"][0].metainfo
    for name in ("lidar2img", "cam2img", "cam2lidar", "img_aug_matrix"):
        if name in metas and "imgs" in given:
            arrays[name] = np.asarray(metas[name], dtype=np.float64)
    return arrays


def describe_outputs(raw: Any, features: Any) -> dict[str, Any]:
    """The neck's features, and what is decoded."""
    found = raw[0].pred_instances_3d
    layers = features if isinstance(features, (list, tuple)) else [features]
    return {
        "neck": np.concatenate([layer.detach().numpy().ravel()[::EVERY] for layer in layers]),
        "boxes_3d": found.bboxes_3d.tensor.numpy().copy(),
        "scores_3d": found.scores_3d.numpy().copy(),
        "labels_3d": found.labels_3d.numpy().copy(),
    }
