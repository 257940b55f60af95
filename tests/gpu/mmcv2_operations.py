"""mmcv 2's compiled operations against the worker's stand-ins: `mmcv2_operations.py --device cuda:0 [--path FOLDER]`.

Prints JSON: `voxels` are equal to the bit; `sparse` is the largest difference of a submanifold convolution, of one of
stride 2 and of the way back, None on a CPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import Any

from checkout import CHECKOUT

TOLERANCE = 1e-4
SHAPE = (64, 64, 21)
EXTENT, VOXEL_M = (-3.2, -3.2, -5.0, 3.2, 3.2, 3.0), (0.1, 0.1, 0.4)
CONVOLUTIONS = ((True, (1, 1, 1), (1, 1, 1)), (False, (2, 2, 2), (1, 1, 1)), (False, (2, 2, 2), (1, 1, 0)))
"""Submanifold, stride, padding."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", required=True)
    parser.add_argument("--path", action="append", default=[])
    options = parser.parse_args()
    assert CHECKOUT.is_dir()
    sys.path[:0] = options.path
    try:
        operations = importlib.import_module("mmcv.ops")
        version = str(importlib.import_module("mmcv").__version__)
    except ImportError as error:
        print(json.dumps({"skipped": f"no compiled mmcv in this Python: {error}"}))
        return
    if version.startswith("1."):
        print(json.dumps({"skipped": f"mmcv here is {version}: admlops env install CenterPoint --device cpu"}))
        return
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    with torch.no_grad():
        same = compare_voxels(torch, operations, options.device)
        apart = None if options.device == "cpu" else compare_sparse(torch, options.device)
    ok = same and (apart is None or apart < TOLERANCE)
    print(json.dumps({"ok": ok, "version": version, "voxels": same, "sparse": apart}))


def compare_voxels(torch: Any, operations: Any, device: str) -> bool:
    """Whether both give the same voxels, cells and counts."""
    points = (torch.rand(40_000, 5) * 8 - 4).to(device)
    most_points, most_voxels = 5, 20_000
    voxels = points.new_zeros((most_voxels, most_points, 5))
    cells = torch.zeros((most_voxels, 3), dtype=torch.int32, device=device)
    counts = torch.zeros(most_voxels, dtype=torch.int32, device=device)
    sort = importlib.import_module("worker.mmlab.common.voxels").hard_voxelize
    found = sort(points, voxels, cells, counts, VOXEL_M, EXTENT, most_points, most_voxels)
    layer = operations.Voxelization(VOXEL_M, EXTENT, most_points, most_voxels).eval()
    theirs, their_cells, their_counts = layer(points)
    return bool(
        torch.equal(voxels[:found], theirs)
        and torch.equal(cells[:found], their_cells.flip(1).to(cells.dtype))
        and torch.equal(counts[:found], their_counts.to(counts.dtype))
    )


def compare_sparse(torch: Any, device: str) -> float:
    """The largest difference over all convolutions, as dense grids: the rows' order is each one's own."""
    sparse = importlib.import_module("worker.mmlab.common.sparse")
    compiled = importlib.import_module("mmcv.ops.sparse_ops")
    occupied = torch.rand(2, *SHAPE) < 1 / 8
    cells = torch.nonzero(occupied).int().contiguous().to(device)
    features = torch.randn(len(cells), 16, device=device)
    worst = 0.0
    for submanifold, stride, padding in CONVOLUTIONS:
        weight = torch.randn(3, 3, 3, 16, 32, device=device) / 16
        settings = (2, list(SHAPE), [3, 3, 3], list(stride), list(padding), [1, 1, 1], [0, 0, 0], submanifold, False)
        grids = []
        for library, apply in (
            (sparse.find_pairs, sparse.apply_pairs),
            (compiled.get_indice_pairs, compiled.indice_conv),
        ):
            out, pairs, counts = library(cells, *settings)
            rows = apply(features, weight, pairs, counts, out.shape[0], False, submanifold)
            sides = [(side + 2 * pad - 3) // step + 1 for side, pad, step in zip(SHAPE, padding, stride, strict=True)]
            grid = torch.zeros(2, *(SHAPE if submanifold else sides), 32, device=device)
            frame, x, y, z = out.long().unbind(1)
            grid[frame, x, y, z] = rows
            grids.append(grid)
        worst = max(worst, float((grids[0] - grids[1]).abs().max()))
    return worst


if __name__ == "__main__":
    main()
