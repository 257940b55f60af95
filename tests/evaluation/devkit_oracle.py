"""The official nuScenes evaluation of boxes that come over a pipe; runs inside envs/official/nuscenes.

One request a line on standard input, one answer a line on standard output. A request holds what the devkit would read
of a data set and a submission; its own loader classes, distances, filters, matching and metrics do the rest, unchanged.
`window` asks for VAD's range instead of the devkit's: |x| and |y| of the devkit's own `ego_translation`, as VAD's
`filter_eval_boxes` has it.
"""

import contextlib
import json
import math
import sys
from typing import Any

from nuscenes.eval.common import loaders
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.detection.data_classes import DetectionBox
from nuscenes.eval.detection.evaluate import DetectionEval


class FakeNuScenes:
    """Answers what `add_center_dist` and `filter_eval_boxes` ask."""

    def __init__(self, samples: dict[str, Any]) -> None:
        self.samples = samples

    def get(self, table: str, token: Any) -> dict[str, Any]:
        if table == "sample":
            racks = range(len(self.samples[token]["racks"]))
            return {"data": {"LIDAR_TOP": token}, "anns": [[token, rack] for rack in racks]}
        if table == "sample_data":
            return {"ego_pose_token": token}
        if table == "ego_pose":
            return {"translation": self.samples[token]["ego"]}
        sample, rack = token
        return {"category_name": "static_object.bicycle_rack", **self.samples[sample]["racks"][rack]}


def evaluate(request: dict[str, Any]) -> dict[str, Any]:
    nusc = FakeNuScenes(request["samples"])
    evaluation = DetectionEval.__new__(DetectionEval)
    evaluation.cfg, evaluation.verbose = config_factory("detection_cvpr_2019"), False
    sides = {}
    for side in ("predictions", "truth"):
        boxes = EvalBoxes.deserialize(request[side], DetectionBox)
        boxes = loaders.add_center_dist(nusc, boxes)
        limits = evaluation.cfg.class_range
        if request["window"]:
            across, along = request["window"]
            for token in boxes.sample_tokens:
                boxes.boxes[token] = [
                    box
                    for box in boxes[token]
                    if abs(box.ego_translation[0]) < across and abs(box.ego_translation[1]) < along
                ]
            limits = dict.fromkeys(limits, math.inf)
        if boxes.all:
            boxes = loaders.filter_eval_boxes(nusc, boxes, limits)
        sides[side] = boxes
    evaluation.pred_boxes, evaluation.gt_boxes = sides["predictions"], sides["truth"]
    metrics, _ = evaluation.evaluate()
    return dict(metrics.serialize())


def main() -> None:
    out = sys.stdout
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            answer = evaluate(json.loads(line))
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
