"""Pooling of camera features into bird's-eye view, in PyTorch: the compiled modules of MapTR and BEVFusion want a GPU.

The sums are taken in one order whatever the device, so a result is the same in every call.
"""

from typing import Any

from .libraries import load_library


def bev_pool_forward(
    features: Any, places: Any, lengths: Any, starts: Any, frames: int, height: int, length: int, width: int
) -> Any:
    """Add up the features of each cell.

    Args:
        features: (n, channels), those of a cell next to each other.
        places: (n, 4): the cell's x, y and z, and the frame.
        lengths: how many rows each cell has, (cells,); `starts` is its first row.
        frames: the frames of the batch.
        height: the cells along z; `length` along x, `width` along y.

    Returns:
        (frames, height, length, width, channels), zeros where there is nothing.
    """
    torch = load_library("torch")
    sums = torch.segment_reduce(features, "sum", lengths=lengths.long(), axis=0)
    x, y, z, frame = places[starts.long()].long().unbind(dim=1)
    pooled = features.new_zeros((frames, height, length, width, features.shape[1]))
    pooled[frame, z, x, y] = sums
    return pooled
