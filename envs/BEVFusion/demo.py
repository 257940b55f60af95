"""BEVFusion's adapter: 3D objects from LiDAR and cameras, by mmdetection3d 1.4 in submodules/mmdetection3d-1.4.0."""

import sys
from pathlib import Path
from typing import Any, Dict

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "runners"))

from worker.main import main  # noqa: E402
from worker.mmlab.common.libraries import load_library  # noqa: E402
from worker.mmlab.v2.adapter import MmAdapter  # noqa: E402


class BEVFusion(MmAdapter):
    """BEVFusion on LiDAR and cameras, or on LiDAR alone; its configuration decides."""

    name = "BEVFusion"
    default_config = "projects/BEVFusion/configs/bevfusion_lidar-cam_voxel0075_second_secfpn_8xb4-cyclic-20e_nus-3d.py"

    def source_root(self) -> str:
        return str(HERE.parents[1] / "submodules" / "mmdetection3d-1.4.0")

    def forward(self, inputs: Dict[str, Any]) -> Any:
        """The network's call; on a CPU the same inputs give the same outputs.

        Upstream writes the depths of all points into a picture at once. Where several points fall on a pixel, the one
        stays whose thread was last. PyTorch's deterministic mode keeps the last point of the cloud. GPUs are left as
        upstream has them: that mode chooses slower algorithms for the whole network there.
        """
        if str(self._device) != "cpu" or not hasattr(self._model, "view_transform"):
            return super().forward(inputs)
        torch = load_library("torch")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            return super().forward(inputs)
        finally:
            torch.use_deterministic_algorithms(False)


if __name__ == "__main__":
    sys.exit(main(BEVFusion))
