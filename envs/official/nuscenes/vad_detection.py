"""VAD's own detection metrics over given samples. Runs inside envs/official/nuscenes.

    python vad_detection.py --vad CHECKOUT --dataroot ROOT --version V --samples samples.json --out result.json

Two files of the checkout run whole and unchanged: nuscenes_vad_dataset.py, which makes a submission of what the network
found (`_format_bbox`: it drops boxes of little confidence and those far from the vehicle), and
vad_custom_nuscenes_eval.py, which measures it. What they import and do not need here (torch, mmcv, mmdet, mmdet3d) is
replaced by empty modules and the few lines that are needed. VAD measures whole splits; here the split is the given
samples, in their order.

`samples.json`: a list of {"token", "ego2global_translation", "ego2global_rotation", "boxes"}; boxes are in the ego
frame: {"center", "size_wlh", "rotation_wxyz", "velocity", "class_name", "confidence"}.
"""

import argparse
import importlib
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
from nuscenes import NuScenes
from pyquaternion import Quaternion

PLUGIN = "projects.mmdet3d_plugin"
DATASET = PLUGIN + ".datasets.nuscenes_vad_dataset"
EVALUATION = PLUGIN + ".datasets.vad_custom_nuscenes_eval"
BOX = PLUGIN + ".core.bbox.structures.nuscenes_box"
CONFIG = "projects/mmdet3d_plugin/datasets/vad_nusc_detection_cvpr_2019.json"
SPLITS = {"v1.0-mini": "mini_val", "v1.0-trainval": "val"}

CLASSES = ("car", "truck", "construction_vehicle", "bus", "trailer", "barrier", "motorcycle", "bicycle", "pedestrian")
CLASSES += ("traffic_cone",)
DEFAULT_ATTRIBUTES = {
    "car": "vehicle.parked",
    "pedestrian": "pedestrian.moving",
    "trailer": "vehicle.parked",
    "truck": "vehicle.parked",
    "bus": "vehicle.moving",
    "motorcycle": "cycle.without_rider",
    "construction_vehicle": "vehicle.parked",
    "bicycle": "cycle.without_rider",
    "barrier": "",
    "traffic_cone": "",
}
"""`NuScenesDataset.DefaultAttribute` of mmdet3d 0.17."""


class Registry:
    """mmdet's registry of data sets, which registers nothing."""

    def register_module(self) -> Any:
        return lambda cls: cls


class Dataset:
    """mmdet3d's NuScenesDataset, as far as VAD's makes a submission with it."""

    DefaultAttribute = DEFAULT_ATTRIBUTES


class Samples:
    """The data set with none but the given samples in the list of them."""

    def __init__(self, nusc: Any, tokens: Sequence[str]) -> None:
        self._nusc = nusc
        self.sample = [nusc.get("sample", token) for token in tokens]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nusc, name)


def load_vad(checkout: Path) -> Any:
    """VAD's module of the data set, ready to format and to measure."""
    _stub("torch")
    _stub("IPython", embed=None)
    _stub("pycocotools.mask")
    _stub("torchvision.transforms.functional", rotate=None)
    _stub("mmcv", load=_load, dump=_dump, mkdir_or_exist=_make_folder, track_iter_progress=iter)
    _stub("mmcv.parallel", DataContainer=None)
    _stub("mmdet.datasets", DATASETS=Registry())
    _stub("mmdet.datasets.pipelines", to_tensor=None)
    _stub("mmdet3d.datasets", NuScenesDataset=Dataset)
    _stub("mmdet3d.core", LiDARInstance3DBoxes=None)
    _stub("mmdet3d.core.bbox.iou_calculators", BboxOverlaps3D=None)
    _stub(PLUGIN + ".models.utils.visual", save_tensor=None)
    for package in (PLUGIN + ".datasets", PLUGIN + ".core.bbox.structures"):
        _stub(package)
        sys.modules[package].__path__ = [str(checkout.joinpath(*package.split(".")))]
    sys.dont_write_bytecode = True  # the checkout stays as it is
    vad = importlib.import_module(DATASET)
    vad.config = vad.v1CustomDetectionConfig.deserialize(_load(checkout / CONFIG))
    vad.output_to_nusc_box = _boxes  # what the network's boxes are once they are out of mmdet3d's
    vad.output_to_vecs = lambda detections: []  # there is no map here
    _let_nothing_pass(importlib.import_module(EVALUATION))
    return vad


def evaluate(vad: Any, nusc: Any, samples: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """`DetectionMetrics.serialize()` of the samples."""
    tokens = [sample["token"] for sample in samples]
    with tempfile.TemporaryDirectory() as folder:
        split = SPLITS.get(nusc.version, "val")
        evaluation = sys.modules[EVALUATION]
        evaluation.create_splits_scenes = lambda: {split: {scene["name"] for scene in nusc.scene}}
        measured = evaluation.NuScenesEval_custom(
            Samples(nusc, tokens),
            config=vad.config,
            result_path=_format(vad, samples, folder),
            eval_set=split,
            output_dir=folder,
            verbose=False,
        )
        metrics, _ = measured.evaluate()
    return dict(metrics.serialize())


def _format(vad: Any, samples: Sequence[Dict[str, Any]], folder: str) -> str:
    """VAD's submission of the samples; returns its path."""
    dataset = vad.VADCustomNuScenesDataset.__new__(vad.VADCustomNuScenesDataset)
    dataset.CLASSES, dataset.modality, dataset.map_ann_file = CLASSES, {"use_camera": True}, folder
    dataset.custom_eval_detection_configs, dataset.eval_version = vad.config, "detection_cvpr_2019"
    dataset.use_pkl_result = False
    origin = {"lidar2ego_rotation": [1.0, 0.0, 0.0, 0.0], "lidar2ego_translation": [0.0, 0.0, 0.0]}
    dataset.data_infos = [{**sample, **origin} for sample in samples]
    results = [{"boxes": sample["boxes"], "ego_fut_preds": None, "ego_fut_cmd": None} for sample in samples]
    return str(dataset._format_bbox(results, folder))


def _boxes(detections: Dict[str, Any]) -> List[Any]:
    """VAD's boxes, in the ego frame."""
    structure = importlib.import_module(BOX).CustomNuscenesBox
    return [
        structure(
            center=box["center"],
            size=box["size_wlh"],
            orientation=Quaternion(box["rotation_wxyz"]),
            fut_trajs=[],
            label=CLASSES.index(box["class_name"]),
            score=box["confidence"],
            velocity=(*(box["velocity"] or (0.0, 0.0)), 0.0),
        )
        for box in detections["boxes"]
    ]


def _let_nothing_pass(evaluation: Any) -> None:
    """VAD's filter looks at the first box to learn the task, and raises when there is none at all."""
    filter_boxes = evaluation.filter_eval_boxes
    evaluation.filter_eval_boxes = lambda nusc, boxes, *limits, **more: (
        filter_boxes(nusc, boxes, *limits, **more) if boxes.all else boxes
    )


def _stub(*names: str, **attributes: Any) -> None:
    """Empty modules in place of what is not installed, and the packages around them."""
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
            if end > 1:
                setattr(sys.modules[".".join(parts[: end - 1])], parts[end - 1], sys.modules[".".join(parts[:end])])
        vars(sys.modules[name]).update(attributes)


def _load(path: Any) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _dump(value: Any, path: str) -> None:
    Path(path).write_text(json.dumps(value), encoding="utf-8")


def _make_folder(path: str) -> None:
    Path(path).mkdir(parents=True, exist_ok=True)


def _jsonable(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vad", type=Path, required=True, help="a checkout of VAD")
    parser.add_argument("--dataroot", type=Path, required=True, help="the data set root")
    parser.add_argument("--version", required=True, help="the folder of tables in it, e.g. v1.0-mini")
    parser.add_argument("--samples", type=Path, required=True, help="poses and predictions of the samples")
    parser.add_argument("--out", type=Path, required=True, help="where the result goes")
    return parser.parse_args()


def main() -> int:
    """Evaluate as the command line says; the result appears whole or not at all."""
    arguments = _parse()
    nusc = NuScenes(version=arguments.version, dataroot=str(arguments.dataroot), verbose=False)
    summary = evaluate(load_vad(arguments.vad), nusc, _load(arguments.samples))
    partial = arguments.out.with_name(arguments.out.name + ".part")
    result = {"summary": _jsonable(summary), "numpy": np.__version__}
    partial.write_text(json.dumps(result, allow_nan=False), encoding="utf-8")
    partial.replace(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
