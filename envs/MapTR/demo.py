"""MapTR's adapter: vector map elements from six cameras, and by one configuration the LiDAR, by submodules/MapTR."""

import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, List

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "runners"))

from worker.main import main  # noqa: E402
from worker.mmlab.common.infos import context_of, temporal_info  # noqa: E402
from worker.mmlab.common.libraries import load_library  # noqa: E402
from worker.mmlab.common.lidar_files import check_points  # noqa: E402
from worker.mmlab.common.log import say  # noqa: E402
from worker.mmlab.common.vectors import map_elements  # noqa: E402
from worker.mmlab.v1 import geometric_kernel_attention  # noqa: E402
from worker.mmlab.v1.adapter import MmAdapter  # noqa: E402
from worker.mmlab.v1.operations import connect_sparse_convolutions, provide_operations  # noqa: E402
from worker.mmlab.v1.overlay import import_mmdet3d_017  # noqa: E402
from worker.mmlab.v1.training.converter import nuscenes_converter  # noqa: E402
from worker.mmlab.v1.training.corrections import differentiate  # noqa: E402

SWEEPS = "CustomLoadPointsFromMultiSweeps"
ATTENTION = "projects.mmdet3d_plugin.maptr.modules.geometry_kernel_attention"
"""The module of the plugin that calls the operation."""


class MapTR(MmAdapter):
    """MapTR with its vendored mmdet3d 0.17.2, in both variants."""

    name = "MapTR"
    default_config = "projects/configs/maptr/maptr_tiny_r50_24e.py"
    source_paths = ("mmdetection3d",)
    converter = nuscenes_converter("nuscenes_infos_temporal_train.pkl", prefix="nuscenes")
    tolerated_keys = MappingProxyType(
        {"grid_offsets": "a buffer of constants that mmcv saves although torch would not"}
    )

    def source_root(self) -> str:
        return str(HERE.parents[1] / "submodules" / "MapTR")

    def import_libraries(self) -> None:
        """The vendored mmdet3d, with its own operations and the attention in PyTorch where they are not compiled."""
        provided = provide_operations()
        if provided:
            say("not compiled here, the PyTorch formulation takes its place: {}".format(", ".join(provided)))
        self._attention_in_torch = geometric_kernel_attention.install()
        if self._attention_in_torch:
            say("GeometricKernelAttention is not compiled here: the PyTorch formulation takes its place")
        import_mmdet3d_017()
        connect_sparse_convolutions()

    def adjust(self, config: Any) -> None:
        """See how many of the LiDAR's sweeps the configuration reads, if it looks at the LiDAR."""
        loaders = [step for step in config.data.test.pipeline if step["type"] == SWEEPS]
        self._sweeps = loaders[0]["sweeps_num"] if loaders else None

    def adjust_training(self, config: Any) -> None:
        """Where the attention is PyTorch's formulation, autograd has its gradient; the source's Function calls CUDA."""
        self.adjust(config)
        if self._attention_in_torch:
            module = load_library(ATTENTION)
            differentiate(module, "GeometricKernelAttentionFunc", geometric_kernel_attention.attend)

    def make_info(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        """As upstream's converter writes it, but no more sweeps than are read: of more, upstream draws some by chance.

        Raises:
            DataError: a file of the LiDAR, which the configuration looks at, is missing or not whole.
        """
        info = temporal_info(sample, context_of(sample))
        if self._sweeps is not None:
            info["sweeps"] = info["sweeps"][: self._sweeps]
            check_points([info["lidar_path"], *(sweep["data_path"] for sweep in info["sweeps"])])
        return info

    def dataset_attributes(self, config: Any) -> Dict[str, Any]:
        """No noise on the calibration: that is an experiment of upstream's."""
        return {"noise": "None", "noise_std": 0}

    def reset(self, model: Any) -> None:
        """A new scene: no BEV features of the frame before."""
        model.prev_frame_info.update(prev_bev=None, scene_token=None, prev_pos=0, prev_angle=0)

    def convert(self, raw: List[Dict[str, Any]], sample: Dict[str, Any]) -> Dict[str, Any]:
        """The decoded elements, best first, from the LiDAR's plane to the ego frame."""
        return {"map_elements": map_elements(raw[0]["pts_bbox"], self._config.map_classes, sample)}


if __name__ == "__main__":
    sys.exit(main(MapTR))
