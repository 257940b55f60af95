"""Attention of BEVFormer's and Deformable DETR's layers, from the weights of the authors' modules.

Batches are of one sample. Sizes are Python's numbers: a file serves pictures of the size that it was traced with.
"""

from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

from ...network import NetworkError, refuse_export
from ..common.libraries import load_library
from .sampling import Size, sample_deformable, sample_pixels

OWN_SOURCES = ("projects", "mmdet3d")
"""The packages whose modules need a traced form, or are known to have one."""
OPERATORS = {
    "LSSTransform": "whose operator bev_pool is in no ONNX standard",
    "SparseEncoder": "whose sparse convolutions are in no ONNX standard",
    "Voxelization": "whose operator voxelize is in no ONNX standard",
    "DynamicScatter": "whose operator dynamic_scatter is in no ONNX standard",
}
"""Why a class cannot leave PyTorch, where it is known."""


class Rig(NamedTuple):
    """Where the BEV's columns lie in the cameras' pictures.

    `positions` (cameras, queries, heights, 2): 0 to 1 over a picture's width and height, anything where it is not seen.
    `visible` (cameras, queries): 1 where any height of a column is seen, else 0.
    """

    positions: Any
    visible: Any


def require_kinds(model: Any, known: Sequence[str], *, name: str) -> None:
    """Raise NetworkError for a module of the model's own source that has no traced form, with its place in the model.

    Modules of PyTorch, mmcv and mmdet are traced as they are. Losses are not called.

    Args:
        model: the whole network.
        known: the classes of the source that are traced, or computed in another form.
        name: the model's name, for the text.
    """
    for place, module in model.named_modules():
        kind, home = type(module).__name__, type(module).__module__.split(".")[0]
        is_loss = place.rpartition(".")[2].startswith("loss_")
        if place and home in OWN_SOURCES and kind not in known and not is_loss:
            operator = OPERATORS.get(kind, "which no traced form is written for")
            raise refuse_export(name, "{} is {}, {}".format(place, kind, operator))


def attend_deformable(
    attention: Any,
    query: Any,
    value: Any,
    references: Any,
    sizes: Sequence[Size],
    *,
    kept: Optional[Any] = None,
    gathers: bool = False,
) -> Any:
    """Deformable DETR's attention without its residual connection.

    Args:
        attention: a module of upstream's, `MultiScaleDeformableAttention` or one like it.
        query: (1, queries, channels), with its positional encoding.
        value: (1, pixels of all levels, channels).
        references: (1, queries, 1 or levels, 2 or 4): x, y and, of four, width and height; 0 to 1.
        sizes: each level's height and width.
        kept: (pixels of all levels, 1), 0 where a picture was padded, else 1; None for maps without padding.
        gathers: whether to do without GridSample.
    """
    heads, levels, points = attention.num_heads, attention.num_levels, attention.num_points
    queries, pixels = query.shape[1], value.shape[1]
    own = attention.value_proj(value)
    own = (own if kept is None else own * kept).view(1, pixels, heads, -1)
    offsets = attention.sampling_offsets(query).view(1, queries, heads, levels, points, 2)
    weights = attention.attention_weights(query).view(1, queries, heads, levels * points).softmax(-1)
    weights = weights.view(1, queries, heads, levels, points)
    references = references[:, :, None, :, None]
    if int(references.shape[-1]) == 2:
        positions = references + offsets / _widths_heights(query, sizes)
    else:
        positions = references[..., :2] + offsets / points * references[..., 2:] * 0.5
    return attention.output_proj(sample_deformable(own, sizes, positions, weights, gathers=gathers))


def attend_over_time(
    attention: Any, query: Any, encoding: Any, value: Any, references: Any, size: Size, *, gathers: bool
) -> Any:
    """BEVFormer's temporal self-attention, with its residual connection.

    Args:
        attention: upstream's `TemporalSelfAttention`.
        query: the BEV (1, queries, channels).
        encoding: its positional encoding, of the same shape.
        value: the BEV before and the one now, (2, queries, channels).
        references: where to look in each of them, (2, queries, 1, 2).
        size: height and width of the BEV.
        gathers: whether to do without GridSample.
    """
    torch = load_library("torch")
    heads, levels, points, count = attention.num_heads, attention.num_levels, attention.num_points, query.shape[1]
    both = torch.cat([value[:1], query + encoding], -1)
    own = attention.value_proj(value).reshape(2, count, heads, -1)
    offsets = attention.sampling_offsets(both).view(1, count, heads, 2, levels, points, 2)
    weights = attention.attention_weights(both).view(1, count, heads, 2, levels * points).softmax(-1)
    weights = weights.view(1, count, heads, 2, levels, points).permute(0, 3, 1, 2, 4, 5)
    offsets = offsets.permute(0, 3, 1, 2, 4, 5, 6)
    positions = references[:, :, None, :, None] + offsets.flatten(0, 1) / _widths_heights(query, [size])
    found = sample_deformable(own, [size], positions, weights.flatten(0, 1), gathers=gathers)
    return attention.output_proj(found.mean(0, keepdim=True)) + query


def attend_to_cameras(
    attention: Any, query: Any, features: Any, rig: Rig, sizes: Sequence[Size], *, gathers: bool
) -> Any:
    """BEVFormer's spatial cross-attention, with its residual connection: every query asks every camera, under a mask.

    Upstream gathers the queries that a camera sees, as many as the rig has it. What the others would get is
    multiplied by zero here, so the sum is the same and no shape depends on the rig.

    Args:
        attention: upstream's `SpatialCrossAttention`, or MapTR's `GeometrySptialCrossAttention`.
        query: the BEV (1, queries, channels).
        features: (cameras, pixels of all levels, channels).
        rig: where the BEV's columns are in the pictures.
        sizes: height and width of each level of `features`.
        gathers: whether to do without GridSample.
    """
    inner = inner_attention(attention)
    found = CAMERA_ATTENTIONS[type(inner).__name__](inner, query, features, rig, sizes, gathers)
    seen = (found * rig.visible[..., None]).sum(0, keepdim=True)
    count = rig.visible.sum(0, keepdim=True).clamp(min=1.0)[..., None]
    return attention.output_proj(seen / count) + query


def inner_attention(attention: Any) -> Any:
    """The module within a spatial cross-attention that samples the pictures; MapTR has another name for it."""
    found = getattr(attention, "deformable_attention", None)
    return attention.attention if found is None else found


def _sample_around(attention: Any, query: Any, features: Any, rig: Rig, sizes: Sequence[Size], gathers: bool) -> Any:
    """BEVFormer's `MSDeformableAttention3D`: points around each height of a column, (cameras, queries, channels)."""
    heads, levels, points, count = attention.num_heads, attention.num_levels, attention.num_points, query.shape[1]
    cameras, _, heights, _ = (int(one) for one in rig.positions.shape)
    own = attention.value_proj(features).view(cameras, features.shape[1], heads, -1)
    offsets = attention.sampling_offsets(query).view(1, count, heads, levels, points, 2)
    weights = attention.attention_weights(query).view(1, count, heads, levels * points).softmax(-1)
    weights = weights.view(1, count, heads, levels, points).expand(cameras, -1, -1, -1, -1)
    offsets = (offsets / _widths_heights(query, sizes)).view(1, count, heads, levels, points // heights, heights, 2)
    positions = rig.positions[:, :, None, None, None] + offsets
    positions = positions.view(cameras, count, heads, levels, points, 2)
    return sample_deformable(own, sizes, positions, weights, gathers=gathers)


def _sample_kernel(attention: Any, query: Any, features: Any, rig: Rig, sizes: Sequence[Size], _: bool) -> Any:
    """MapTR's `GeometryKernelAttention`: the pixels around where a column is seen, a head for each height."""
    heads, levels, points, count = attention.num_heads, attention.num_levels, attention.num_points, query.shape[1]
    cameras = int(rig.positions.shape[0])
    own = attention.value_proj(features).view(cameras, features.shape[1], heads, -1)
    weights = attention.attention_weights(query).view(1, count, heads, levels * points).softmax(-1)
    weights = weights.view(1, count, heads, levels, points)
    scale = query.new_tensor([[float(width), float(height)] for height, width in sizes])
    centers = rig.positions[:, :, :, None] * scale
    pixels = (centers[:, :, :, :, None] + attention.grid_offsets.to(query.dtype)).round()
    return sample_pixels(own, sizes, pixels, weights)


CameraAttention = Callable[[Any, Any, Any, Rig, Sequence[Size], bool], Any]
CAMERA_ATTENTIONS: Dict[str, CameraAttention] = {
    "MSDeformableAttention3D": _sample_around,
    "GeometryKernelAttention": _sample_kernel,
}
"""The class of upstream's module → the same computation here."""


def run_layer(layer: Any, query: Any, own: Callable[[Any, Any], Any], cross: Callable[[Any, Any], Any]) -> Any:
    """One layer of a transformer in the order that its configuration gives.

    Args:
        layer: a `BaseTransformerLayer` of mmcv's.
        query: what goes in.
        own: self-attention with its residual connection, of the attention's module and the query.
        cross: cross-attention, likewise.

    Raises:
        NetworkError: the layer normalises before attention, which no configuration of the catalogue does.
    """
    if layer.pre_norm:
        raise NetworkError("a layer that normalises before its attention is not written for exports")
    attentions, norms, feed_forwards = iter(layer.attentions), iter(layer.norms), iter(layer.ffns)
    for step in layer.operation_order:
        if step == "norm":
            query = next(norms)(query)
        elif step == "ffn":
            query = next(feed_forwards)(query, None)
        else:
            query = (own if step == "self_attn" else cross)(next(attentions), query)
    return query


def _widths_heights(like: Any, sizes: Sequence[Size]) -> Any:
    """Each level's width and height, (levels, 1, 2), for offsets (…, levels, points, 2)."""
    return like.new_tensor([[[float(width), float(height)]] for height, width in sizes])
