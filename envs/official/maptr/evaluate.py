"""MapTR's own map evaluator over given vectors. Runs inside envs/official/maptr, or in any Python with shapely 1 or 2.

    python evaluate.py --vectors vectors.json --maptr CHECKOUT --out result.json

`mean_ap.py`, `tpfp.py` and `tpfp_chamfer.py` of the checkout run unchanged. What they import of mmcv and mmdet and do
not need is replaced; a pool of processes becomes one loop. shapely 2 gives numbers where shapely 1's STRtree gave
geometries, so there a tree that gives geometries stands in for it.

`vectors.json`: {"classes", "metric", "thresholds", "predictions", "ground_truth"}; the last two are lists over samples
of lists of [class index, [[x, y], …]] with the confidence third in a prediction.
"""

import argparse
import importlib
import itertools
import json
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List

import numpy as np
import shapely
import shapely.strtree

UTILS = "projects/mmdet3d_plugin/datasets/map_utils"
RESAMPLED = True


class Pool:
    """multiprocessing.Pool in this process."""

    def __init__(self, processes: int) -> None:
        self.processes = processes

    def starmap(self, function: Callable[..., Any], arguments: Iterable[Any]) -> List[Any]:
        return list(itertools.starmap(function, arguments))

    def close(self) -> None:
        """Nothing to close."""


class GeometryTree:
    """An STRtree whose answers are geometries, as shapely 1's are."""

    def __init__(self, geometries: List[Any]) -> None:
        self.geometries = geometries
        self.tree = shapely.STRtree(geometries)

    def query(self, geometry: Any) -> List[Any]:
        return [self.geometries[index] for index in self.tree.query(geometry)]


class Timer:
    """mmcv's, as far as its two numbers are printed."""

    def since_start(self) -> float:
        return 0.0

    def since_last_check(self) -> float:
        return 0.0


def load_evaluator(checkout: Path) -> Any:
    """The checkout's module `mean_ap`."""
    nothing: Dict[str, Any] = {}
    mmcv = {"Timer": Timer, "dump": lambda data, path: None, "mkdir_or_exist": None}
    _stub({"mmcv": mmcv, "mmcv.utils": {"print_log": print}, "terminaltables": {"AsciiTable": None}})
    _stub({"mmdet": nothing, "mmdet.core": nothing, "mmdet.core.evaluation": nothing})
    _stub({"mmdet.core.evaluation.bbox_overlaps": {"bbox_overlaps": None}})
    if not shapely.__version__.startswith("1."):
        shapely.strtree.STRtree = GeometryTree
    package = types.ModuleType("map_utils")
    package.__path__ = [str(checkout / UTILS)]
    sys.modules["map_utils"] = package
    module = importlib.import_module("map_utils.mean_ap")
    module.__dict__["Pool"] = Pool
    return module


def _stub(modules: Dict[str, Dict[str, Any]]) -> None:
    for name, attributes in modules.items():
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(attributes)


def evaluate(module: Any, given: Dict[str, Any]) -> Dict[str, Any]:
    """AP by class and threshold, and the seconds that formatting and evaluating took."""
    results, annotations = (
        [{"vectors": [_vector(entry) for entry in sample]} for sample in given[side]]
        for side in ("predictions", "ground_truth")
    )
    start, started = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        formatted = module.format_res_gt_by_classes(
            folder + "/results.json",
            results,
            annotations,
            cls_names=given["classes"],
            eval_use_same_gt_sample_num_flag=RESAMPLED,
            nproc=1,
        )
    aps: Dict[str, Dict[str, float]] = {name: {} for name in given["classes"]}
    for threshold in given["thresholds"]:
        _, scores = module.eval_map(
            results,
            annotations,
            *formatted,
            threshold=threshold,
            cls_names=given["classes"],
            logger="silent",
            metric=given["metric"],
            nproc=1,
        )
        for name, score in zip(given["classes"], scores):
            aps[name][str(threshold)] = float(score["ap"])
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - started
    versions = {"numpy": np.__version__, "shapely": shapely.__version__}
    return {"ap": aps, "seconds": seconds, "cpu_seconds": cpu_seconds, **versions}


def _vector(entry: List[Any]) -> Dict[str, Any]:
    vector = {"type": entry[0], "pts": np.array(entry[1])}
    if len(entry) > 2:
        vector["confidence_level"] = entry[2]
    return vector


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=Path, required=True, help="predictions and ground truth")
    parser.add_argument("--maptr", type=Path, required=True, help="a checkout of MapTR")
    parser.add_argument("--out", type=Path, required=True, help="where the result goes")
    return parser.parse_args()


def main() -> int:
    """Evaluate as the command line says; the result appears whole or not at all."""
    arguments = _parse()
    given = json.loads(arguments.vectors.read_text(encoding="utf-8"))
    result = evaluate(load_evaluator(arguments.maptr), given)
    partial = arguments.out.with_name(arguments.out.name + ".part")
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.replace(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
