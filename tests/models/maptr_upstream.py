"""Run by MapTR's or MapTRv2's environment: one sample through upstream's own way, its tensors and results to a file.

    python maptr_upstream.py {"model", "config", "checkpoint", "dataroot", "token", "folder"}

Upstream's converter writes the info file (for all samples, through the nuScenes devkit), upstream's data set class
reads it with its own constructor, its pipeline and collation make the batch, its loader fills the model, and the model
is called as tools/test.py's loop calls it. That tool itself runs on a GPU alone.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from inside_model import build_upstream, describe_bev_inputs, enter_upstream, load_adapter, read_batch, read_request

from worker.mmlab.common.libraries import load_library


def main() -> None:
    wanted = read_request()
    config = enter_upstream(load_adapter(wanted["model"]), wanted["config"])
    folder = Path(wanted["folder"])
    infos = write_infos(wanted["model"], wanted["dataroot"], folder)
    dataset = open_dataset(config, infos, wanted["dataroot"])
    data = read_batch(dataset, [info["token"] for info in dataset.data_infos].index(wanted["token"]))
    arrays = describe_bev_inputs(data, can_bus="can_bus")
    norm = config.model.img_backbone.norm_cfg
    norm.type = {"SyncBN": "BN"}.get(norm.type, norm.type)
    model = build_upstream(config, wanted["checkpoint"])
    with load_library("torch").no_grad():
        result = model(return_loss=False, rescale=True, **data)
    arrays.update({key: np.asarray(value) for key, value in result[0]["pts_bbox"].items()})
    np.savez(folder / "upstream.npz", **arrays)


def write_infos(model: str, dataroot: str, folder: Path) -> Path:
    """The info file of mini_val, by upstream's converter. MapTRv2's cuts the map's vectors, and reads its arguments."""
    if model == "MapTRv2":
        sys.argv[1:] = ["--out-dir", str(folder)]
        converter = load_library("tools.maptrv2.custom_nusc_map_converter")
        name = "nuscenes_map_infos_temporal_val.pkl"
    else:
        converter = load_library("tools.data_converter.nuscenes_converter")
        name = "nuscenes_infos_temporal_val.pkl"
    converter.create_nuscenes_infos(dataroot, str(folder), dataroot, "nuscenes", version="v1.0-mini")
    return folder / name


def open_dataset(config: Any, infos: Path, dataroot: str) -> Any:
    """Upstream's data set, by its constructor."""
    settings = config.data.test
    settings.update(test_mode=True, ann_file=str(infos), data_root=dataroot, map_ann_file=str(infos.parent / "gt.json"))
    return load_library("mmdet3d.datasets").build_dataset(settings)


if __name__ == "__main__":
    main()
