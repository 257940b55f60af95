"""VAD's and UniAD's own planning and motion metrics over given samples. Runs inside envs/official/vad.

    python evaluate.py --samples samples.npz --vad CHECKOUT [--uniad CHECKOUT] --out result.json

The metric classes and methods are taken from the checkouts and run unchanged; what they import and do not use here
(boxes of mmdet3d, the devkit, Lightning) is replaced by the few lines they need. The sums over the samples, which
upstream writes in the middle of long methods (nuscenes_vad_dataset.py `evaluate`, UniAD's `compute`), are those of the
originals.

`samples.npz` holds one array for each field, all samples one after another, and `counts` and `found_counts`.
"""

import argparse
import ast
import copy
import json
import os
import sys
import time
import types
from pathlib import Path
from typing import Any, Dict, List, Optional

# Torch takes square roots from MKL. Its code for AVX-512 gives 0.5 % of them one last digit too low, and that for
# processors other than Intel's 17 %; that for Intel's AVX2 rounds them all correctly. So the metrics do not depend on
# the processor: the first variable chooses it on Intel's, the second, which MKL reads up to 2020.0, on others.
os.environ["MKL_ENABLE_INSTRUCTIONS"] = "AVX2"
os.environ["MKL_DEBUG_CPU_TYPE"] = "5"

import cv2
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

CLASSES = ["car", "truck", "construction_vehicle", "bus", "trailer", "barrier", "motorcycle", "bicycle", "pedestrian"]
CLASSES += ["traffic_cone"]
PLANNER = "projects/mmdet3d_plugin/VAD/planner/metric_stp3.py"
UNIAD_HEADS = "projects/mmdet3d_plugin/uniad/dense_heads"


class Clock:
    """Wall and processor seconds of what runs inside it, added up."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> None:
        self.wall_s -= time.perf_counter()
        self.cpu_s -= time.process_time()

    def __exit__(self, *raised: object) -> None:
        self.wall_s += time.perf_counter()
        self.cpu_s += time.process_time()

    def times(self, prefix: str) -> Dict[str, float]:
        return {prefix + "seconds": self.wall_s, prefix + "cpu_seconds": self.cpu_s}


class Boxes:
    """What the metrics use of mmdet3d's boxes."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    @property
    def center(self) -> torch.Tensor:
        return self.tensor[:, :3]

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, index: Any) -> "Boxes":
        chosen = self.tensor[index]
        return Boxes(chosen if chosen.dim() == 2 else chosen[None])


class LightningMetric(torch.nn.Module):
    """What UniAD's metric uses of pytorch_lightning's."""

    def __init__(self, compute_on_step: bool = False) -> None:
        super().__init__()

    def add_state(self, name: str, default: torch.Tensor, dist_reduce_fx: str) -> None:
        setattr(self, name, default)


def _stub(**modules: Dict[str, Any]) -> None:
    for name, attributes in modules.items():
        module = types.ModuleType(name.replace("__", "."))
        module.__dict__.update(attributes)
        sys.modules[module.__name__] = module


def load_vad(checkout: Path) -> Any:
    """An object with VAD's metric methods, as they stand in VAD.py and metric_stp3.py."""
    nothing: Dict[str, Any] = {}
    _stub(matplotlib={"pyplot": None}, matplotlib__pyplot=nothing, nuscenes=nothing, nuscenes__utils=nothing)
    _stub(nuscenes__utils__data_classes={"Box": None}, projects=nothing, projects__mmdet3d_plugin=nothing)
    _stub(projects__mmdet3d_plugin__core=nothing, projects__mmdet3d_plugin__core__evaluation=nothing)
    _stub(projects__mmdet3d_plugin__core__evaluation__metric_motion={"get_ade": None, "get_fde": None})
    planner: Dict[str, Any] = {"__name__": "metric_stp3"}
    exec(compile((checkout / PLANNER).read_text(encoding="utf-8"), PLANNER, "exec"), planner)  # noqa: S102 - the checkout is what is to be run
    source = ast.parse((checkout / "projects/mmdet3d_plugin/VAD/VAD.py").read_text(encoding="utf-8"))
    wanted = ("assign_pred_to_gt_vip3d", "compute_motion_metric_vip3d", "compute_planner_metric_stp3")
    (model,) = (node for node in source.body if isinstance(node, ast.ClassDef) and node.name == "VAD")
    model.bases, model.decorator_list = [], []
    model.body = [node for node in model.body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    names = {"torch": torch, "np": np, "copy": copy, "linear_sum_assignment": linear_sum_assignment}
    names["PlanningMetric"] = planner["PlanningMetric"]
    exec(compile(ast.Module(body=[model], type_ignores=[]), "VAD.py", "exec"), names)  # noqa: S102 - the checkout is what is to be run
    vad = names["VAD"]()
    vad.planning_metric, vad.fut_ts, vad.fut_mode = planner["PlanningMetric"](), 6, 6
    return vad


def load_uniad(checkout: Path) -> Any:
    """UniAD's PlanningMetric, as it stands in planning_metrics.py."""
    nothing: Dict[str, Any] = {}
    utils = (checkout / UNIAD_HEADS / "occ_head_plugin/utils.py").read_text(encoding="utf-8")
    source = ast.parse(utils)
    wanted = ("calculate_birds_eye_view_parameters", "gen_dx_bx")
    source.body = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    names: Dict[str, Any] = {"torch": torch, "np": np}
    exec(compile(source, "utils.py", "exec"), names)  # noqa: S102 - the checkout is what is to be run
    _stub(pytorch_lightning=nothing, pytorch_lightning__metrics=nothing)
    _stub(pytorch_lightning__metrics__metric={"Metric": LightningMetric})
    _stub(uniad=nothing, uniad__occ_head_plugin={name: names[name] for name in wanted}, uniad__plugin=nothing)
    text = (checkout / UNIAD_HEADS / "planning_head_plugin/planning_metrics.py").read_text(encoding="utf-8")
    space = {"__name__": "uniad.plugin.planning_metrics", "__package__": "uniad.plugin"}
    exec(compile(text, "planning_metrics.py", "exec"), space)  # noqa: S102 - the checkout is what is to be run
    return space["PlanningMetric"]()


def read_samples(path: Path) -> List[Dict[str, Any]]:
    """One dictionary of tensors for each sample."""
    with np.load(str(path), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    starts = {"truth": np.cumsum(arrays["counts"])[:-1], "found": np.cumsum(arrays["found_counts"])[:-1]}
    split: Dict[str, List[np.ndarray]] = {}
    for name in ("boxes", "features", "labels"):
        split[name] = np.split(arrays[name], starts["truth"])
    for name in ("found_boxes", "found_labels", "found_scores", "modes"):
        split[name] = np.split(arrays[name], starts["found"])
    for name in ("plan", "path", "known"):
        split[name] = list(arrays[name])
    return [
        {name: torch.from_numpy(np.ascontiguousarray(values[index])) for name, values in split.items()}
        for index in range(len(arrays["counts"]))
    ]


def evaluate_vad(vad: Any, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
    """VAD's planning and motion numbers; the loops are those of nuscenes_vad_dataset.py."""
    results: List[Dict[str, Any]] = []
    motion, planned = Clock(), Clock()
    for sample in samples:
        with motion:
            results.append(_motion(vad, sample))
        with planned:
            planning = _plan(vad, sample)
        results[-1].update(planning)
    return {
        "motion": _sum_motion(results),
        "stp3": _sum_planning(results),
        **motion.times("motion_"),
        **planned.times("stp3_"),
    }


def _plan(vad: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
    metrics: Dict[str, Any] = vad.compute_planner_metric_stp3(
        pred_ego_fut_trajs=sample["plan"].cumsum(dim=-2)[None],
        gt_ego_fut_trajs=sample["path"].cumsum(dim=-2)[None],
        gt_agent_boxes=Boxes(sample["boxes"].clone()),
        gt_agent_feats=sample["features"].unsqueeze(0),
        fut_valid_flag=bool(sample["known"].all()),
    )
    return metrics


def _motion(vad: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
    sure = sample["found_scores"] > 0.6
    found = {
        "boxes_3d": Boxes(sample["found_boxes"])[sure],
        "scores_3d": sample["found_scores"][sure],
        "labels_3d": sample["found_labels"][sure].clone(),
        "trajs_3d": sample["modes"].flatten(1)[sure],
    }
    vad.fut_mode = sample["modes"].shape[1]
    boxes, labels = Boxes(sample["boxes"].clone()), sample["labels"].clone()
    assigned = vad.assign_pred_to_gt_vip3d(found, boxes, labels)
    metrics: Dict[str, Any] = vad.compute_motion_metric_vip3d(
        boxes, labels, sample["features"], found, assigned, CLASSES
    )
    return metrics


def _sum_motion(results: List[Dict[str, Any]]) -> Dict[str, Any]:
    names = ["gt", "cnt_ade", "cnt_fde", "hit", "fp", "ADE", "FDE", "MR"]
    values: Dict[str, Any] = {}
    for kind in ("car", "pedestrian"):
        total = dict.fromkeys(names, 0.0)
        for result in results:
            for name in names:
                total[name] += result[name + "_" + kind]
        values["EPA_" + kind] = _ratio(total["hit"] - 0.5 * total["fp"], total["gt"])
        values["minADE_" + kind] = _ratio(total["ADE"], total["cnt_ade"])
        values["minFDE_" + kind] = _ratio(total["FDE"], total["cnt_fde"])
        values["MR_" + kind] = _ratio(total["MR"], total["cnt_fde"])
    return values


def _sum_planning(results: List[Dict[str, Any]]) -> Dict[str, Any]:
    valid = [result for result in results if result["fut_valid_flag"]]
    values = {}
    for name in ("L2", "obj_col", "obj_box_col"):
        for second in (1, 2, 3):
            values[f"{name}_{second}s"] = _ratio(sum(r[f"plan_{name}_{second}s"] for r in valid), len(valid))
    return values


def _ratio(above: Any, below: Any) -> Optional[float]:
    """None where nothing was there; the originals stop with an error."""
    return float(above / below) if below else None


def evaluate_uniad(metric: Any, vad: Any, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
    """UniAD's numbers, with the vehicles drawn as its data pipeline draws them; drawing is not in its seconds."""
    clock = Clock()
    for sample in samples:
        raster = _draw_vehicles(vad.planning_metric, sample)
        plan, path = sample["plan"].cumsum(dim=-2)[None].clone(), sample["path"].cumsum(dim=-2)[None].clone()
        mask = sample["known"].float()[None, :, None].repeat(1, 1, 2)
        with clock:
            metric.update(plan, path, mask, raster[None])
    values = metric.compute()
    return {
        "uniad": {
            f"{name}_{second}s": float(values[name][2 * second - 1])
            for name in ("L2", "obj_col", "obj_box_col")
            for second in (1, 2, 3)
        },
        **clock.times("uniad_"),
    }


def _draw_vehicles(metric: Any, sample: Dict[str, Any]) -> torch.Tensor:
    """UniAD's raster counts rows from behind: the same rectangles as VAD's, without its mirroring."""
    boxes, features = sample["boxes"].numpy(), sample["features"].numpy()
    places = np.cumsum(features[:, :12].reshape(-1, 6, 2), axis=1) + boxes[:, None, :2]
    yaws = np.cumsum(features[:, 28:34], axis=1) + -1 * (boxes[:, 6:7] + np.float32(np.pi / 2))
    raster = np.zeros((6, 200, 200))
    for step in range(6):
        for index in range(len(boxes)):
            if features[index, 12 + step] == 1 and int(features[index, 27]) in metric.category_index["vehicle"]:
                rotation = np.array([[np.cos(yaws[index, step]), -np.sin(yaws[index, step])],
                                     [np.sin(yaws[index, step]), np.cos(yaws[index, step])]])  # fmt: skip
                length, width = boxes[index, 4], boxes[index, 3]
                corners = np.array([[length / 2, -length / 2, -length / 2, length / 2],
                                    [width / 2, width / 2, -width / 2, -width / 2]])  # fmt: skip
                moved = np.matmul(rotation, corners) + places[index, step][:, None]
                start, size = metric.bev_start_position[:2, None], metric.bev_resolution[:2, None]
                cells = (moved - start + size / 2.0).T / metric.bev_resolution[:2]
                cv2.fillPoly(raster[step], [np.round(cells).astype(np.int32)], 1.0)
    return torch.from_numpy(raster).long()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=Path, required=True, help="annotations and predictions")
    parser.add_argument("--vad", type=Path, required=True, help="a checkout of VAD")
    parser.add_argument("--uniad", type=Path, help="a checkout of UniAD, for its metrics as well")
    parser.add_argument("--out", type=Path, required=True, help="where the result goes")
    return parser.parse_args()


def main() -> int:
    """Evaluate as the command line says; the result appears whole or not at all."""
    arguments = _parse()
    torch.set_num_threads(1)
    samples = read_samples(arguments.samples)
    vad = load_vad(arguments.vad)
    result = evaluate_vad(vad, samples)
    if arguments.uniad is not None:
        result.update(evaluate_uniad(load_uniad(arguments.uniad), vad, samples))
    partial = arguments.out.with_name(arguments.out.name + ".part")
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.replace(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
