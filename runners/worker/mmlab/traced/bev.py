"""BEVFormer's encoder: from the cameras' features to a map from above, with the rig as an input.

MapTR and VAD have it from BEVFormer. What upstream works out of a sample's poses in NumPy is an input here, made by
`ego_motion`.
"""

from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..common.libraries import load_library
from .attention import Rig, attend_over_time, attend_to_cameras, run_layer
from .sampling import Size

NEAREST = 1e-5
"""The least depth [m] that upstream divides by, and the least of a point that is seen."""


class Before(NamedTuple):
    """The BEV of the sample before.

    `bev` (1, queries, channels); `pixels` (queries,): where each query was in it plus 1, 0 where it was outside;
    `shift` (1, 2): how far the vehicle moved, in parts of the BEV's width and height; `known` (1,): 0 for a scene's
    first sample, else 1.
    """

    bev: Any
    pixels: Any
    shift: Any
    known: Any


def see(
    model: Any,
    given: Mapping[str, Any],
    columns: Any,
    references: Any,
    *,
    both_shifted: bool = False,
    gathers: bool = False,
) -> Any:
    """From the cameras' pictures to the BEV (1, queries, channels).

    Args:
        model: upstream's network, with `img_backbone`, `img_neck` and `pts_bbox_head`.
        given: the network's inputs by name: `pictures` (cameras, 3, height, width), `lidar2img`, and those of
            `ego_motion` that it has.
        columns: of `column_points`.
        references: of `look_up_references`.
        both_shifted: as in `encode_bev`.
        gathers: whether to do without GridSample.
    """
    head = model.pts_bbox_head
    transformer, size = head.transformer, (head.bev_h, head.bev_w)
    pictures = given["pictures"]
    features, sizes = flatten_levels(transformer, model.img_neck(model.img_backbone(pictures)))
    encoding = head.positional_encoding(pictures.new_zeros(1, *size)).flatten(2).transpose(1, 2)
    query = add_can_bus(transformer, head.bev_embedding.weight[None], given.get("can_bus"))
    before = None
    if "previous_bev" in given:
        before = Before(given["previous_bev"], given["previous_pixels"], given["shift"], given["has_previous"])
    rig = project(columns, given["lidar2img"], (int(pictures.shape[-2]), int(pictures.shape[-1])))
    return encode_bev(
        transformer.encoder,
        query,
        encoding,
        features,
        sizes,
        rig,
        size,
        references,
        before,
        both_shifted=both_shifted,
        gathers=gathers,
    )


def column_points(encoder: Any, size: Size) -> Any:
    """The points that the BEV's columns ask the cameras about, (heights, queries, 3) [m], in the LiDAR's frame."""
    torch = load_library("torch")
    low, high = encoder.pc_range[:3], encoder.pc_range[3:]
    points = encoder.get_reference_points(
        *size,
        high[2] - low[2],
        encoder.num_points_in_pillar,
        dim="3d",
        bs=1,
        device="cpu",
        dtype=torch.float,
    )[0]
    return torch.stack([points[..., axis] * (high[axis] - low[axis]) + low[axis] for axis in range(3)], -1)


def look_up_references(encoder: Any, size: Size) -> Any:
    """Where each query is in the BEV, 0 to 1: (1, queries, 1, 2)."""
    torch = load_library("torch")
    return encoder.get_reference_points(*size, dim="2d", bs=1, device="cpu", dtype=torch.float)


def project(points: Any, lidar2img: Any, picture: Size) -> Rig:
    """Where points are in pictures.

    Products and sums are written out: a rounding error that runtimes do not share would move a pixel that
    `GeometryKernelAttention` rounds to.

    Args:
        points: (heights, queries, 3) [m], in the LiDAR's frame.
        lidar2img: (cameras, 4, 4), to pixels of the pictures as the network gets them.
        picture: height and width of the pictures [pixels].
    """
    torch = load_library("torch")
    matrix = lidar2img[:, :, :, None, None]
    x, y, z = points[None, ..., 0], points[None, ..., 1], points[None, ..., 2]
    across, down, depth = (
        matrix[:, row, 0] * x + matrix[:, row, 1] * y + matrix[:, row, 2] * z + matrix[:, row, 3] for row in range(3)
    )
    away = depth.clamp(min=NEAREST)
    height, width = picture
    u, v = across / away / float(width), down / away / float(height)
    seen = (depth > NEAREST) & (u > 0) & (u < 1) & (v > 0) & (v < 1)
    visible = seen.to(points.dtype).amax(1)
    return Rig(torch.stack([u, v], -1).permute(0, 2, 1, 3), visible)


def flatten_levels(transformer: Any, levels: Sequence[Any]) -> Tuple[Any, List[Size]]:
    """Features (cameras, channels, height, width) of each level in one tensor, and the levels' sizes.

    The tensor is (cameras, pixels of all levels, channels). The embeddings of its camera and level are added to each.
    """
    torch = load_library("torch")
    flat, sizes = [], []
    for index, own in enumerate(levels):
        sizes.append((int(own.shape[-2]), int(own.shape[-1])))
        own = own.flatten(2).transpose(1, 2)
        if transformer.use_cams_embeds:
            own = own + transformer.cams_embeds[:, None, :]
        flat.append(own + transformer.level_embeds[None, index : index + 1, :])
    return torch.cat(flat, 1), sizes


def add_can_bus(transformer: Any, query: Any, can_bus: Optional[Any]) -> Any:
    """The BEV's queries (1, queries, channels) with the vehicle's motion (1, 18) added."""
    if can_bus is None:
        return query
    length = getattr(transformer, "len_can_bus", int(can_bus.shape[1]))
    return query + transformer.can_bus_mlp(can_bus[:, :length])[:, None]


def encode_bev(
    encoder: Any,
    query: Any,
    encoding: Any,
    features: Any,
    sizes: Sequence[Size],
    rig: Rig,
    size: Size,
    references: Any,
    before: Optional[Before],
    *,
    both_shifted: bool = False,
    gathers: bool = False,
) -> Any:
    """BEVFormer's encoder.

    Args:
        encoder: upstream's `BEVFormerEncoder`.
        query: the BEV's queries (1, queries, channels).
        encoding: their positional encoding, of the same shape.
        features: (cameras, pixels of all levels, channels), of `flatten_levels`.
        sizes: their levels' height and width.
        rig: of `project`.
        size: height and width of the BEV.
        references: of `look_up_references`.
        before: the sample before; None for networks that look at one sample.
        both_shifted: VAD's encoder moves the places in the BEV now as well; BEVFormer's own those in the one before.
        gathers: whether to do without GridSample.

    Returns:
        (1, queries, channels).
    """
    torch = load_library("torch")
    shifted = references if before is None else references + before.shift[:, None, None, :]
    where = torch.cat([shifted, shifted if both_shifted else references])
    first = query
    previous = None if before is None else move_bev(before)

    def over_time(attention: Any, now: Any) -> Any:
        value = torch.cat([now, now])
        if before is not None:
            value = torch.where(before.known.reshape(1, 1, 1) > 0.5, torch.cat([previous, first]), value)
        return attend_over_time(attention, now, encoding, value, where, size, gathers=gathers)

    def to_cameras(attention: Any, now: Any) -> Any:
        return attend_to_cameras(attention, now, features, rig, sizes, gathers=gathers)

    for layer in encoder.layers:
        query = run_layer(layer, query, over_time, to_cameras)
    return query


def move_bev(before: Before) -> Any:
    """The BEV before as it lies now, (1, queries, channels): turned pixel by pixel, zero where it was outside."""
    torch = load_library("torch")
    rows = before.bev[0]
    outside = rows.new_zeros(1, int(rows.shape[1]))
    return load_library("torch.nn.functional").embedding(before.pixels, torch.cat([outside, rows]))[None]
