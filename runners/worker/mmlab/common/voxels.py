"""Points sorted into voxels, in PyTorch: what the compiled modules of BEVFusion and MapTR compute, on any device.

The result is that of the compiled operation of mmcv's on a CPU, bit for bit, with the coordinates in the order x, y, z.
"""

from typing import Any, Sequence, Tuple

from .libraries import load_library

OUTSIDE = -1


def hard_voxelize(
    points: Any,
    voxels: Any,
    cells: Any,
    counts: Any,
    voxel_size: Sequence[float],
    extent: Sequence[float],
    most_points: int,
    most_voxels: int,
    dimensions: int = 3,
    deterministic: bool = True,
) -> int:
    """Sort points into voxels, which stand in the order of their first points. Returns how many there are.

    A voxel keeps its first points, and voxels beyond the limit are dropped with their points.

    Args:
        points: (n, features), of which the first three are x, y, z [m].
        voxels: filled: (most_voxels, most_points, features), zeros before.
        cells: filled: (most_voxels, 3), the voxels' x, y and z in the grid.
        counts: filled: (most_voxels,), the points in each.
        voxel_size: x, y, z [m].
        extent: the smallest and the largest x, y, z [m].
        most_points: a voxel's limit.
        most_voxels: the limit of voxels.
        dimensions: 3.
        deterministic: it always is.
    """
    torch = load_library("torch")
    places, side = _places(points, voxel_size, extent)
    kept = torch.nonzero(places[:, 0] != OUTSIDE).flatten()
    if not len(kept):
        return 0
    inside = places[kept]
    number = (inside[:, 0] * side[1] + inside[:, 1]) * side[2] + inside[:, 2]
    ordered, order = torch.sort(number, stable=True)
    begins = torch.cat([torch.ones_like(ordered[:1], dtype=torch.bool), ordered[1:] != ordered[:-1]])
    group = torch.cumsum(begins, 0) - 1
    starts = torch.nonzero(begins).flatten()
    rank = torch.arange(len(ordered), device=points.device) - starts[group]
    first = order[starts]  # the sort is stable: a group's first is the first of its points
    place = torch.empty_like(first)
    place[torch.argsort(first)] = torch.arange(len(first), device=points.device)
    voxel = place[group]
    taken = (voxel < most_voxels) & (rank < most_points)
    rows = kept[order[taken]]
    voxels[voxel[taken], rank[taken]] = points[rows]
    found = min(len(first), most_voxels)
    chosen = torch.argsort(place)[:found]
    cells[:found] = inside[first[chosen]].to(cells.dtype)
    ends = torch.cat([starts[1:], starts.new_tensor([len(ordered)])])
    counts[:found] = (ends - starts)[chosen].clamp(max=most_points).to(counts.dtype)
    return found


def dynamic_voxelize(
    points: Any, cells: Any, voxel_size: Sequence[float], extent: Sequence[float], dimensions: int = 3
) -> None:
    """Fill `cells` (n, 3) with the voxel x, y, z of each point, -1 thrice for a point outside the extent."""
    places, _ = _places(points, voxel_size, extent)
    cells[:] = places.to(cells.dtype)


def _places(points: Any, voxel_size: Sequence[float], extent: Sequence[float]) -> Tuple[Any, Sequence[int]]:
    """The voxel of each point (n, 3), OUTSIDE thrice where it has none, and the grid's sides."""
    torch = load_library("torch")
    low = points.new_tensor([float(value) for value in extent[:3]])
    size = points.new_tensor([float(value) for value in voxel_size])
    high = points.new_tensor([float(value) for value in extent[3:]])
    side = torch.round((high - low) / size).long()
    places = torch.floor((points[:, :3] - low) / size)
    inside = ((places >= 0) & (places < side)).all(dim=1, keepdim=True)
    return torch.where(inside, places, torch.full_like(places, OUTSIDE)).long(), side.tolist()
