"""The official OpenLane-V2 metrics over given frames. Runs inside envs/official/openlanev2 and openlanev2-1.0.

    python evaluate.py --frames frames.npz --out result.json [--devkit FOLDER] [--seconds]

`frames.npz` holds plain arrays, no pickles; admlops.evaluation.lane_graph.official_files writes it and says what they
are. The devkit's own `evaluate` runs whole and unchanged. --devkit takes the package from a folder instead, such as a
checkout.
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import numpy as np


def read_frames(path: Path) -> List[Dict[str, Any]]:
    """By frame: the annotation and the predictions, in the devkit's shape."""
    with np.load(str(path), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    truths, predictions = _read_side(arrays, "truth"), _read_side(arrays, "prediction")
    return [{"annotation": truth, "predictions": found} for truth, found in zip(truths, predictions)]


def _read_side(arrays: Dict[str, np.ndarray], side: str) -> List[Dict[str, Any]]:
    own = {name[len(side) + 1 :]: value for name, value in arrays.items() if name.startswith(side + "_")}
    points = np.split(own["points"], np.cumsum(own["lane_sizes"])[:-1]) if len(own["lane_sizes"]) else []
    frames, lane, element, edge, sign = [], 0, 0, 0, 0
    for lanes, elements in zip(own["lanes"].tolist(), own["elements"].tolist()):
        frame: Dict[str, Any] = {"lane_centerline": [], "traffic_element": []}
        for index in range(lane, lane + lanes):
            entry = {"id": index - lane, "points": points[index]}
            if "lane_confidences" in own:
                entry["confidence"] = own["lane_confidences"][index]
            frame["lane_centerline"].append(entry)
        for index in range(element, element + elements):
            entry = {
                "id": lanes + index - element,
                "points": own["boxes"][index].reshape(2, 2),
                "attribute": int(own["attributes"][index]),
            }
            if "element_confidences" in own:
                entry["confidence"] = own["element_confidences"][index]
            frame["traffic_element"].append(entry)
        frame["topology_lclc"] = own["lane_to_lane"][edge : edge + lanes * lanes].reshape(lanes, lanes)
        frame["topology_lcte"] = own["lane_to_traffic"][sign : sign + lanes * elements].reshape(lanes, elements)
        frames.append(frame)
        lane, element, edge, sign = lane + lanes, element + elements, edge + lanes * lanes, sign + lanes * elements
    return frames


def evaluate(frames: List[Dict[str, Any]]) -> Dict[str, Any]:
    """The devkit's scores of the frames, and the seconds its `evaluate` took."""
    try:
        from openlanev2.evaluation import evaluate as official
    except ImportError:
        from openlanev2.centerline.evaluation import evaluate as official

    truths = {index: {"annotation": frame["annotation"]} for index, frame in enumerate(frames)}
    results = {index: {"predictions": frame["predictions"]} for index, frame in enumerate(frames)}
    start, started = time.perf_counter(), time.process_time()
    scores = official(truths, {"results": results}, verbose=False)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - started
    lane = scores["OpenLane-V2 Score"]
    return {
        "OLS": float(lane["score"]),
        "DET_l": float(lane["DET_l"]),
        "DET_t": float(lane["DET_t"]),
        "TOP_ll": float(lane["TOP_ll"]),
        "TOP_lt": float(lane["TOP_lt"]),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=Path, required=True, help="ground truth and predictions")
    parser.add_argument("--out", type=Path, required=True, help="where the result goes")
    parser.add_argument("--devkit", type=Path, help="a folder that holds the package openlanev2")
    return parser.parse_args()


def main() -> int:
    """Evaluate as the command line says; the result appears whole or not at all."""
    arguments = _parse()
    if arguments.devkit is not None:
        sys.path.insert(0, str(arguments.devkit))
    result = evaluate(read_frames(arguments.frames))
    partial = arguments.out.with_name(arguments.out.name + ".part")
    partial.write_text(json.dumps(result, allow_nan=False), encoding="utf-8")
    partial.replace(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
