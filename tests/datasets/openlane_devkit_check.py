# ruff: noqa: UP006, UP035  the devkit's environment has an older Python
"""Run by envs/official/openlanev2: the devkit collects and loads a data set, and its annotation scores as prediction.

    python openlane_devkit_check.py ROOT

Prints one line of JSON. The devkit writes its collections beside the frames.
"""

import json
import sys
from typing import Any, Dict

import numpy as np
from openlanev2.dataset import Collection
from openlanev2.evaluation import evaluate
from openlanev2.io import io
from openlanev2.preprocessing import collect


def main() -> None:
    root = sys.argv[1]
    report: Dict[str, Any] = {"frames": 0, "lanes": 0, "elements": 0, "pictures": 0}
    for split, segments in io.json_load(f"{root}/data_dict_subset_A.json").items():
        name = f"data_dict_subset_A_{split}"
        collect(root, {split: segments}, name, point_interval=1 if split == "train" else 20)
        collection = Collection(root, root, name)
        for key in collection.keys:
            look(collection.get_frame_via_identifier(key), report)
        scores = evaluate(ground_truth=f"{root}/{name}.pkl", predictions=None, verbose=False)
        report[split] = {name: float(value) for name, value in scores["OpenLane-V2 Score"].items()}
    print(json.dumps(report))


def look(frame: Any, report: Dict[str, Any]) -> None:
    """Count what a frame holds; its pictures open and its lanes project into the front one's plane."""
    report["frames"] += 1
    report["lanes"] += len(frame.get_annotations_lane_centerlines())
    report["elements"] += len(frame.get_annotations_traffic_elements())
    for camera in frame.get_camera_list():
        image = frame.get_rgb_image(camera)
        assert image.ndim == 3
        assert (image.shape[0] > image.shape[1]) == (camera == "ring_front_center")
        assert frame.get_intrinsic(camera)["K"].shape == (3, 3)
        assert np.allclose(np.linalg.det(frame.get_extrinsic(camera)["rotation"]), 1.0)
        report["pictures"] += 1
    assert frame.get_pose()["rotation"].shape == (3, 3)


if __name__ == "__main__":
    main()
