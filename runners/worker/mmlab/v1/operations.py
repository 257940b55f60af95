"""What takes the place of compiled modules of mmdet3d 0.17, as MapTR and MapTRv2 bring it, where they are not built.

Its Python code stays as it is and finds functions in PyTorch where it looks for compiled ones: the pooling of camera
features by depth, and the sorting of points into voxels. Its sparse convolutions go by mmcv's, which have the same
form: compiled on a GPU, in PyTorch on a CPU, and in PyTorch everywhere where mmcv has none yet.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

from ..common import bev_pool, sparse, voxels
from ..common.libraries import load_library
from ..common.stand_ins import MissingOperations

OPERATIONS: Dict[str, Dict[str, Callable[..., Any]]] = {
    "mmdet3d.ops.bev_pool.bev_pool_ext": {"bev_pool_forward": bev_pool.bev_pool_forward},
    "mmdet3d.ops.voxel.voxel_layer": {
        "hard_voxelize": voxels.hard_voxelize,
        "dynamic_voxelize": voxels.dynamic_voxelize,
    },
}
"""The compiled modules' names and functions; what else is asked of them is of training."""


def provide_operations() -> List[str]:
    """Offer the operations under the compiled modules' names, and say which modules that were.

    mmdet3d must be on the import path, and not imported yet.
    """
    missing = [name for name in OPERATIONS if name not in sys.modules and not _is_compiled(name)]
    for name in missing:
        module = MissingOperations(name, "is compiled for training, which is not done here")
        vars(module).update(OPERATIONS[name])
        sys.modules[name] = module
    return missing


def connect_sparse_convolutions() -> None:
    """Let the sparse layers of mmdet3d, which is imported, go by mmcv's operations, unless its own are compiled."""
    if _is_compiled("mmdet3d.ops.spconv.sparse_conv_ext"):
        return
    theirs = load_library("mmdet3d.ops.spconv.ops")
    if importlib.util.find_spec("mmcv.ops.sparse_ops") is None:  # mmcv before 1.4.5
        theirs.get_indice_pairs, theirs.indice_conv = sparse.find_pairs, sparse.apply_pairs
        return
    sparse.install()
    mmcv = load_library("mmcv.ops.sparse_ops")
    theirs.get_indice_pairs, theirs.indice_conv = mmcv.get_indice_pairs, mmcv.indice_conv


def _is_compiled(name: str) -> bool:
    """Tell whether a module was built, without importing the packages above it, as `find_spec` would."""
    package, *folders, last = name.split(".")
    top = importlib.util.find_spec(package)
    places = list(top.submodule_search_locations or ()) if top is not None else []
    return any(any(Path(place, *folders).glob(last + "*.so")) for place in places)
