"""MapTR's operation `GeometricKernelAttention` in plain PyTorch, for environments without the compiled one.

Every query looks at whole pixels: per head, level and point there is an integer position, which is clamped to the
level's border, and the value of that pixel is taken, without interpolation. The result is the sum over levels and
points, weighted. The CUDA kernel of MapTR's source computes the same sum, with a thread for each channel.
"""

import importlib.util
import sys
import types
from typing import Any

MODULE = "GeometricKernelAttention"


def install() -> bool:
    """Offer this operation under the compiled module's name, unless there is one. Says whether it was needed."""
    if MODULE in sys.modules or importlib.util.find_spec(MODULE) is not None:
        return False
    module = types.ModuleType(MODULE)
    module.geometric_kernel_attn_cuda_forward = attend  # type: ignore[attr-defined]
    sys.modules[MODULE] = module
    return True


def attend(
    value: Any,
    spatial_shapes: Any,
    level_start_index: Any,
    sampling_locations: Any,
    weights: Any,
    im2col_step: int = 64,
) -> Any:
    """The operation's forward pass.

    Args:
        value: features (batch, pixels of all levels, heads, channels).
        spatial_shapes: height and width of each level, (levels, 2), integers.
        level_start_index: where each level begins among the pixels, (levels,).
        sampling_locations: x and y [pixels], (batch, queries, heads, levels, points, 2), integers.
        weights: (batch, queries, heads, levels, points).
        im2col_step: how the CUDA kernel cuts its batches; of no account here.

    Returns:
        (batch, queries, heads · channels).
    """
    batch, _, heads, channels = value.shape
    queries, levels, points = sampling_locations.shape[1], sampling_locations.shape[3], sampling_locations.shape[4]
    pixels = _pixel_indices(spatial_shapes, level_start_index, sampling_locations)
    pixels = pixels.permute(0, 2, 1, 3, 4).reshape(batch, heads, queries, levels * points)
    shares = weights.permute(0, 2, 1, 3, 4).reshape(batch, heads, queries, levels * points)
    features = value.permute(0, 2, 1, 3).contiguous()
    result = value.new_zeros(batch, heads, queries, channels)
    for index in range(levels * points):  # one at a time: all at once would take as many times the memory
        where = pixels[..., index : index + 1].expand(-1, -1, -1, channels)
        result += features.gather(2, where) * shares[..., index : index + 1]
    return result.permute(0, 2, 1, 3).reshape(batch, queries, heads * channels)


def _pixel_indices(spatial_shapes: Any, level_start_index: Any, locations: Any) -> Any:
    """Positions among all pixels, (batch, queries, heads, levels, points), clamped to each level's border."""
    heights, widths = (spatial_shapes[:, axis].view(1, 1, 1, -1, 1) for axis in (0, 1))
    zero = locations.new_zeros(())
    x = (locations[..., 0].max(zero)).min(widths - 1)
    y = (locations[..., 1].max(zero)).min(heights - 1)
    return level_start_index.view(1, 1, 1, -1, 1) + y * widths + x
