"""Run by VAD's environment: whole scenes through upstream's own way; its inputs and results to a file.

    python vad_upstream.py {"edited": configuration, "checkpoint", "dataroot", "each", "folder"}

The network sees the first `each` samples of a scene. Upstream's converter writes the info file (for all samples, by the
nuScenes devkit), upstream's data set class reads it with its constructor, its pipeline and collation make the batch,
its loader fills the model, and the model is called as tools/test.py's loop calls it, metrics included. That tool itself
runs on a GPU alone.
"""

import collections
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from inside_model import build_upstream, describe_bev_inputs, enter_upstream, load_adapter, read_batch, read_request

from worker.mmlab.common.libraries import load_library


def main() -> None:
    wanted = read_request()
    config = enter_upstream(load_adapter("VAD"), wanted["edited"])
    folder = Path(wanted["folder"])
    dataset = open_dataset(config, write_infos(wanted["dataroot"], folder), wanted["dataroot"])
    model = build_upstream(config, wanted["checkpoint"])
    heads: Any = []
    model.pts_bbox_head.register_forward_hook(lambda _module, _inputs, outputs: heads.append(outputs))
    arrays: Any = {}
    seen: Any = collections.Counter()
    for number, info in enumerate(dataset.data_infos):
        arrays.update({"{}.{}".format(info["token"], key): np.array(value) for key, value in motion_of(info)})
        seen[info["scene_token"]] += 1
        if seen[info["scene_token"]] > wanted["each"]:
            continue
        data = read_batch(dataset, number)
        sample = describe_bev_inputs(data, can_bus="bev_can_bus")
        with load_library("torch").no_grad():
            (result,) = model(return_loss=False, rescale=True, **data)
        sample.update(results(result["pts_bbox"], heads[-1], info))
        metrics = result["metric_results"]
        sample.update({"metric " + name: np.array(float(value), dtype=np.float64) for name, value in metrics.items()})
        arrays.update({"{}.{}".format(info["token"], key): value for key, value in sample.items()})
    np.savez(folder / "upstream.npz", **arrays)


def write_infos(dataroot: str, folder: Path) -> Path:
    """The info file of mini_val, by upstream's converter, which reads the command line when it is imported."""
    arguments, sys.argv = sys.argv, ["converter", "nuscenes", "--out-dir", str(folder)]
    converter = importlib.import_module("tools.data_converter.vad_nuscenes_converter")
    sys.argv = arguments
    converter.create_nuscenes_infos(dataroot, str(folder), dataroot, "vad_nuscenes", version="v1.0-mini")
    return folder / "vad_nuscenes_infos_temporal_val.pkl"


def open_dataset(config: Any, infos: Path, dataroot: str) -> Any:
    """Upstream's data set, by its constructor."""
    settings = config.data.test
    settings.pop("samples_per_gpu")
    settings.update(test_mode=True, ann_file=str(infos), data_root=dataroot, map_ann_file=str(infos.parent / "gt.json"))
    return load_library("mmdet3d.datasets").build_dataset(settings)


def motion_of(info: Any) -> Any:
    """What the sample's info holds of the vehicle's motion."""
    return [(key, info[key]) for key in info if key.startswith("gt_ego") or key in ("fut_valid_flag", "can_bus")]


def results(found: Any, head: Any, info: Any) -> Any:
    """What the model gives, the logits of all its futures, and its boxes as upstream turns them for nuScenes."""
    arrays = {key: np.asarray(getattr(value, "tensor", value)) for key, value in found.items()}
    arrays["all_steps"] = head["all_traj_preds"][-1][0].numpy()
    arrays["all_logits"] = head["all_traj_cls_scores"][-1][0].numpy()
    module = load_library("projects.mmdet3d_plugin.datasets.nuscenes_vad_dataset")
    boxes = module.output_to_nusc_box(found)
    for box in boxes:
        box.rotate(module.pyquaternion.Quaternion(info["lidar2ego_rotation"]))
        box.translate(np.array(info["lidar2ego_translation"]))
    arrays["ego_center"] = np.array([box.center for box in boxes])
    arrays["ego_wlh"] = np.array([box.wlh for box in boxes])
    arrays["ego_rotation"] = np.array([box.orientation.elements for box in boxes])
    arrays["ego_velocity"] = np.array([np.asarray(box.velocity, dtype=np.float64) for box in boxes])
    return arrays


if __name__ == "__main__":
    main()
