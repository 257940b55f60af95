"""Run by the environment of PETR or one like it: samples through upstream's own way, as petr_ours.py's arrays.

    python petr_upstream.py {"model", "config" or "", "checkpoint", "dataroot", "tokens", "calls", "folder"}

Upstream's converter writes the info file (for all samples, through the nuScenes devkit), upstream's data set class
reads it with its own constructor, its pipeline and collation make the batch, mmcv's loader fills the model, the model
is called as tools/test.py's loop calls it, and the data set writes the submission. That tool itself needs a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from inside_model import build_upstream, enter_upstream, load_adapter, read_batch, read_request
from petr_arrays import describe_inputs, describe_outputs, known_boxes

from worker.mmlab.common.libraries import load_library

INFOS = {
    "PETR": "nuscenes_infos_val.pkl",
    "PETRv2": "nuscenes_infos_val.pkl",
    "BEVFormer": "nuscenes_infos_temporal_val.pkl",
    "StreamPETR": "nuscenes_temporal_infos_val.pkl",
}
SWEEP_INFOS = "mmdet3d_nuscenes_30f_infos_val.pkl"
WITHOUT_FLASH = {"type": "PETRMultiheadAttention", "embed_dims": 256, "num_heads": 8, "dropout": 0.1, "fp16": True}
"""Recipe 10 of StreamPETR's docs/training_inference.md."""


def main() -> None:
    wanted = read_request()
    config = enter_upstream(load_adapter(wanted["model"]), wanted["config"])
    folder = Path(wanted["folder"])
    infos = write_infos(wanted["model"], wanted["dataroot"], folder / "root")
    if config.data.test.ann_file.endswith(SWEEP_INFOS):
        infos = write_sweeps(infos)
    dataset = open_dataset(config, infos, wanted["tokens"])
    drop_flash_attention(config)
    model = build_upstream(config, wanted["checkpoint"])
    head: list[dict[str, Any]] = []
    model.pts_bbox_head.register_forward_hook(lambda module, given, found: head.append(found))
    arrays, results = {}, []
    for number in range(len(dataset)):
        data = read_batch(dataset, number)
        found = describe_inputs(data)
        if number >= len(dataset) - wanted["calls"]:
            with load_library("torch").no_grad():
                result = model(return_loss=False, rescale=True, **data)
            found.update(describe_outputs(result, head.pop()))
            results += result
        arrays.update({f"{number}/{name}": value for name, value in found.items()})
    np.savez(folder / "upstream.npz", **arrays)
    dataset.data_infos = dataset.data_infos[-wanted["calls"] :]
    dataset.format_results(results, jsonfile_prefix=str(folder / "submission"))
    known = {name: load_library("torch").from_numpy(value) for name, value in known_boxes().items()}
    known["boxes_3d"] = load_library("mmdet3d.core.bbox").LiDARInstance3DBoxes(known["boxes_3d"], box_dim=9)
    dataset.format_results([{"pts_bbox": known}] * len(results), jsonfile_prefix=str(folder / "known"))


def write_infos(model: str, dataroot: str, root: Path) -> Path:
    """The info file of mini_val, by upstream's converter, in a folder that has the data set's entries as links."""
    root.mkdir()
    for entry in Path(dataroot).iterdir():
        (root / entry.name).symlink_to(entry)
    converter = load_library("tools.data_converter.nuscenes_converter")
    # BEVFormer's also takes where it writes, and where the CAN bus is.
    places = (str(root), str(root)) if model == "BEVFormer" else ()
    converter.create_nuscenes_infos(str(root), *places, "nuscenes", version="v1.0-mini")
    return root / INFOS[model]


def write_sweeps(infos: Path) -> Path:
    """The info file with camera sweeps, by upstream's program: it names its files in its first lines."""
    program = Path("tools/generate_sweep_pkl.py").read_text()
    for theirs, here in (
        ("info_prefix = 'train'", "info_prefix = 'val'"),
        ('data_root = "/data/Dataset/nuScenes/"', f'data_root = "{infos.parent}/"'),
        ("'v1.0-trainval'", "'v1.0-mini'"),
    ):
        assert theirs in program, theirs
        program = program.replace(theirs, here)
    exec(compile(program, "generate_sweep_pkl.py", "exec"), {})
    return infos.parent / SWEEP_INFOS


def open_dataset(config: Any, infos: Path, tokens: list[str]) -> Any:
    """Upstream's data set, by its constructor, then with the wanted samples alone, in their order."""
    settings = config.data.test
    settings.update(test_mode=True, ann_file=str(infos), data_root=str(infos.parent) + "/")
    dataset = load_library("mmdet3d.datasets").build_dataset(settings)
    by_token = {info["token"]: info for info in dataset.data_infos}
    dataset.data_infos = [by_token[token] for token in tokens]
    return dataset


def drop_flash_attention(config: Any) -> None:
    """Let layers of flash-attn, which no environment has, be built as upstream's documents say."""
    layers = config.model.pts_bbox_head.transformer.decoder.transformerlayers
    for position, attention in enumerate(layers.attn_cfgs):
        if attention.type == "PETRMultiheadFlashAttention":
            layers.attn_cfgs[position] = WITHOUT_FLASH


if __name__ == "__main__":
    main()
