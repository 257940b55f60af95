"""MapTRv2's adapter: vector map elements, and centrelines, from six cameras, by the source in submodules/MapTRv2."""

import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, List

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "runners"))

from worker.main import main  # noqa: E402
from worker.mmlab.common.infos import context_of, temporal_info  # noqa: E402
from worker.mmlab.common.log import say  # noqa: E402
from worker.mmlab.common.vectors import map_elements  # noqa: E402
from worker.mmlab.v1 import geometric_kernel_attention  # noqa: E402
from worker.mmlab.v1.adapter import MmAdapter  # noqa: E402
from worker.mmlab.v1.operations import provide_operations  # noqa: E402
from worker.mmlab.v1.overlay import import_mmdet3d_017  # noqa: E402


class MapTRv2(MmAdapter):
    """MapTRv2 with its vendored mmdet3d 0.17.2."""

    name = "MapTRv2"
    default_config = "projects/configs/maptrv2/maptrv2_nusc_r50_24ep.py"
    source_paths = ("mmdetection3d",)
    tolerated_keys = MappingProxyType(
        {"grid_offsets": "a buffer of constants that mmcv saves although torch would not"}
    )

    def source_root(self) -> str:
        return str(HERE.parents[1] / "submodules" / "MapTRv2")

    def import_libraries(self) -> None:
        """The vendored mmdet3d, with its pooling and MapTR's attention in PyTorch where they are not compiled."""
        provided = provide_operations()
        if provided:
            say("not compiled here, the PyTorch formulation takes its place: {}".format(", ".join(provided)))
        geometric_kernel_attention.install()  # the plugin imports it, and no configuration of MapTRv2 calls it
        import_mmdet3d_017()

    def make_info(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        """As MapTR's; of the map itself, which upstream's info file holds too, nothing is looked at."""
        return {**temporal_info(sample, context_of(sample)), "annotation": {}}

    def dataset_attributes(self, config: Any) -> Dict[str, Any]:
        """No noise on the calibration: that is an experiment of upstream's."""
        return {"noise": "None", "noise_std": 0}

    def convert(self, raw: List[Dict[str, Any]], sample: Dict[str, Any]) -> Dict[str, Any]:
        """The decoded elements, best first, from the LiDAR's plane to the ego frame."""
        return {"map_elements": map_elements(raw[0]["pts_bbox"], self._config.map_classes, sample)}


if __name__ == "__main__":
    sys.exit(main(MapTRv2))
