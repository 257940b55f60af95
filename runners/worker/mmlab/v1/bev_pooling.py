"""The pooling by depth of mmdet3d 0.17, as MapTR and MapTRv2 bring it, where its compiled module is not built.

Its Python code sorts the features of all cameras and depths by cell; a CUDA kernel sums each cell's. `common.bev_pool`
sums them in PyTorch.
"""

import importlib.util
import sys
import types
from pathlib import Path

from ..common.bev_pool import bev_pool_forward

MODULE = "mmdet3d.ops.bev_pool.bev_pool_ext"


def install() -> bool:
    """Offer the operation under the compiled module's name, unless there is one. Says whether it was needed.

    mmdet3d must be on the import path, and not imported yet.
    """
    if MODULE in sys.modules or _is_compiled():
        return False
    module = types.ModuleType(MODULE)
    module.bev_pool_forward = bev_pool_forward  # type: ignore[attr-defined]
    sys.modules[MODULE] = module
    return True


def _is_compiled() -> bool:
    """Tell whether the module was built, without importing the packages above it, as `find_spec` would."""
    top = importlib.util.find_spec("mmdet3d")
    places = list(top.submodule_search_locations or ()) if top is not None else []
    return any(any((Path(place) / "ops" / "bev_pool").glob("bev_pool_ext*.so")) for place in places)
