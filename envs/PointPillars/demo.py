"""PointPillars' adapter: 3D objects from LiDAR, by mmdetection3d 1.4 in submodules/mmdetection3d-1.4.0."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "runners"))

from worker.main import main  # noqa: E402
from worker.mmlab.v2.adapter import MmAdapter  # noqa: E402


class PointPillars(MmAdapter):
    """PointPillars with one of two necks."""

    name = "PointPillars"
    default_config = "configs/pointpillars/pointpillars_hv_fpn_sbn-all_8xb4-2x_nus-3d.py"

    def source_root(self) -> str:
        return str(HERE.parents[1] / "submodules" / "mmdetection3d-1.4.0")


if __name__ == "__main__":
    sys.exit(main(PointPillars))
