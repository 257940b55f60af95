"""Run by VAD's environment: whole scenes through upstream's own way; its inputs and results to a file.

    python vad_upstream.py {"config", "checkpoint", "dataroot", "each", "folder"}

The network sees the first `each` samples of a scene. Upstream's converter writes the info file (for all samples, by the
nuScenes devkit), upstream's data set class reads it with its constructor, its pipeline and collation make the batch,
its loader fills the model, and the model is called as tools/test.py's loop calls it, metrics included. That tool itself
runs on a GPU alone.
"""

import collections
import importlib
import json
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "envs" / "VAD"), str(CHECKOUT / "runners")]

import numpy as np  # noqa: E402
from demo import VAD  # noqa: E402

from inside.mmlab.inputs import unwrap  # noqa: E402
from inside.mmlab.libraries import load_library  # noqa: E402
from inside.mmlab.network import enter_source  # noqa: E402
from inside.mmlab.overlay import last_registration_wins  # noqa: E402


def main() -> None:
    wanted = json.loads(sys.argv[1])
    adapter = VAD()
    enter_source(adapter.source_root(), below=adapter.source_paths)
    with last_registration_wins():
        adapter.import_libraries()
        config = load_library("mmcv").Config.fromfile(wanted["config"])
        load_library("projects.mmdet3d_plugin")
    folder = Path(wanted["folder"])
    dataset = open_dataset(config, write_infos(wanted["dataroot"], folder), wanted["dataroot"])
    model = build(config, wanted["checkpoint"])
    heads: Any = []
    model.pts_bbox_head.register_forward_hook(lambda _module, _inputs, outputs: heads.append(outputs))
    arrays: Any = {}
    seen: Any = collections.Counter()
    for number, info in enumerate(dataset.data_infos):
        arrays.update({"{}.{}".format(info["token"], key): np.array(value) for key, value in motion_of(info)})
        seen[info["scene_token"]] += 1
        if seen[info["scene_token"]] > wanted["each"]:
            continue
        batch = load_library("mmcv.parallel").collate([dataset[number]], samples_per_gpu=1)
        data = {key: unwrap(value) for key, value in batch.items()}
        sample = describe_inputs(data)
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


def build(config: Any, checkpoint: str) -> Any:
    """Upstream's model with mmcv's loader, as tools/test.py makes it."""
    config.model.pretrained = None
    config.model.train_cfg = None
    model = load_library("mmdet3d.models").build_model(config.model, test_cfg=config.get("test_cfg"))
    load_library("mmcv.runner").load_checkpoint(model, checkpoint, map_location="cpu")
    return model.eval()


def describe_inputs(data: Any) -> Any:
    """Copies, before the call: upstream changes its inputs in place."""
    metas = data["img_metas"][0][0]
    return {
        "img": data["img"][0].numpy().copy(),
        "bev_can_bus": metas["can_bus"].copy(),
        "lidar2img": np.stack(metas["lidar2img"]),
    }


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
