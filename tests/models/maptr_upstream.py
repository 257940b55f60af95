"""Run by MapTR's environment: one sample through upstream's own way, its tensors and results written to a file.

    python maptr_upstream.py {"config", "checkpoint", "dataroot", "token", "folder"}

Upstream's converter writes the info file (for all samples, through the nuScenes devkit), upstream's data set class
reads it with its own constructor, its pipeline and collation make the batch, its loader fills the model, and the model
is called as tools/test.py's loop calls it. That tool itself runs on a GPU alone.
"""

import json
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "envs" / "MapTR"), str(CHECKOUT / "runners")]

import numpy as np  # noqa: E402
from demo import MapTR  # noqa: E402

from inside.mmlab.libraries import load_library  # noqa: E402
from inside.mmlab.network import enter_source  # noqa: E402
from inside.mmlab.overlay import last_registration_wins  # noqa: E402


def main() -> None:
    wanted = json.loads(sys.argv[1])
    adapter = MapTR()
    enter_source(adapter.source_root(), below=adapter.source_paths)
    with last_registration_wins():
        adapter.import_libraries()
        config = load_library("mmcv").Config.fromfile(wanted["config"])
        load_library("projects.mmdet3d_plugin")
    folder = Path(wanted["folder"])
    infos = write_infos(wanted["dataroot"], folder)
    dataset = open_dataset(config, infos, wanted["dataroot"])
    index = [info["token"] for info in dataset.data_infos].index(wanted["token"])
    batch = load_library("mmcv.parallel").collate([dataset[index]], samples_per_gpu=1)
    data = {key: [item.data[0] for item in value] for key, value in batch.items()}
    metas = data["img_metas"][0][0]
    arrays = {"img": data["img"][0].numpy().copy(), "can_bus": metas["can_bus"].copy()}
    arrays["lidar2img"] = np.stack(metas["lidar2img"])
    model = build(config, wanted["checkpoint"])
    with load_library("torch").no_grad():
        result = model(return_loss=False, rescale=True, **data)
    arrays.update({key: np.asarray(value) for key, value in result[0]["pts_bbox"].items()})
    np.savez(folder / "upstream.npz", **arrays)


def write_infos(dataroot: str, folder: Path) -> Path:
    """The info file of mini_val, by upstream's converter."""
    converter = load_library("tools.data_converter.nuscenes_converter")
    converter.create_nuscenes_infos(dataroot, str(folder), dataroot, "nuscenes", version="v1.0-mini")
    return folder / "nuscenes_infos_temporal_val.pkl"


def open_dataset(config: Any, infos: Path, dataroot: str) -> Any:
    """Upstream's data set, by its constructor."""
    settings = config.data.test
    settings.update(test_mode=True, ann_file=str(infos), data_root=dataroot, map_ann_file=str(infos.parent / "gt.json"))
    return load_library("mmdet3d.datasets").build_dataset(settings)


def build(config: Any, checkpoint: str) -> Any:
    """Upstream's model with mmcv's loader, as tools/test.py makes it, without half precision: a CPU has none."""
    config.model.pretrained = None
    config.model.train_cfg = None
    norm = config.model.img_backbone.norm_cfg
    norm.type = {"SyncBN": "BN"}.get(norm.type, norm.type)
    model = load_library("mmdet3d.models").build_model(config.model, test_cfg=config.get("test_cfg"))
    load_library("mmcv.runner").load_checkpoint(model, checkpoint, map_location="cpu")
    return model.eval()


if __name__ == "__main__":
    main()
