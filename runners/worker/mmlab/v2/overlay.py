"""What takes the place of compiled modules that mmdet3d 1.4's projects bring as CUDA sources alone.

The modules are put where the projects' own imports look for them, so that the source stays as it is pinned.
"""

import sys
import types
from typing import Any

from ..common import bev_pool, sparse, voxels
from ..common.libraries import load_library
from ..common.stand_ins import UNCALLED, stand_in_for

BEVFUSION_OPS = "projects.BEVFusion.bevfusion.ops"


def import_mmdet3d() -> Any:
    """mmdet3d 1.4 (from sys.path), with sparse convolutions that run on a CPU and BEVFusion's operations in PyTorch."""
    stand_in_for(UNCALLED)  # sources import them and never call them
    sparse.install()
    provide_bevfusion_operations()
    return load_library("mmdet3d")


def provide_bevfusion_operations() -> None:
    """Stand in for the two modules that BEVFusion's setup.py would compile. A configuration's own imports find them."""
    voxel_layer = types.ModuleType(BEVFUSION_OPS + ".voxel.voxel_layer")
    vars(voxel_layer).update(
        hard_voxelize=voxels.hard_voxelize,
        dynamic_voxelize=voxels.dynamic_voxelize,
        dynamic_point_to_voxel_forward=_needs_training,
        dynamic_point_to_voxel_backward=_needs_training,
    )
    pooling = types.ModuleType(BEVFUSION_OPS + ".bev_pool.bev_pool_ext")
    vars(pooling).update(bev_pool_forward=bev_pool.bev_pool_forward, bev_pool_backward=_needs_training)
    for module in (voxel_layer, pooling):
        sys.modules.setdefault(module.__name__, module)


def _needs_training(*_: Any) -> Any:
    raise RuntimeError("this operation of BEVFusion's is compiled for training, which is not done here")
