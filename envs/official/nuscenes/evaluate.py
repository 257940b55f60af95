"""The official nuScenes detection metrics over given samples. Runs inside envs/official/nuscenes.

    python evaluate.py --dataroot ROOT --version v1.0-mini --predictions submission.json --tokens tokens.json --out OUT

The devkit evaluates whole splits; a run may cover a scene or a few samples. So its own DetectionEval runs here, whole
and unchanged, on a split of its custom kind that holds exactly the given tokens, in their order. Where the tokens are
those of a predefined split, the numbers are those of DetectionEval on that split, digit by digit.
"""

import argparse
import json
import math
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import nuscenes.eval.detection.evaluate as official
from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes

SPLIT = "the-given-samples"


def evaluate(nusc: NuScenes, *, config: str, predictions: Path, tokens: List[str]) -> Dict[str, Any]:
    """The metrics of a submission file over `tokens`, as one JSON object; NaN (not defined) becomes null."""
    _choose_samples(tokens)
    with tempfile.TemporaryDirectory() as plots:
        evaluation = official.DetectionEval(nusc, config_factory(config), str(predictions), SPLIT, plots, verbose=False)
    started = time.process_time()
    metrics, _ = evaluation.evaluate()
    cpu_seconds = time.process_time() - started
    return {
        "summary": _jsonable(metrics.serialize()),
        "boxes": {
            "ground_truth": _count_by_class(evaluation.gt_boxes),
            "predictions": _count_by_class(evaluation.pred_boxes),
        },
        "cpu_seconds": cpu_seconds,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _choose_samples(tokens: List[str]) -> None:
    """Let the devkit's custom split be `tokens`, and let a submission without any box through its filter."""
    official.get_samples_of_custom_split = lambda split_name, nusc: list(tokens)
    filter_boxes = official.filter_eval_boxes

    def filter_if_any(nusc: NuScenes, boxes: EvalBoxes, max_dist: Dict[str, float], verbose: bool) -> EvalBoxes:
        # The devkit looks at the first box to learn the task, and raises when there is none at all.
        return filter_boxes(nusc, boxes, max_dist, verbose=verbose) if boxes.all else boxes

    official.filter_eval_boxes = filter_if_any


def _count_by_class(boxes: EvalBoxes) -> Dict[str, int]:
    counts: Dict[str, int] = {}
    for box in boxes.all:
        counts[box.detection_name] = counts.get(box.detection_name, 0) + 1
    return counts


def _jsonable(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataroot", type=Path, required=True, help="the data set root")
    parser.add_argument("--version", required=True, help="the folder of tables in it, e.g. v1.0-mini")
    parser.add_argument("--predictions", type=Path, required=True, help="a nuScenes detection submission")
    parser.add_argument("--tokens", type=Path, required=True, help="a JSON list of sample tokens, the ones evaluated")
    parser.add_argument("--out", type=Path, required=True, help="where the result goes")
    parser.add_argument("--config", default="detection_cvpr_2019", help="one of the devkit's configurations")
    return parser.parse_args()


def main() -> int:
    """Evaluate as the command line says; the result appears whole or not at all."""
    arguments = _parse()
    nusc = NuScenes(version=arguments.version, dataroot=str(arguments.dataroot), verbose=False)
    tokens = json.loads(arguments.tokens.read_text(encoding="utf-8"))
    result = evaluate(nusc, config=arguments.config, predictions=arguments.predictions, tokens=tokens)
    partial = arguments.out.with_name(arguments.out.name + ".part")
    partial.write_text(json.dumps(result, allow_nan=False), encoding="utf-8")
    partial.replace(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
