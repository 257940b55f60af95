"""BEVFormer's adapter: 3D objects from six cameras, through features seen from above, by submodules/BEVFormer."""

import sys
from pathlib import Path
from typing import Any, Dict, List

HERE = Path(__file__).resolve().parent
SUBMODULES = HERE.parents[1] / "submodules"
sys.path.insert(0, str(HERE.parents[1] / "runners"))

from worker.main import main  # noqa: E402
from worker.mmlab.common.boxes import MMDET3D_017, detection_records  # noqa: E402
from worker.mmlab.common.infos import context_of, temporal_info  # noqa: E402
from worker.mmlab.common.stand_ins import take_place_of  # noqa: E402
from worker.mmlab.v1.adapter import MmAdapter  # noqa: E402
from worker.mmlab.v1.overlay import import_mmdet3d_017  # noqa: E402

DD3D = "projects.mmdet3d_plugin.dd3d"
"""The plugin's own copy of DD3D, the second head of BEVFormer v2, which wants detectron2."""


class BEVFormer(MmAdapter):
    """BEVFormer on mmdet3d 0.17.2: the box convention that its weights were trained with."""

    name = "BEVFormer"
    default_config = "projects/configs/bevformer/bevformer_tiny.py"
    source_paths = (str(SUBMODULES / "mmdetection3d-0.17.2"),)

    def source_root(self) -> str:
        return str(SUBMODULES / "BEVFormer")

    def import_libraries(self) -> None:
        take_place_of(DD3D, "choose a configuration of BEVFormer, not of BEVFormer v2")
        import_mmdet3d_017()

    def make_info(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        return temporal_info(sample, context_of(sample))

    def reset(self, model: Any) -> None:
        """A new scene: no features of the frame before."""
        model.prev_frame_info.update(prev_bev=None, scene_token=None, prev_pos=0, prev_angle=0)

    def convert(self, raw: List[Dict[str, Any]], sample: Dict[str, Any]) -> Dict[str, Any]:
        """The decoded boxes, best first, from the LiDAR's frame to the ego frame."""
        return {"detections_3d": detection_records(raw[0]["pts_bbox"], self._config.class_names, sample, MMDET3D_017)}


if __name__ == "__main__":
    sys.exit(main(BEVFormer))
