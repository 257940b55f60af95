"""Sampling feature maps by weights and positions that the network computes.

Two forms give the same numbers: GridSample, and four Gathers. Some runtimes compute GridSample wrong and say nothing,
so the second form has none.
"""

from typing import Any, Sequence, Tuple

from ..common.libraries import load_library

Size = Tuple[int, int]
"""Height and width of a feature map."""
OUTSIDE = (-1.0, 2.0)
"""Positions are clamped to these. Both lie outside of any map, where a sample is zero, and fit into half precision."""


def sample_deformable(value: Any, sizes: Sequence[Size], positions: Any, weights: Any, *, gathers: bool) -> Any:
    """Multi-scale deformable attention: the weighted sum of bilinear samples, zero outside a map.

    Args:
        value: features (batch, pixels of all levels, heads, channels).
        sizes: each level's height and width.
        positions: x and y, 0 to 1 over a map's width and height: (batch, queries, heads, levels, points, 2).
        weights: (batch, queries, heads, levels, points).
        gathers: whether to do without GridSample.

    Returns:
        (batch, queries, heads · channels).
    """
    batch, _, heads, channels = value.shape
    queries = positions.shape[1]
    levels = value.permute(0, 2, 1, 3).split([height * width for height, width in sizes], dim=2)
    sample = _by_gathers if gathers else _by_grid_sample
    result: Any = None
    for index, (own, size) in enumerate(zip(levels, sizes)):
        where = positions[:, :, :, index].permute(0, 2, 1, 3, 4).flatten(0, 1).clamp(*OUTSIDE)
        share = weights[:, :, :, index].permute(0, 2, 1, 3).flatten(0, 1)
        found = sample(own.flatten(0, 1), size, where, share)
        result = found if result is None else result + found
    return result.reshape(batch, heads, queries, channels).permute(0, 2, 1, 3).reshape(batch, queries, heads * channels)


def sample_pixels(value: Any, sizes: Sequence[Size], pixels: Any, weights: Any) -> Any:
    """The weighted sum of whole pixels, clamped to each level's border.

    Args:
        value: features (batch, pixels of all levels, heads, channels).
        sizes: each level's height and width.
        pixels: x and y, whole numbers as floats: (batch, queries, heads, levels, points, 2).
        weights: (batch or 1, queries, heads, levels, points).

    Returns:
        (batch, queries, heads · channels).
    """
    batch, _, heads, channels = value.shape
    queries, points = pixels.shape[1], pixels.shape[4]
    levels = value.permute(0, 2, 1, 3).split([height * width for height, width in sizes], dim=2)
    result: Any = None
    for index, (own, (height, width)) in enumerate(zip(levels, sizes)):
        table, first = _table(own.flatten(0, 1))
        where = pixels[:, :, :, index].permute(0, 2, 1, 3, 4).flatten(0, 1)
        column = where[..., 0].clamp(0, width - 1)
        row = where[..., 1].clamp(0, height - 1)
        place = (row * width + column).long() + first
        share = weights[:, :, :, index].permute(0, 2, 1, 3)[..., None]
        for point in range(int(points)):  # one at a time: all at once take as many times the memory
            found = _rows(table, place[..., point]).reshape(batch, heads, queries, channels) * share[:, :, :, point]
            result = found if result is None else result + found
    return result.permute(0, 2, 1, 3).reshape(batch, queries, heads * channels)


def _by_grid_sample(value: Any, size: Size, where: Any, share: Any) -> Any:
    """(maps, pixels, channels) at (maps, queries, points, 2) by (maps, queries, points) → (maps, queries, channels)."""
    functional = load_library("torch.nn.functional")
    maps, _, channels = value.shape
    picture = value.transpose(1, 2).reshape(maps, channels, *size)
    found = functional.grid_sample(picture, 2 * where - 1, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (found * share[:, None]).sum(-1).transpose(1, 2)


def _by_gathers(value: Any, size: Size, where: Any, share: Any) -> Any:
    """As `_by_grid_sample`."""
    height, width = size
    table, first = _table(value)
    x, y = where[..., 0] * width - 0.5, where[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    right_share, bottom_share = x - left, y - top
    result: Any = None
    for column, by_column in ((left, 1 - right_share), (left + 1, right_share)):
        for row, by_row in ((top, 1 - bottom_share), (top + 1, bottom_share)):
            inside = (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)
            weight = share * by_column * by_row * inside.to(share.dtype)
            place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long() + first
            found = (_rows(table, place) * weight[..., None]).sum(2)
            result = found if result is None else result + found
    return result


def _table(value: Any) -> Tuple[Any, Any]:
    """All maps' pixels as rows of one table (maps · pixels, channels), and where each map begins, (maps, 1, 1)."""
    torch = load_library("torch")
    maps, pixels, channels = (int(one) for one in value.shape)
    first = torch.arange(maps, device=value.device) * pixels
    return value.reshape(maps * pixels, channels), first.reshape(maps, 1, 1)


def _rows(table: Any, places: Any) -> Any:
    """The table's rows at whole-numbered places of any shape; one Gather."""
    return load_library("torch.nn.functional").embedding(places, table)
