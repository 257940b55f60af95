"""The stand-ins of LiDAR networks on the device against the CPU: sparse convolutions, voxels, pooling; and their times.

`runners/worker/mmlab/common` has them in PyTorch: BEVFusion's own operations run by them on every GPU. They need torch
alone, neither mmcv nor a model's source.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from checkout import CHECKOUT
from reporting import Report, Skip, run_stage

from worker.mmlab.common.libraries import load_library

POINTS = 250_000
"""As many as a key frame and nine sweeps within 54 m."""
EXTENT = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)
VOXEL_M = (0.075, 0.075, 0.2)
GRID = (1440, 1440, 41)
MOST_POINTS, MOST_VOXELS = 10, 160_000
CHANNELS = (16, 32)
PIXELS = 6 * 118 * 32 * 88
"""Rows that BEVFusion pools: six cameras, 118 depths, 32 by 88 cells of features."""
BEV = (1, 360, 360)
TOLERANCE = 1e-4


def work(report: Report) -> None:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise Skip(f"this Python has no torch: {error}") from error
    assert CHECKOUT.is_dir()
    device, share = report.options.device, 20 if report.options.tiny else 1
    with torch.no_grad():
        points = make_points(torch, POINTS // share)
        report.add("voxels", check_voxels(torch, points, device))
        report.add("sparse", check_sparse(torch, points, device))
        report.add("pooling", check_pooling(torch, PIXELS // share, device))
    failed = [name for name, found in report.results.items() if not found["ok"]]
    if failed:
        raise RuntimeError(f"differ from the CPU: {', '.join(failed)}")


def make_points(torch: Any, count: int) -> Any:
    """Points (count, 5), dense nearby and thin far away, as a LiDAR gives them."""
    chance = torch.Generator().manual_seed(0)
    distance = 54 * torch.rand(count, generator=chance) ** 2
    angle = 6.2832 * torch.rand(count, generator=chance)
    height = -1.8 + 2.5 * torch.rand(count, generator=chance) ** 3
    rest = torch.rand(count, 2, generator=chance)
    return torch.column_stack([distance * angle.cos(), distance * angle.sin(), height, rest])


def voxelize(torch: Any, points: Any) -> tuple[Any, Any, Any]:
    """The voxels of points, their cells and counts."""
    voxels = points.new_zeros((MOST_VOXELS, MOST_POINTS, points.shape[1]))
    cells = torch.zeros((MOST_VOXELS, 3), dtype=torch.int32, device=points.device)
    counts = torch.zeros(MOST_VOXELS, dtype=torch.int32, device=points.device)
    sort = load_library("worker.mmlab.common.voxels").hard_voxelize
    found = sort(points, voxels, cells, counts, VOXEL_M, EXTENT, MOST_POINTS, MOST_VOXELS)
    return voxels[:found], cells[:found], counts[:found]


def check_voxels(torch: Any, points: Any, device: str) -> dict[str, Any]:
    """Voxels, cells and counts, which must be equal to the bit."""
    there = points.to(device)
    same = all(torch.equal(a, b.cpu()) for a, b in zip(voxelize(torch, points), voxelize(torch, there), strict=True))
    return {"ok": same, "ms": time_ms(torch, device, lambda: voxelize(torch, there))}


def check_sparse(torch: Any, points: Any, device: str) -> dict[str, Any]:
    """A submanifold convolution and one of stride 2, as the encoder begins."""
    sparse = load_library("worker.mmlab.common.sparse")
    voxels, cells, counts = voxelize(torch, points)
    cells = torch.cat([torch.zeros_like(cells[:, :1]), cells], dim=1)
    features = voxels.sum(dim=1) / counts[:, None]
    first, second = (torch.randn(3, 3, 3, a, b) / 8 for a, b in ((5, CHANNELS[0]), CHANNELS))

    def encode(place: str) -> Any:
        here, given = cells.to(place), features.to(place)
        same = (here, 1, GRID, (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), (0, 0, 0), True)
        out, pairs, numbers = sparse.find_pairs(*same)
        given = sparse.apply_pairs(given, first.to(place), pairs, numbers, len(out))
        out, pairs, numbers = sparse.find_pairs(out, 1, GRID, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1), (0, 0, 0))
        return out, sparse.apply_pairs(given, second.to(place), pairs, numbers, len(out))

    (own_cells, own), (their_cells, theirs) = encode("cpu"), encode(device)
    same = own_cells.shape == their_cells.shape and bool(torch.equal(own_cells, their_cells.cpu()))
    difference = float((own - theirs.cpu()).abs().max()) if same else float("inf")
    return {
        "ok": difference < TOLERANCE,
        "difference": difference,
        "voxels": len(cells),
        "ms": time_ms(torch, device, lambda: encode(device)),
    }


def check_pooling(torch: Any, rows: int, device: str) -> dict[str, Any]:
    """Features of 80 channels, summed up by cell."""
    pool = load_library("worker.mmlab.common.bev_pool").bev_pool_forward
    chance = torch.Generator().manual_seed(1)
    ranks = torch.sort(torch.randint(0, BEV[1] * BEV[2], (rows,), generator=chance)).values
    zeros = torch.zeros_like(ranks)
    places = torch.column_stack([ranks // BEV[2], ranks % BEV[2], zeros, zeros]).int()
    begins = torch.cat([torch.ones(1, dtype=torch.bool), ranks[1:] != ranks[:-1]])
    starts = torch.nonzero(begins).flatten().int()
    lengths = torch.diff(starts, append=torch.tensor([rows], dtype=torch.int32))
    features = torch.randn(rows, 80, generator=chance)
    given = [one.to(device) for one in (features, places, lengths, starts)]
    own, theirs = pool(features, places, lengths, starts, 1, *BEV), pool(*given, 1, *BEV)
    difference = float((own - theirs.cpu()).abs().max())
    return {
        "ok": difference < TOLERANCE,
        "difference": difference,
        "rows": rows,
        "ms": time_ms(torch, device, lambda: pool(*given, 1, *BEV)),
    }


def time_ms(torch: Any, device: str, call: Any) -> float | None:
    """The median time of five calls on a GPU [ms]; None on a CPU, where it says nothing."""
    if device == "cpu":
        return None
    times = []
    for _ in range(6):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return float(sorted(times[1:])[2])


if __name__ == "__main__":
    sys.exit(run_stage("stage_7_lidar", work))
