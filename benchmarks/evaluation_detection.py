"""nuScenes detection at the size of the validation set: our evaluation and the devkit's, on the same boxes.

Data is generated (`tests/evaluation/generated_boxes.py`): tables, a run folder with its records, and the same boxes as
a submission. Two lines come out:

- the evaluation proper: filtering, matching and metrics of loaded boxes, against the devkit's `DetectionEval.evaluate`
  (which filters before, in its constructor; that is not counted);
- the way from files: `admlops evaluate` as a process, records on disk to metrics on screen, with intervals, breakdowns
  and worst samples, against the devkit's whole process, which has none of these.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.evaluation_row import Row, Timing, best_of, describe_share
from benchmarks.whole_process import time_process
from tests.evaluation.generated_boxes import (
    SAMPLES_PER_SCENE,
    VERSION,
    predict,
    tokens_of,
    write_submission,
    write_tables,
)
from tests.evaluation.generated_runs import write_run

from admlops.core.nuscenes_classes import CLASSES
from admlops.core.paths import Layout, find_layout
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.environments import Environment, ensure_official
from admlops.evaluation.detection_3d.box_table import choose_attribute
from admlops.evaluation.detection_3d.boxes import ATTRIBUTE_INDEX, Boxes, GroundTruth
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.protocols import NUSCENES
from admlops.evaluation.detection_3d.scores import Score, match_boxes, score

BOXES_PER_SAMPLE = 300
REPEATS = 3
RUN = "generated"


def run(samples: int, folder: Path, *, official: bool = True, official_samples: int | None = None) -> list[Row]:
    """Measure; `folder` takes the generated data, and data of the same size that is there is used again.

    The devkit runs on everything: `official_samples` is for the other families.
    """
    layout = replace(find_layout(), repository=folder / "repository")
    tokens, truth, boxes = _generate(samples, folder, layout)
    ours, own = best_of(lambda: score(match_boxes(boxes, truth, NUSCENES)), REPEATS)
    command, peak_mb = _time_command(folder)
    size_mb = sum(path.stat().st_size for path in (folder / "repository").rglob("*.jsonl")) / 1e6
    note = f"{len(tokens)} samples, {len(boxes)} boxes, {size_mb:.0f} MB of records"
    proper = Row(name="nuScenes detection, proper", ours=ours, note=f"boxes loaded; the best of {REPEATS}")
    whole = Row(name="nuScenes detection, admlops evaluate", ours=command, peak_mb=peak_mb, note=note)
    if not official:
        return [proper, whole]
    share = describe_share(len(tokens), len(tokens), "samples")
    theirs, process, official_peak_mb = _run_official(
        folder, ensure_official(layout, "nuscenes", say=_tell), layout, tokens
    )
    summary = theirs["summary"]
    on_screen = _printed(folder)
    far = max(abs(on_screen["mAP"] - summary["mean_ap"]), abs(on_screen["NDS"] - summary["nd_score"]))
    inner = Timing(wall_s=summary["eval_time"], cpu_s=theirs["cpu_seconds"], load=process.load)
    difference = _largest_difference(own, summary)
    return [
        replace(proper, official=inner, max_abs_difference=difference, measured=share),
        replace(
            whole,
            official=process,
            max_abs_difference=far,
            measured=share,
            official_peak_mb=official_peak_mb,
        ),
    ]


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _printed(folder: Path) -> dict[str, float]:
    printed = json.loads((_run_path(folder) / "metrics.json").read_text())["metrics"]
    return {entry["name"]: entry["value"] for entry in printed}


def _generate(samples: int, folder: Path, layout: Layout) -> tuple[list[str], GroundTruth, Boxes]:
    scenes = -(-samples // SAMPLES_PER_SCENE)
    root = folder / "nuscenes"
    if not root.is_dir():
        write_tables(root, scenes=scenes)
    tokens = tokens_of(scenes)[:samples]
    annotations = read_annotations(root, VERSION, tokens)
    truth = make_ground_truth(annotations)
    boxes = _with_attributes(predict(truth, per_sample=BOXES_PER_SAMPLE))
    if not (folder / "submission.json").is_file():
        write_submission(folder / "submission.json", boxes, tokens)
        write_run(layout.repository / "runs" / RUN, root, annotations, truth, boxes)
    return tokens, truth, boxes


def _with_attributes(boxes: Boxes) -> Boxes:
    """A box of a record never goes without an attribute where its class has some, so none does in the submission."""
    attribute = boxes.attribute.copy()
    for row in np.flatnonzero(attribute == 0).tolist():
        speed = float(np.hypot(*boxes.velocity[row]))
        attribute[row] = ATTRIBUTE_INDEX[choose_attribute(CLASSES[boxes.label[row]], speed)]
    return replace(boxes, attribute=attribute)


def _run_path(folder: Path) -> Path:
    return folder / "repository" / "runs" / RUN


def _time_command(folder: Path) -> tuple[Timing, float]:
    """The time and the peak memory [MB] of `admlops evaluate` as a process."""
    variables = {"ADMLOPS_REP_PATH": str(folder / "repository")}
    return time_process([sys.executable, "-m", "admlops", "evaluate", _run_path(folder)], variables)


def _run_official(
    folder: Path, environment: Environment, layout: Layout, tokens: list[str]
) -> tuple[dict[str, Any], Timing, float]:
    """What the devkit says, and the time and peak memory [MB] of its whole process."""
    (folder / "tokens.json").write_text(json.dumps(tokens))
    program = layout.envs / "official" / "nuscenes" / "evaluate.py"
    command: list[Any] = [environment.python, program, "--dataroot", folder / "nuscenes", "--version", VERSION]
    command += ["--predictions", folder / "submission.json", "--tokens", folder / "tokens.json"]
    timing, peak_mb = time_process([*command, "--out", folder / "official.json"])
    return json.loads((folder / "official.json").read_text()), timing, peak_mb


def _largest_difference(ours: Score, summary: dict[str, Any]) -> float:
    pairs = [(ours.mean_ap, summary["mean_ap"]), (ours.nds, summary["nd_score"])]
    pairs += [(value, summary["tp_errors"][error]) for error, value in ours.errors.items()]
    for name, entry in ours.classes.items():
        pairs += [(value, summary["label_aps"][name][str(threshold)]) for threshold, value in entry.ap.items()]
        errors = summary["label_tp_errors"][name]
        pairs += [(value, errors[error]) for error, value in entry.errors.items() if errors[error] is not None]
    return float(max(abs(a - b) for a, b in pairs))
