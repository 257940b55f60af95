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
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.evaluation_row import Row
from tests.evaluation.generated_boxes import (
    SAMPLES_PER_SCENE,
    VERSION,
    predict,
    tokens_of,
    write_submission,
    write_tables,
)
from tests.evaluation.generated_runs import write_run

from admlops.datasets.annotations import read_annotations
from admlops.environments import Environment, ensure_official
from admlops.evaluation.boxes import Boxes, GroundTruth
from admlops.evaluation.ground_truth import make_ground_truth
from admlops.evaluation.nuscenes_detection import Score, match_boxes, score
from admlops.evaluation.nuscenes_protocol import NUSCENES
from admlops.paths import Layout, find_layout

BOXES_PER_SAMPLE = 300
RUN = "generated"


def run(samples: int, folder: Path, *, official: bool = True, repeats: int = 3) -> list[Row]:
    """Measure; `folder` takes the generated data, and data of the same size that is there is used again."""
    layout = replace(find_layout(), repository=folder / "repository")
    tokens, truth, boxes = _generate(samples, folder, layout)
    ours_s, own = min((_evaluate(boxes, truth) for _ in range(repeats)), key=lambda pair: pair[0])
    command_s, peak_mb = _time_command(folder)
    size_mb = sum(path.stat().st_size for path in (folder / "repository").rglob("*.jsonl")) / 1e6
    note = f"{len(tokens)} samples, {len(boxes)} boxes, {size_mb:.0f} MB of records; peak memory {peak_mb:.0f} MB"
    proper = Row(name="nuScenes detection, evaluation proper", ours_s=ours_s, note="boxes loaded; the best of runs")
    whole = Row(name="nuScenes detection, admlops evaluate", ours_s=command_s, note=note)
    if not official:
        return [proper, whole]
    theirs = _run_official(folder, ensure_official(layout, "nuscenes", say=print), layout, tokens)
    difference = _largest_difference(own, theirs["summary"])
    printed = json.loads((_run_path(folder) / "metrics.json").read_text())["metrics"]
    on_screen = {entry["name"]: entry["value"] for entry in printed}
    summary = theirs["summary"]
    far = max(abs(on_screen["mAP"] - summary["mean_ap"]), abs(on_screen["NDS"] - summary["nd_score"]))
    return [
        replace(proper, official_s=summary["eval_time"], max_abs_difference=difference),
        replace(whole, official_s=theirs["process_s"], max_abs_difference=far),
    ]


def _evaluate(boxes: Boxes, truth: GroundTruth) -> tuple[float, Score]:
    begun = time.perf_counter()
    result = score(match_boxes(boxes, truth, NUSCENES))
    return time.perf_counter() - begun, result


def _generate(samples: int, folder: Path, layout: Layout) -> tuple[list[str], GroundTruth, Boxes]:
    scenes = -(-samples // SAMPLES_PER_SCENE)
    root = folder / "nuscenes"
    if not root.is_dir():
        write_tables(root, scenes=scenes)
    tokens = tokens_of(scenes)[:samples]
    annotations = read_annotations(root, VERSION, tokens)
    truth = make_ground_truth(annotations)
    boxes = predict(truth, per_sample=BOXES_PER_SAMPLE)
    if not (folder / "submission.json").is_file():
        write_submission(folder / "submission.json", boxes, tokens)
        write_run(layout.repository / "runs" / RUN, root, annotations, truth, boxes)
    return tokens, truth, boxes


def _run_path(folder: Path) -> Path:
    return folder / "repository" / "runs" / RUN


def _time_command(folder: Path) -> tuple[float, float]:
    """Seconds and peak memory [MB] of `admlops evaluate` as a process."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "admlops", "evaluate", str(_run_path(folder))],
        env={**os.environ, "ADMLOPS_REP_PATH": str(folder / "repository")},
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"admlops evaluate failed ({process.returncode})")
    return seconds, usage.ru_maxrss / 1e3


def _run_official(folder: Path, environment: Environment, layout: Layout, tokens: list[str]) -> dict[str, Any]:
    """What the devkit says; `process_s` is the time of the whole process."""
    (folder / "tokens.json").write_text(json.dumps(tokens))
    program = layout.envs / "official" / "nuscenes" / "evaluate.py"
    command: list[Any] = [environment.python, program, "--dataroot", folder / "nuscenes", "--version", VERSION]
    command += ["--predictions", folder / "submission.json", "--tokens", folder / "tokens.json"]
    begun = time.perf_counter()
    subprocess.run([*map(str, command), "--out", str(folder / "official.json")], check=True)
    result: dict[str, Any] = json.loads((folder / "official.json").read_text())
    return {**result, "process_s": time.perf_counter() - begun}


def _largest_difference(ours: Score, summary: dict[str, Any]) -> float:
    pairs = [(ours.mean_ap, summary["mean_ap"]), (ours.nds, summary["nd_score"])]
    pairs += [(value, summary["tp_errors"][error]) for error, value in ours.errors.items()]
    for name, entry in ours.classes.items():
        pairs += [(value, summary["label_aps"][name][str(threshold)]) for threshold, value in entry.ap.items()]
        errors = summary["label_tp_errors"][name]
        pairs += [(value, errors[error]) for error, value in entry.errors.items() if errors[error] is not None]
    return float(max(abs(a - b) for a, b in pairs))
