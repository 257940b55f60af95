# ruff: noqa: UP006, UP035  the worker's own Python 3.8 style is kept in what runs beside it
"""Run by an environment with torch: the stand-ins of mmlab/common against references. Prints the differences as JSON.

    python mm2_operations.py

The references are dense convolutions, voxels filled point by point as the compiled operations' sources say, and, where
mmcv is compiled, its own operation; and upstream's cumulative sums in double precision.
"""

import json
import sys
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

import torch  # type: ignore[import-not-found]

from worker.mmlab.common import bev_pool, sparse, voxels
from worker.mmlab.v2.weights import NOTE, turn_sparse_weights

CONVOLUTIONS = [
    # submanifold, kernel, stride, padding, dilation
    (True, (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    (False, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1)),
    (False, (3, 3, 3), (2, 2, 2), (1, 1, 0), (1, 1, 1)),
    (False, (1, 1, 3), (1, 1, 2), (0, 0, 0), (1, 1, 1)),
    (True, (3, 3, 3), (1, 1, 1), (2, 2, 2), (2, 2, 2)),
]
SHAPE = (18, 20, 11)
BATCH = 2
VOXELISATIONS = [
    # voxel size [m], most points, most voxels
    ((0.2, 0.2, 8.0), 20, 40000),
    ((0.075, 0.075, 0.2), 10, 160000),
    ((0.5, 0.5, 0.5), 3, 700),
]
EXTENT = (-10.0, -10.0, -5.0, 10.0, 10.0, 3.0)


def main() -> None:
    torch.manual_seed(1)
    found = {
        "convolutions": [compare_convolution(*one) for one in CONVOLUTIONS],
        "inverse": compare_inverse(),
        "empty": convolve_nothing(),
        "pooling": compare_pooling(),
        "voxels": [compare_voxels(*one) for one in VOXELISATIONS],
        "compiled_voxels": [compare_compiled_voxels(*one) for one in VOXELISATIONS],
        "weights": turn_weights(),
    }
    print(json.dumps(found))


def compare_convolution(submanifold: bool, kernel: Any, stride: Any, padding: Any, dilation: Any) -> float:
    """The largest difference from `conv3d`; for a submanifold one, at the input's cells alone."""
    dense, cells = random_cells(5)
    weight = torch.randn(*kernel, 5, 7)
    out_cells, pairs, counts = sparse.find_pairs(
        cells, BATCH, SHAPE, kernel, stride, padding, dilation, (0, 0, 0), submanifold
    )
    features = dense[cells[:, 0].long(), :, cells[:, 1].long(), cells[:, 2].long(), cells[:, 3].long()]
    ours = sparse.apply_pairs(features, weight, pairs, counts, len(out_cells), False, submanifold)
    theirs = torch.nn.functional.conv3d(
        dense, weight.permute(4, 3, 0, 1, 2), stride=stride, padding=padding, dilation=dilation
    )
    frame, x, y, z = out_cells.long().unbind(1)
    apart = float((ours - theirs[frame, :, x, y, z]).abs().max())
    if not submanifold:
        rest = theirs.clone()
        rest[frame, :, x, y, z] = 0.0
        apart = max(apart, float(rest.abs().max()))  # nothing is outside the cells that were found
    return apart


def compare_inverse() -> float:
    """The way back along a convolution's pairs, against sums written out."""
    _, cells = random_cells(4)
    out_cells, pairs, counts = sparse.find_pairs(
        cells, BATCH, SHAPE, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1), (0, 0, 0)
    )
    features, weight = torch.randn(len(out_cells), 4), torch.randn(3, 3, 3, 4, 6)
    ours = sparse.apply_pairs(features, weight, pairs, counts, len(cells), True)
    theirs = torch.zeros(len(cells), 6)
    for index, count in enumerate(counts.tolist()):
        for place in range(count):
            source, target = int(pairs[index, 1, place]), int(pairs[index, 0, place])
            theirs[target] += features[source] @ weight.reshape(27, 4, 6)[index]
    return float((ours - theirs).abs().max())


def convolve_nothing() -> List[int]:
    """The cells and rows that a frame without a point gives."""
    cells = torch.zeros((0, 4), dtype=torch.int32)
    out_cells, pairs, counts = sparse.find_pairs(cells, 1, SHAPE, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1), (0, 0, 0))
    rows = sparse.apply_pairs(torch.zeros(0, 5), torch.randn(3, 3, 3, 5, 7), pairs, counts, len(out_cells))
    return [len(out_cells), len(rows)]


def random_cells(channels: int) -> Any:
    """A dense grid (frames, channels, x, y, z) of which one cell in six is occupied, and those cells, shuffled."""
    occupied = torch.rand(BATCH, *SHAPE) < 1 / 6
    dense = torch.randn(BATCH, channels, *SHAPE) * occupied[:, None]
    cells = torch.nonzero(occupied).to(torch.int32)
    return dense, cells[torch.randperm(len(cells))].contiguous()


def compare_pooling() -> Dict[str, float]:
    """Ours and upstream's cumulative sums in single precision, against the same in double."""
    rows, sides = 200_000, (1, 60, 60)
    features = torch.randn(rows, 8)
    x, y, z = (torch.randint(0, side, (rows,)) for side in (sides[1], sides[2], sides[0]))
    places = torch.stack([x, y, z, torch.randint(0, BATCH, (rows,))], dim=1)
    ranks = places[:, 0] * (sides[2] * sides[0] * BATCH) + places[:, 1] * (sides[0] * BATCH) + places[:, 2] * BATCH
    ranks = ranks + places[:, 3]
    order = ranks.argsort()
    features, places, ranks = features[order], places[order], ranks[order]
    begins = torch.ones(rows, dtype=torch.bool)
    begins[1:] = ranks[1:] != ranks[:-1]
    starts = torch.where(begins)[0].int()
    lengths = torch.diff(starts, append=torch.tensor([rows], dtype=torch.int32))
    ours = bev_pool.bev_pool_forward(features, places.int(), lengths, starts, BATCH, *sides)
    exact = quick_cumsum(features.double(), places, ranks, sides)
    upstream = quick_cumsum(features, places, ranks, sides)
    return {"ours": float((ours - exact).abs().max()), "upstream": float((upstream - exact).abs().max())}


def quick_cumsum(features: Any, places: Any, ranks: Any, sides: Any) -> Any:
    """Upstream's own formulation in PyTorch (`QuickCumsum`), put into the grid."""
    summed = features.cumsum(0)
    kept = torch.ones(len(features), dtype=torch.bool)
    kept[:-1] = ranks[1:] != ranks[:-1]
    summed, places = summed[kept], places[kept]
    summed = torch.cat((summed[:1], summed[1:] - summed[:-1]))
    grid = features.new_zeros((BATCH, *sides, features.shape[1]))
    grid[places[:, 3], places[:, 2], places[:, 0], places[:, 1]] = summed
    return grid


def random_points() -> Any:
    """Points in clusters and outside, on cells' borders too, in a dense cloud (n, 5)."""
    points = torch.cat([torch.randn(4000, 5) * 4, torch.rand(4000, 5) * 24 - 12])
    points[::50, :2] = torch.round(points[::50, :2] * 5) / 5
    return points[torch.randperm(len(points))].contiguous()


def voxelize(points: Any, size: Any, most_points: int, most_voxels: int) -> List[Any]:
    filled = torch.zeros(most_voxels, most_points, points.shape[1])
    cells = torch.zeros(most_voxels, 3, dtype=torch.int32)
    counts = torch.zeros(most_voxels, dtype=torch.int32)
    found = voxels.hard_voxelize(points, filled, cells, counts, size, EXTENT, most_points, most_voxels)
    return [found, filled, cells, counts]


def compare_voxels(size: Any, most_points: int, most_voxels: int) -> bool:
    """Whether voxels, cells and counts are those of a loop over the points, and cells those of dynamic voxelisation."""
    points = random_points()
    found, filled, cells, counts = voxelize(points, size, most_points, most_voxels)
    low, step = torch.tensor(EXTENT[:3]), torch.tensor(size)
    sides = torch.round((torch.tensor(EXTENT[3:]) - low) / step).long().tolist()
    known, their_filled = {}, torch.zeros_like(filled)  # type: Dict[Any, int], Any
    their_counts, each = torch.zeros_like(counts), torch.zeros(len(points), 3, dtype=torch.int32)
    for row, point in enumerate(points):
        cell = tuple(torch.floor((point[:3] - low) / step).long().tolist())
        outside = any(not 0 <= place < side for place, side in zip(cell, sides, strict=True))
        each[row] = torch.tensor((-1, -1, -1) if outside else cell)
        if outside or (cell not in known and len(known) == most_voxels):
            continue
        voxel = known.setdefault(cell, len(known))
        count = int(their_counts[voxel])
        if count < most_points:
            their_filled[voxel, count] = point
            their_counts[voxel] += 1
    dynamic = torch.zeros_like(each)
    voxels.dynamic_voxelize(points, dynamic, size, EXTENT)
    same_cells = cells[:found].tolist() == [list(cell) for cell in known]
    return bool(
        found == len(known)
        and same_cells
        and torch.equal(filled, their_filled)
        and torch.equal(counts, their_counts)
        and torch.equal(dynamic, each)
    )


def compare_compiled_voxels(size: Any, most_points: int, most_voxels: int) -> Any:
    """Whether the compiled operation of mmcv gives the very same; None where mmcv is not compiled."""
    try:
        from mmcv.ops import Voxelization  # type: ignore[import-not-found]
    except ImportError:
        return None
    points = random_points()
    found, filled, cells, counts = voxelize(points, size, most_points, most_voxels)
    layer = Voxelization(size, EXTENT, most_points, most_voxels).eval()
    theirs, their_cells, their_counts = layer(points)
    return bool(
        torch.equal(filled[:found], theirs)
        and torch.equal(cells[:found], their_cells.flip(1).to(cells.dtype))
        and torch.equal(counts[:found], their_counts)
    )


def turn_weights() -> Dict[str, Any]:
    """A layer's weights as spconv 2 keeps them, turned; and what is left as it is."""
    own = {"conv.weight": torch.randn(3, 3, 3, 5, 16), "dense.weight": torch.randn(8, 4, 3, 3)}
    state = {"conv.weight": own["conv.weight"].permute(4, 0, 1, 2, 3).contiguous(), "dense.weight": own["dense.weight"]}
    notes = turn_sparse_weights(state, own)
    back = {"conv.weight": own["conv.weight"].clone()}
    turn_sparse_weights(back, {"conv.weight": state["conv.weight"].permute(4, 0, 1, 2, 3)})
    foreign = {"conv.weight": torch.randn(3, 3, 3, 6, 16)}
    return {
        "noted": notes == [NOTE],
        "same": bool(torch.equal(state["conv.weight"], own["conv.weight"])),
        "untouched": turn_sparse_weights(dict(own), own) == [],
        "foreign": turn_sparse_weights(foreign, own) == [] and tuple(foreign["conv.weight"].shape) == (3, 3, 3, 6, 16),
    }


if __name__ == "__main__":
    main()
