"""CenterPoint's adapter: 3D objects from LiDAR, by mmdetection3d 1.4 in submodules/mmdetection3d-1.4.0."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "runners"))

from worker.main import main  # noqa: E402
from worker.mmlab.v2.adapter import MmAdapter  # noqa: E402


class CenterPoint(MmAdapter):
    """CenterPoint on pillars and on voxels."""

    name = "CenterPoint"
    default_config = "configs/centerpoint/centerpoint_pillar02_second_secfpn_head-circlenms_8xb4-cyclic-20e_nus-3d.py"

    def source_root(self) -> str:
        return str(HERE.parents[1] / "submodules" / "mmdetection3d-1.4.0")


if __name__ == "__main__":
    sys.exit(main(CenterPoint))
