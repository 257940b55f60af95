"""Evaluators as processes that answer one case after the other, and the comparison of their answers with ours."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.evaluation.generated_boxes import submission_boxes

from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.detection_3d.boxes import ATTRIBUTES, Boxes, GroundTruth
from admlops.evaluation.detection_3d.protocols import DetectionProtocol
from admlops.evaluation.detection_3d.scores import Score

PROGRAM = Path(__file__).with_name("devkit_oracle.py")


class Oracle:
    """A context: a program that reads a request a line and answers each with `DetectionMetrics.serialize()`."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise AssertionError(self._process.communicate()[1])
        result: dict[str, Any] = json.loads(answer)
        return result


class Devkit(Oracle):
    """The devkit; `ask` says what it says of one case."""

    def __init__(self, python: Path) -> None:
        super().__init__(python, PROGRAM)

    def ask(self, predictions: Boxes, truth: GroundTruth, protocol: DetectionProtocol) -> dict[str, Any]:
        found = dict(submission_boxes(predictions, list(truth.samples)))
        return self.answer({**truth_request(truth), "predictions": found, "window": protocol.window_m})


def truth_request(truth: GroundTruth) -> dict[str, Any]:
    """The part of a request that says what is there."""
    return {"samples": _samples(truth), "truth": _truth(truth)}


def largest_difference(ours: Score, theirs: dict[str, Any]) -> float:
    """Over every AP, every error of every class, the means, mAP and NDS."""
    pairs = [(ours.mean_ap, theirs["mean_ap"]), (ours.nds, theirs["nd_score"])]
    pairs += [(value, theirs["tp_errors"][error]) for error, value in ours.errors.items()]
    for name, entry in ours.classes.items():
        pairs += [(value, theirs["label_aps"][name][str(threshold)]) for threshold, value in entry.ap.items()]
        pairs += [(value, theirs["label_tp_errors"][name][error]) for error, value in entry.errors.items()]
    assert len(pairs) == 2 + 5 + 10 * (4 + 5)
    assert all(math.isnan(a) == math.isnan(b) for a, b in pairs)
    return float(max(abs(a - b) for a, b in pairs if not math.isnan(a)))


def _samples(truth: GroundTruth) -> dict[str, Any]:
    samples: dict[str, Any] = {
        token: {"ego": ego, "racks": []} for token, ego in zip(truth.samples, truth.ego.tolist(), strict=True)
    }
    for index, sample in enumerate(truth.racks.sample):
        turn = truth.racks.rotation[index]
        yaw = math.atan2(turn[1, 0], turn[0, 0])
        samples[truth.samples[sample]]["racks"].append(
            {
                "translation": truth.racks.center[index].tolist(),
                "size": truth.racks.size[index].tolist(),
                "rotation": [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)],
            }
        )
    return samples


def _truth(truth: GroundTruth) -> dict[str, Any]:
    boxes = truth.boxes
    rows: dict[str, Any] = {token: [] for token in truth.samples}
    for row in range(len(boxes)):
        token, yaw = truth.samples[boxes.sample[row]], float(boxes.yaw[row])
        rows[token].append(
            {
                "sample_token": token,
                "translation": boxes.center[row].tolist(),
                "size": boxes.size[row].tolist(),
                "rotation": [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)],
                "velocity": boxes.velocity[row].tolist(),
                "num_pts": int(truth.points[row]),
                "detection_name": CLASSES[boxes.label[row]],
                "detection_score": -1.0,
                "attribute_name": ATTRIBUTES[boxes.attribute[row]],
            }
        )
    return rows
