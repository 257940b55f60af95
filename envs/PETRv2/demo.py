"""PETRv2's adapter: 3D objects from six cameras, now and a moment ago, by the source in submodules/PETR."""

import sys
from pathlib import Path
from typing import Any, Dict, List

HERE = Path(__file__).resolve().parent
SUBMODULES = HERE.parents[1] / "submodules"
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "runners")]

from camera_sweeps import CameraHistory, sweep_entries  # noqa: E402

from worker.main import main  # noqa: E402
from worker.mmlab.common.boxes import MMDET3D_017, detection_records  # noqa: E402
from worker.mmlab.common.infos import context_of, frame_info  # noqa: E402
from worker.mmlab.v1.adapter import MmAdapter  # noqa: E402
from worker.mmlab.v1.overlay import import_mmdet3d_017  # noqa: E402


class PETRv2(MmAdapter):
    """PETRv2 on mmdet3d 0.17.2, in both variants: it looks at a picture more of each camera, from 1.25 s before."""

    name = "PETRv2"
    default_config = "projects/configs/petrv2/petrv2_vovnet_gridmask_p4_800x320.py"
    source_paths = (str(SUBMODULES / "mmdetection3d-0.17.2"),)

    def source_root(self) -> str:
        return str(SUBMODULES / "PETR")

    def import_libraries(self) -> None:
        import_mmdet3d_017()

    def adjust(self, config: Any) -> None:
        """See how far back the test pipeline looks."""
        self._entries = entries_looked_at(config.data.test.pipeline)

    def reset(self, model: Any) -> None:
        """A new scene: no pictures of the one before."""
        self._history = CameraHistory()

    def make_info(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        """As PETR's, but the sweeps are the cameras' earlier frames, not the LiDAR's."""
        context = context_of(sample)
        info = frame_info(sample, context)
        earlier = self._history.before(sample, context)
        info["sweeps"] = sweep_entries(earlier, sample["lidar"], count=self._entries)
        return info

    def pictures(self, info: Dict[str, Any]) -> List[str]:
        """Those of the sample and those of the earlier frame: the last of the entries that were made."""
        earlier = info["sweeps"][-1] if info["sweeps"] else {}
        return super().pictures(info) + [picture["data_path"] for picture in earlier.values()]

    def convert(self, raw: List[Dict[str, Any]], sample: Dict[str, Any]) -> Dict[str, Any]:
        """The decoded boxes, best first, from the LiDAR's frame to the ego frame."""
        return {"detections_3d": detection_records(raw[0]["pts_bbox"], self._config.class_names, sample, MMDET3D_017)}


def entries_looked_at(pipeline: List[Dict[str, Any]]) -> int:
    """How many entries of `sweeps` a test pipeline needs: it takes the one in the middle of its range, or none."""
    ranges = [step["sweep_range"] for step in pipeline if step["type"] == "LoadMultiViewImageFromMultiSweepsFiles"]
    return sum(ranges[0]) // 2 if ranges else 0


if __name__ == "__main__":
    sys.exit(main(PETRv2))
