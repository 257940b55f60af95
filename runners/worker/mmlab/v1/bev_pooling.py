"""Pooling of features into cells seen from above in plain PyTorch, for environments without mmdet3d's compiled one.

mmdet3d 0.17, as MapTR and MapTRv2 bring it, sorts the features of all cameras and depths by cell and has a CUDA kernel
sum each cell's. Here `index_add_` sums them, in the order in which they come.
"""

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

MODULE = "mmdet3d.ops.bev_pool.bev_pool_ext"


def install() -> bool:
    """Offer the operation under the compiled module's name, unless there is one. Says whether it was needed.

    mmdet3d must be on the import path, and not imported yet.
    """
    if MODULE in sys.modules or _is_compiled():
        return False
    module = types.ModuleType(MODULE)
    module.bev_pool_forward = pool  # type: ignore[attr-defined]
    sys.modules[MODULE] = module
    return True


def pool(
    features: Any, cells: Any, lengths: Any, starts: Any, batches: int, levels: int, rows: int, columns: int
) -> Any:
    """The operation's forward pass.

    Args:
        features: (points, channels).
        cells: row, column, level and batch of each point's cell, (points, 4), integers.
        lengths: how many points each cell has; of no account here.
        starts: where each cell's points begin; of no account here.
        batches: how many samples there are.
        levels: how many cells lie above each other.
        rows: cells along x.
        columns: cells along y.

    Returns:
        The sum of each cell's features, (batches, levels, rows, columns, channels); zeros where there are none.
    """
    shape = [int(one) for one in (batches, levels, rows, columns)]
    row, column, level, batch = cells.long().unbind(dim=1)
    index = ((batch * shape[1] + level) * shape[2] + row) * shape[3] + column
    total = features.new_zeros(shape[0] * shape[1] * shape[2] * shape[3], features.shape[1])
    return total.index_add_(0, index, features).view(*shape, features.shape[1])


def _is_compiled() -> bool:
    """Tell whether the module was built, without importing the packages above it, as `find_spec` would."""
    top = importlib.util.find_spec("mmdet3d")
    places = list(top.submodule_search_locations or ()) if top is not None else []
    return any(any((Path(place) / "ops" / "bev_pool").glob("bev_pool_ext*.so")) for place in places)
