"""VAD's adapter: objects and their futures, a vector map and a plan from six cameras, by the source in submodules/VAD.

The plan depends on a command: left, right or straight. In the authors' open-loop evaluation it follows from where the
vehicle really drove in the next 3 s, and so it does here, for their numbers to be comparable; records then name it as
the fix `command-from-driven-path`. With the option `command` the adapter sees nothing of the future. The past steps and
the state of the vehicle are inputs that the published configurations switch off (`ego_his_encoder`,
`ego_lcf_feat_idx`).
"""

import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "runners")]

import numpy as np  # noqa: E402

from worker.adapter import DataError, Settings  # noqa: E402
from worker.main import main  # noqa: E402
from worker.mmlab.common.boxes import MMDET3D_017, detection_records  # noqa: E402
from worker.mmlab.common.ego_motion import COMMANDS, FUTURE_STEPS, STEP_S, vad_fields  # noqa: E402
from worker.mmlab.common.geometry import lidar_plane_to_ego, rotation_matrix  # noqa: E402
from worker.mmlab.common.infos import context_of, temporal_info  # noqa: E402
from worker.mmlab.common.libraries import load_library  # noqa: E402
from worker.mmlab.common.log import say  # noqa: E402
from worker.mmlab.common.vectors import map_elements  # noqa: E402
from worker.mmlab.v1.adapter import MmAdapter  # noqa: E402
from worker.mmlab.v1.overlay import import_mmdet3d_017  # noqa: E402
from worker.mmlab.v1.training.converter import nuscenes_converter  # noqa: E402

FROM_DRIVEN_PATH = "command-from-driven-path"
"""The fix of the catalogue that says where the command comes from."""
TRUTH_TRANSFORMS = (
    "LoadPointsFromFile",
    "LoadAnnotations3D",
    "CustomObjectRangeFilter",
    "CustomObjectNameFilter",
)
"""Steps of the test pipeline that read LiDAR points and annotations, for metrics alone."""
INPUT_KEYS = ["img", "ego_his_trajs", "ego_fut_cmd", "ego_lcf_feat"]


class VAD(MmAdapter):
    """VAD with mmdet3d 0.17, in both variants."""

    name = "VAD"
    default_config = "projects/configs/VAD/VAD_tiny_stage_2.py"
    source_paths = ("../mmdetection3d-0.17.2",)
    converter = nuscenes_converter(
        "vad_nuscenes_infos_temporal_train.pkl",
        prefix="vad_nuscenes",
        program="tools/data_converter/vad_nuscenes_converter.py",
    )

    def source_root(self) -> str:
        return str(HERE.parents[1] / "submodules" / "VAD")

    def load(self, settings: Settings) -> List[str]:
        """Build the network, and decide where its command comes from."""
        asked = settings.options.get("command")
        if asked is not None and asked not in COMMANDS:
            raise DataError("the option command is {!r}, not one of {}".format(asked, ", ".join(COMMANDS)))
        self._command = asked
        if settings.checkpoint and not settings.options.get("fixes"):
            say("no fixes are named; the published weights need bgr-normalisation: see envs/VAD/model.toml")
        fixes = super().load(settings)
        drop_metrics(self._model)
        keep_mode_scores(self._model.pts_bbox_head.bbox_coder)
        return fixes if asked else [*fixes, FROM_DRIVEN_PATH]

    def import_libraries(self) -> None:
        import_mmdet3d_017()

    def adjust(self, config: Any) -> None:
        """A test pipeline that reads images alone."""
        drop_truth(config.data.test.pipeline)

    def dataset_attributes(self, config: Any) -> Dict[str, Any]:
        """No annotations: `get_data_info` asks for them in tests too."""
        return {"get_ann_info": lambda index: None}

    def make_info(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        context = context_of(sample)
        info = temporal_info(sample, context)
        return {**info, **vad_fields(sample, context, info["can_bus"], self._command)}

    def place(self, read: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        """The network's input; empty annotations, because its test path asks for some."""
        torch = load_library("torch")
        none = {
            "gt_bboxes_3d": [[None]],
            "gt_labels_3d": [[torch.zeros(0, dtype=torch.long)]],
            "gt_attr_labels": [[torch.zeros(0)]],
            "ego_fut_trajs": [torch.zeros(1, 1, FUTURE_STEPS, 2)],
            "fut_valid_flag": [[False]],
        }
        return {**super().place(read, sample), **none}

    def reset(self, model: Any) -> None:
        """A new scene: no BEV features of the frame before."""
        model.prev_frame_info.update(prev_bev=None, scene_token=None, prev_pos=0, prev_angle=0)

    def convert(self, raw: List[Dict[str, Any]], sample: Dict[str, Any]) -> Dict[str, Any]:
        """What the network decodes, best first, from the LiDAR's frame to the ego frame."""
        decoded = raw[0]["pts_bbox"]
        elements = {key: decoded["map_" + key] for key in ("pts_3d", "scores_3d", "labels_3d")}
        return {
            "detections_3d": moving_objects(decoded, self._config.class_names, sample),
            "map_elements": map_elements(elements, self._config.map_classes, sample),
            "plan": plan(decoded, sample),
        }


def moving_objects(decoded: Mapping[str, Any], classes: List[str], sample: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Standard records of the boxes with their futures, the likeliest first.

    Args:
        decoded: boxes, scores and labels as `detection_records` takes them; `trajs_3d` (n, modes, 13): six steps x, y
            [m] of 0.5 s in the LiDAR frame, each from the position before, and the mode's logit.
        classes: the names of the labels.
        sample: the sample, for its poses.
    """
    records = detection_records(decoded, classes, sample, MMDET3D_017)
    modes = np.asarray(decoded["trajs_3d"], dtype=np.float64)
    order = np.argsort(-modes[..., -1], axis=1, kind="stable")
    modes = np.take_along_axis(modes, order[..., np.newaxis], axis=1)
    turn = rotation_matrix(sample["lidar"]["sensor2ego"]["rotation_wxyz"])[:2, :2]
    steps = modes[..., :-1].reshape(*modes.shape[:2], FUTURE_STEPS, 2) @ turn.T
    centers = np.array([record["bbox_3d"]["center"][:2] for record in records]).reshape(-1, 1, 1, 2)
    waypoints = (np.cumsum(steps, axis=2) + centers).tolist()
    confidences = (1 / (1 + np.exp(-modes[..., -1]))).tolist()
    for record, own_confidences, own_waypoints in zip(records, confidences, waypoints):
        record["trajectories"] = [
            {"confidence": confidence, "interval_s": STEP_S, "waypoints": path}
            for confidence, path in zip(own_confidences, own_waypoints)
        ]
    return records


def plan(decoded: Mapping[str, Any], sample: Mapping[str, Any]) -> Dict[str, Any]:
    """The standard record of the plan that follows the command.

    Args:
        decoded: `ego_fut_preds` (3, 6, 2): for each of COMMANDS six steps x, y [m] of 0.5 s in the LiDAR frame;
            `ego_fut_cmd`, three numbers of which one is 1.
        sample: the sample, for its poses.

    The path is that of the LiDAR, which upstream plans for and measures: it begins where the LiDAR is.
    """
    chosen = int(np.argmax(np.asarray(decoded["ego_fut_cmd"]).reshape(-1)))
    path = np.cumsum(np.asarray(decoded["ego_fut_preds"], dtype=np.float64)[chosen], axis=0)
    return {
        "command": COMMANDS[chosen],
        "interval_s": STEP_S,
        "waypoints": lidar_plane_to_ego(path, sample).tolist(),
    }


def drop_truth(pipeline: List[Dict[str, Any]]) -> None:
    """Take out of a test pipeline what reads LiDAR points and annotations; only metrics are made of them."""
    pipeline[:] = [step for step in pipeline if step["type"] not in TRUTH_TRANSFORMS]
    for step in pipeline:
        drop_truth(step.get("transforms", []))
        if step["type"] == "CustomCollect3D":
            step["keys"] = list(INPUT_KEYS)


def drop_metrics(model: Any) -> None:
    """Upstream's test path also computes metrics of the sample; `admlops evaluate` does that, from records."""

    def nothing(*_: Any, **__: Any) -> Dict[str, Any]:
        return {}

    for name in ("assign_pred_to_gt_vip3d", "compute_motion_metric_vip3d", "compute_planner_metric_stp3"):
        setattr(model, name, nothing)


def keep_mode_scores(coder: Any) -> None:
    """Let the decoder pass the logit of each possible future on, as a thirteenth number after its six steps.

    The network computes it and its decoder drops it; which boxes are kept, and in which order, stays the decoder's.
    """
    torch, decode = load_library("torch"), coder.decode

    def with_scores(outputs: Dict[str, Any]) -> Any:
        logits = outputs["all_traj_cls_scores"].unsqueeze(-1)
        return decode({**outputs, "all_traj_preds": torch.cat([outputs["all_traj_preds"], logits], dim=-1)})

    coder.decode = with_scores


if __name__ == "__main__":
    sys.exit(main(VAD))
