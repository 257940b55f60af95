"""Pooling of camera features into bird's-eye view, in PyTorch: the compiled modules of MapTR and BEVFusion want a GPU.

The sums are taken in one order whatever the device, so a result is the same in every call.
"""

from typing import Any

from .libraries import load_library

FIRST_TO_REDUCE = 2
"""The first version of PyTorch whose `segment_reduce` adds up on every device."""


def bev_pool_forward(
    features: Any, places: Any, lengths: Any, starts: Any, frames: int, height: int, length: int, width: int
) -> Any:
    """Add up the features of each cell.

    Args:
        features: (n, channels), those of a cell next to each other.
        places: (n, 4): the cell's x, y and z, and the frame.
        lengths: how many rows each cell has, (cells,); `starts` is its first row.
        frames: the frames of the batch; this and the next three may be tensors of one number.
        height: the cells along z; `length` along x, `width` along y.

    Returns:
        (frames, height, length, width, channels), zeros where there is nothing.
    """
    sums = sum_groups(features, lengths.long())
    x, y, z, frame = places[starts.long()].long().unbind(dim=1)
    pooled = features.new_zeros((*(int(one) for one in (frames, height, length, width)), features.shape[1]))
    pooled[frame, z, x, y] = sums
    return pooled


def sum_groups(features: Any, lengths: Any) -> Any:
    """The sums of groups of rows (n, channels) that stand one after the other, `lengths` rows each."""
    torch = load_library("torch")
    if int(torch.__version__.partition(".")[0]) >= FIRST_TO_REDUCE:
        return torch.segment_reduce(features, "sum", lengths=lengths, axis=0)
    group = torch.repeat_interleave(torch.arange(len(lengths), device=features.device), lengths)
    return features.new_zeros((len(lengths), features.shape[1])).index_add_(0, group, features)
