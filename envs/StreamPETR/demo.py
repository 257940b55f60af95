"""StreamPETR's adapter: 3D objects from six cameras and a memory of the frames before, by submodules/StreamPETR."""

import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping

HERE = Path(__file__).resolve().parent
SUBMODULES = HERE.parents[1] / "submodules"
sys.path.insert(0, str(HERE.parents[1] / "runners"))

from worker.adapter import Settings  # noqa: E402
from worker.main import main  # noqa: E402
from worker.mmlab.common.boxes import MMDET3D_1, detection_records  # noqa: E402
from worker.mmlab.common.fixes import replace_type  # noqa: E402
from worker.mmlab.common.geometry import pose_matrix  # noqa: E402
from worker.mmlab.common.infos import context_of, frame_info  # noqa: E402
from worker.mmlab.common.libraries import load_library  # noqa: E402
from worker.mmlab.common.log import say  # noqa: E402
from worker.mmlab.v1.adapter import MmAdapter  # noqa: E402
from worker.mmlab.v1.overlay import deformable_attention_anywhere, import_mmdet3d_1  # noqa: E402
from worker.mmlab.v1.training.converter import nuscenes_converter  # noqa: E402

FLASH, PLAIN = "PETRMultiheadFlashAttention", "PETRMultiheadAttention"
FIX = "plain-attention"


class StreamPETR(MmAdapter):
    """StreamPETR on mmdet3d 1.0.0rc6, in both variants."""

    name = "StreamPETR"
    default_config = "projects/configs/StreamPETR/stream_petr_r50_flash_704_bs2_seq_428q_nui_60e.py"
    source_paths = (str(SUBMODULES / "mmdetection3d-1.0.0rc6"),)
    converter = nuscenes_converter("nuscenes2d_temporal_infos_train.pkl", prefix="nuscenes2d", can_bus=False)

    def source_root(self) -> str:
        return str(SUBMODULES / "StreamPETR")

    def import_libraries(self) -> None:
        import_mmdet3d_1()

    def load(self, settings: Settings) -> List[str]:
        """As every model; names the fix as well where the catalogue does not ask for it and it was needed."""
        fixes = super().load(settings)
        return [*fixes, FIX] if self._replaced else fixes

    def make_info(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        return frame_info(sample, context_of(sample))

    def place(self, read: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        """As every model; the meta data get the LiDAR's pose in float64, which the authors round to float32."""
        inputs = super().place(read, sample)
        lidar = sample["lidar"]
        pose = pose_matrix(lidar["ego2global"]) @ pose_matrix(lidar["sensor2ego"])
        inputs["img_metas"][0][0]["lidar2global"] = pose
        return inputs

    def apply_fix(self, config: Any, settings: Mapping[str, Any]) -> None:
        """`attention`: the same layer by another class, with the same weights."""
        change = settings["attention"]
        plain_attention(config.model, change["from"], change["to"])

    def adjust(self, config: Any) -> None:
        """No environment here has flash-attn, so what a configuration without published weights names is replaced.

        RepDETR3D calls an operation of mmcv's that wants a GPU; on a CPU another takes its place.
        """
        self._replaced = plain_attention(config.model, FLASH, PLAIN) > 0
        if self._replaced:
            say(f"{FLASH} is built as {PLAIN}")
        deformable_attention_anywhere(load_library("projects.mmdet3d_plugin.models.utils.detr3d_transformer"))

    def reset(self, model: Any) -> None:
        """A new scene: the network's memory is emptied at its next call, as upstream does on another scene token."""
        model.prev_scene_token = None

    def convert(self, raw: List[Dict[str, Any]], sample: Dict[str, Any]) -> Dict[str, Any]:
        """The decoded boxes, best first, from the LiDAR's frame to the ego frame."""
        return {"detections_3d": detection_records(raw[0]["pts_bbox"], self._config.class_names, sample, MMDET3D_1)}


def plain_attention(model: Any, old: str, new: str) -> int:
    """Build the layers `old` as `new`, and an EVA-02 backbone without flash-attn. Returns how many layers."""
    if model["img_backbone"].get("flash_attn"):
        model["img_backbone"]["flash_attn"] = False
    return replace_type(model, old, new)


if __name__ == "__main__":
    sys.exit(main(StreamPETR))
