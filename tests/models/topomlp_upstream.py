"""Run by TopoMLP's environment: one frame through upstream's own way, its arrays written to a file.

    python topomlp_upstream.py {"config", "checkpoint", "dataroot", "token", "folder"}

The devkit's preprocessing collects the frame, upstream's data set class reads it with its own constructor, its loader
makes the batch, mmcv's loader fills the model, and the test loop of tools/test.py calls it. Lanes are sorted as the
adapter's: the most confident first.
"""

from pathlib import Path
from typing import Any

import numpy as np
from inside_model import build_upstream, enter_upstream, load_adapter, read_request
from topomlp_ours import watch_heads

from worker.mmlab.common.libraries import load_library

COLLECTION = "data_dict_one_val"


def main() -> None:
    wanted = read_request()
    config = enter_upstream(load_adapter("TopoMLP"), wanted["config"])
    folder = Path(wanted["folder"])
    dataset = open_dataset(config, wanted["dataroot"], wanted["token"])
    loader = load_library("mmdet3d.datasets").build_dataloader(
        dataset, samples_per_gpu=1, workers_per_gpu=0, dist=False, shuffle=False
    )
    config.model.img_backbone.init_cfg = None  # a backbone's file that the checkpoint replaces
    model = build_upstream(config, wanted["checkpoint"])
    model.CLASSES = dataset.CLASSES
    arrays: Any = {}
    watch_heads(model, arrays)
    for batch in loader:
        arrays["img"] = batch["img"].data[0].numpy().copy()
        arrays["lidar2img"] = np.stack(batch["img_metas"].data[0][0]["lidar2img"])
    parallel = load_library("mmcv.parallel").MMDataParallel(model, device_ids=[0])
    results = load_library("mmdet3d.apis").single_gpu_test(parallel, loader)
    (formatted,) = dataset.format_preds(results)["results"].values()
    arrays.update(describe(formatted["predictions"]))
    np.savez(folder / "upstream.npz", **arrays)


def open_dataset(config: Any, dataroot: str, token: str) -> Any:
    """Upstream's data set of one frame, by its constructor; the devkit makes its file, beside the frames."""
    split, segment, stamp = token.split("-")
    collect = load_library("openlanev2.preprocessing").collect
    collect(dataroot, {split: {segment: [stamp + ".json"]}}, COLLECTION, point_interval=20)
    settings = config.data.test
    settings.update(data_root=dataroot, meta_root=dataroot, collection=COLLECTION, test_mode=True)
    return load_library("mmdet3d.datasets").build_dataset(settings)


def describe(prediction: Any) -> Any:
    lanes, elements = prediction["lane_centerline"], prediction["traffic_element"]
    confidences = np.array([lane["confidence"] for lane in lanes], dtype=np.float64)
    order = np.argsort(-confidences, kind="stable")
    return {
        "lanes": np.array([lane["points"] for lane in lanes])[order],
        "lane_confidences": confidences[order],
        "boxes": np.array([element["points"].reshape(4) for element in elements]),
        "attributes": np.array([element["attribute"] for element in elements]),
        "element_confidences": np.array([element["confidence"] for element in elements]),
        "lane_to_lane": prediction["topology_lclc"][order][:, order],
        "lane_to_traffic": prediction["topology_lcte"][order],
    }


if __name__ == "__main__":
    main()
