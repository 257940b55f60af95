"""The adapter of mmdet3d's own PETR: 3D objects from six cameras, by mmdetection3d 1.4."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "runners"))

from worker.main import main  # noqa: E402
from worker.mmlab.v2.adapter import MmAdapter  # noqa: E402


class PETRMmdet3d(MmAdapter):
    """PETR, built anew in mmdetection3d's projects."""

    name = "PETR-mmdet3d"
    default_config = "projects/PETR/configs/petr_vovnet_gridmask_p4_800x320.py"

    def source_root(self) -> str:
        return str(HERE.parents[1] / "submodules" / "mmdetection3d-1.4.0")


if __name__ == "__main__":
    sys.exit(main(PETRMmdet3d))
