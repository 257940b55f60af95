"""Run by an mm2 environment: samples through upstream's own way, to the same arrays as mm2_ours.py.

    python mm2_upstream.py {"model", "config" or "", "checkpoint", "dataroot", "tokens", "folder"}

Upstream's converters write the info file (for all samples, through the nuScenes devkit, in its second version), its
data set class reads it with its own constructor, its pipeline and collation make the batch, mmengine's loader fills the
model, `test_step` calls it as the runner's loop does, and upstream's metric writes the submission. Of the sweeps the
nearest are taken, by upstream's own `test_mode`; without it the loader draws them. What is compiled for CUDA alone has
the adapter's stand-ins, for there is no other way on a CPU.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from inside_model import load_adapter, read_request
from mm2_arrays import describe_inputs, describe_outputs, watch_neck
from petr_arrays import known_boxes

from worker.mmlab.common.libraries import load_library
from worker.mmlab.common.source import drop_pretrained, enter_source

PREFIX = "nuscenes"


def main() -> None:
    wanted = read_request()
    adapter = load_adapter(wanted["model"])
    root = enter_source(adapter.source_root(), below=adapter.source_paths)
    adapter.import_libraries()
    config = load_library("mmengine.config").Config.fromfile(
        str(Path(root) / (wanted["config"] or adapter.default_config))
    )
    load_library("mmengine.registry").init_default_scope("mmdet3d")
    folder = Path(wanted["folder"])
    infos = write_infos(wanted["dataroot"], folder / "root")
    dataset = open_dataset(config, infos)
    drop_pretrained(config.model)  # a backbone's own weights, which would be fetched
    model = load_library("mmdet3d.registry").MODELS.build(config.model)
    load_library("mmengine.runner").load_checkpoint(model, wanted["checkpoint"], map_location="cpu")
    model.eval()
    neck = watch_neck(model)
    places = {dataset.get_data_info(number)["token"]: number for number in range(len(dataset))}
    # BEVFusion's depths of points that share a pixel: any of them is upstream's, and this keeps the last one.
    load_library("torch").use_deterministic_algorithms(True, warn_only=True)
    arrays: dict[str, Any] = {}
    results = []
    for number, token in enumerate(wanted["tokens"]):
        batch = load_library("mmengine.dataset").pseudo_collate([dataset[places[token]]])
        with load_library("torch").no_grad():
            data = model.data_preprocessor(batch, False)
            found = describe_inputs(data)
            # The second half of test_step, whose first half is the line above.
            result = model._run_forward(data, mode="predict")
        found.update(describe_outputs(result, neck.pop()))
        results.append(result[0])
        arrays.update({f"{number}/{name}": value for name, value in found.items()})
    np.savez(folder / "upstream.npz", **arrays)
    write_submissions(dataset, infos, results, folder)


def write_infos(dataroot: str, root: Path) -> Path:
    """The info file of mini_val, by upstream's converters, in a folder that has the data set's entries as links."""
    root.mkdir()
    for entry in Path(dataroot).iterdir():
        (root / entry.name).symlink_to(entry)
    converters = "tools.dataset_converters."
    load_library(converters + "nuscenes_converter").create_nuscenes_infos(
        str(root), PREFIX, version="v1.0-mini", max_sweeps=10
    )
    infos = root / f"{PREFIX}_infos_val.pkl"
    update = load_library(converters + "update_infos_to_v2")
    # It looks for the tables in data/nuscenes of the folder that it is started in.
    (root.parent / "data").mkdir()
    (root.parent / "data" / "nuscenes").symlink_to(root)
    before = Path.cwd()
    os.chdir(root.parent)
    try:
        update.update_pkl_infos("nuscenes", out_dir=str(root), pkl_path=str(infos))
    finally:
        os.chdir(before)
    return infos


def open_dataset(config: Any, infos: Path) -> Any:
    """Upstream's data set, by its constructor, with the nearest sweeps."""
    settings = config.test_dataloader.dataset
    settings.update(data_root=str(infos.parent) + "/", ann_file=infos.name)
    for step in settings.pipeline:
        if step["type"] == "LoadPointsFromMultiSweeps":
            step["test_mode"] = True
    return load_library("mmdet3d.registry").DATASETS.build(settings)


def write_submissions(dataset: Any, infos: Path, results: list[Any], folder: Path) -> None:
    """Upstream's submission of what was found, and one of known boxes."""
    torch = load_library("torch")
    structures = load_library("mmdet3d.structures")
    classes = list(dataset.metainfo["classes"])
    known = known_boxes()
    for name in ("submission", "known"):
        found = []
        for result in results:
            instances = result.pred_instances_3d
            boxes, scores, labels = instances.bboxes_3d, instances.scores_3d, instances.labels_3d
            if name == "known":
                boxes = structures.LiDARInstance3DBoxes(torch.from_numpy(known["boxes_3d"]), box_dim=9)
                scores, labels = torch.from_numpy(known["scores_3d"]), torch.from_numpy(known["labels_3d"])
            one = {"bboxes_3d": boxes, "scores_3d": scores, "labels_3d": labels}
            found.append({"pred_instances_3d": one, "sample_idx": result.sample_idx})
        metric = load_library("mmdet3d.evaluation.metrics").NuScenesMetric(
            data_root=str(infos.parent), ann_file=str(infos), format_only=True, jsonfile_prefix=str(folder / name)
        )
        metric.dataset_meta = {"classes": classes, "version": "v1.0-mini"}
        metric.compute_metrics(found)


if __name__ == "__main__":
    main()
