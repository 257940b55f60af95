"""PETR's adapter: 3D objects from six cameras, by the source in submodules/PETR."""

import sys
from pathlib import Path
from typing import Any, Dict, List

HERE = Path(__file__).resolve().parent
SUBMODULES = HERE.parents[1] / "submodules"
sys.path.insert(0, str(HERE.parents[1] / "runners"))

from worker.main import main  # noqa: E402
from worker.mmlab.common.boxes import MMDET3D_017, detection_records  # noqa: E402
from worker.mmlab.common.infos import context_of, frame_info  # noqa: E402
from worker.mmlab.custom_config import ConfigError  # noqa: E402
from worker.mmlab.v1.adapter import MmAdapter  # noqa: E402
from worker.mmlab.v1.overlay import import_mmdet3d_017  # noqa: E402
from worker.mmlab.v1.training.converter import nuscenes_converter  # noqa: E402

LOOKS_BACK = "LoadMultiViewImageFromMultiSweepsFiles"


class PETR(MmAdapter):
    """PETR on mmdet3d 0.17.2, in both variants: the box convention that its weights were trained with."""

    name = "PETR"
    default_config = "projects/configs/petr/petr_vovnet_gridmask_p4_800x320.py"
    source_paths = (str(SUBMODULES / "mmdetection3d-0.17.2"),)
    converter = nuscenes_converter("nuscenes_infos_train.pkl", prefix="nuscenes", can_bus=False)

    def source_root(self) -> str:
        return str(SUBMODULES / "PETR")

    def import_libraries(self) -> None:
        import_mmdet3d_017()

    def adjust(self, config: Any) -> None:
        """Refuse a configuration that looks at earlier pictures: that is another model. Raises ConfigError."""
        if any(step["type"] == LOOKS_BACK for step in config.data.test.pipeline):
            raise ConfigError("this configuration looks at earlier pictures, as PETRv2 does: run the model PETRv2")

    def make_info(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        return frame_info(sample, context_of(sample))

    def convert(self, raw: List[Dict[str, Any]], sample: Dict[str, Any]) -> Dict[str, Any]:
        """The decoded boxes, best first, from the LiDAR's frame to the ego frame."""
        return {"detections_3d": detection_records(raw[0]["pts_bbox"], self._config.class_names, sample, MMDET3D_017)}


if __name__ == "__main__":
    sys.exit(main(PETR))
