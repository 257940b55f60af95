"""From a run's records to its `metrics.json`: every task that the records do, each by its protocol."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from admlops.catalog import load_model
from admlops.core.errors import AdmlopsError, DataError, RecordError, UsageError
from admlops.core.paths import Layout
from admlops.core.storage import write_atomically
from admlops.core.types import Say
from admlops.datasets.base import Dataset
from admlops.evaluation.base import Part
from admlops.evaluation.detection_3d.evaluation import DetectionResult
from admlops.evaluation.detection_3d.nuscenes_submission import MAX_BOXES_PER_SAMPLE
from admlops.evaluation.error_analysis import (
    Matches,
    RunVerdicts,
    SampleErrors,
    choose_confidences,
    judge,
    judge_run,
    match_elements,
    sort_worst,
)
from admlops.evaluation.lane_graph.error_analysis import match_run
from admlops.evaluation.lane_graph.evaluation import LaneResult
from admlops.evaluation.latency import summarize
from admlops.evaluation.metrics import ON_REQUEST, Metric
from admlops.evaluation.official.run import Official, run_official
from admlops.evaluation.run_outputs import FUTURES, RunBoxes, read_run_boxes
from admlops.evaluation.run_tasks import TASKS, Work, evaluate_tasks
from admlops.evaluation.slices import break_down_scenes
from admlops.evaluation.statistics.bootstrap import Resampling, Values, interval, resample_scenes
from admlops.evaluation.vector_map.scores import MapEvaluation
from admlops.results.record import Record
from admlops.results.run_folder import RunFolder

METRICS_SCHEMA = 1
CACHE = "cache/vectors"
"""Below the repository; may be deleted at any time."""

MAX_WORST = 50
IMAGES = "detections_2d"
NEEDS_COCO = "give its ground truth, a COCO file, with --boxes-2d FILE (projected 3D boxes are none)"


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """What the protocols said: `parts` by their key in `details`, `resamples` by protocol and metric.

    `breakdowns` has what `details` of a part does not hold itself.
    """

    parts: Mapping[str, Part]
    breakdowns: Mapping[str, Mapping[str, Any]]
    metrics: Sequence[Metric]
    resampling: Resampling
    resamples: Mapping[str, Mapping[str, Values]]
    official: Sequence[Official]
    notes: tuple[str, ...]

    @property
    def detection(self) -> DetectionResult | None:
        part = self.parts.get("detection")
        return part if isinstance(part, DetectionResult) else None

    @property
    def map(self) -> MapEvaluation | None:
        part = self.parts.get("map")
        return part if isinstance(part, MapEvaluation) else None


def evaluate_run(
    run: RunFolder,
    data: Dataset,
    *,
    layout: Layout,
    say: Say,
    official: bool = False,
    truth_2d: Path | None = None,
    protocols: Collection[str] = (),
) -> dict[str, Any]:
    """Evaluate a run, write its `metrics.json` in one piece and return it; docs/architecture.md shows the shape.

    A run that is not complete is evaluated over the scenes that are: `notes` says so, and the digest of its samples
    keeps its numbers from being compared with those of the whole. The caller holds `run.lock()`.

    Args:
        official: compute the metrics with the official code as well, where there is some, each in its own environment;
            `official` in the result has its numbers.
        truth_2d: a COCO file with the ground truth of boxes in images.
        protocols: out of `metrics.ON_REQUEST`, to evaluate by as well; those of the model's catalogue need no naming.

    Raises:
        RecordError: there are no records, all samples failed, or a record is not what its task asks for.
        UsageError: the records do no task that can be evaluated, or none that a protocol asked for measures.
        DataError: the samples, annotations or maps are not in `data`, or `truth_2d` is not what it should be.
        EnvError: an official evaluator cannot be set up or fails.
    """
    boxes = read_run_boxes(run)
    _check(run, data, boxes)
    _check_wishes(run, boxes, protocols, truth_2d)
    work = Work(
        run=run,
        data=data,
        boxes=boxes,
        on_request=_catalogued_protocols(run, layout).union(protocols),
        cache=layout.repository / CACHE,
        truth_2d=truth_2d,
    )
    evaluation = _evaluate(work, layout=layout, say=say, official=official)
    metrics = _shape(run, data, boxes, evaluation)
    content = json.dumps(metrics, indent=1, allow_nan=False) + "\n"
    _write_resamples(run, boxes, evaluation)
    write_atomically(run.metrics_path, content.encode())
    return metrics


def _check(run: RunFolder, data: Dataset, boxes: RunBoxes) -> None:
    name, records = run.header.run, boxes.metadata
    if not records:
        raise RecordError(
            f"{run.records_path} holds no complete scene, so there is nothing to evaluate",
            hint=run.header.resume_command,
        )
    if len(set(boxes.tokens)) < len(records):
        raise RecordError(
            f"run {name} has more than one record of a sample", hint=f"admlops results show {name}   # then run it anew"
        )
    if all(entry.status == "failed" for entry in records):
        raise RecordError(
            f"all {len(records)} samples of run {name} failed, so there is nothing to evaluate",
            hint=f"less {run.logs_path}/worker-0.log",
        )
    if data.version != run.header.data.version:
        raise DataError(
            f"run {name} was made on {run.header.data.version}, the data set given is {data.version}",
            hint=f"pass --data with the data set of that version; the run was made on {run.header.data.root}",
        )
    if data.version.endswith("test"):
        raise DataError(
            f"{data.version} has no annotations, so nothing can be measured on it",
            hint="run the model on v1.0-mini or v1.0-trainval; for the test set, upload predictions/ to the server",
        )


def _check_wishes(run: RunFolder, boxes: RunBoxes, protocols: Collection[str], truth_2d: Path | None) -> None:
    """What is asked for beside the usual must be something that the records do."""
    if truth_2d is not None and IMAGES not in boxes.tasks:
        raise UsageError(
            f"{truth_2d} is ground truth of {IMAGES}; the records of run {run.header.run} hold "
            f"{', '.join(sorted(boxes.tasks)) or 'no task'}",
            hint=f"admlops evaluate {run.header.run}   # without --boxes-2d",
        )
    for protocol in protocols:
        if ON_REQUEST[protocol] not in boxes.tasks:
            raise UsageError(
                f"{protocol} measures {ON_REQUEST[protocol]}; the records of run {run.header.run} hold "
                f"{', '.join(sorted(boxes.tasks)) or 'no task'}",
                hint=f"admlops evaluate {run.header.run}   # without --protocol",
            )


def _evaluate(work: Work, *, layout: Layout, say: Say, official: bool) -> _Evaluation:
    run, boxes = work.run, work.boxes
    notes = _notes(work)
    if not boxes.tasks & set(TASKS) - (set() if work.truth_2d else {IMAGES}):
        raise UsageError(
            f"the records of run {run.header.run} hold {', '.join(sorted(boxes.tasks)) or 'no task'}; "
            f"{', '.join(task for task in TASKS if task != FUTURES)} can be evaluated, {IMAGES} with --boxes-2d FILE",
            hint=f"admlops models show {run.header.model}",
        )
    parts = evaluate_tasks(work)
    metrics = [metric for part in parts.values() for metric in part.metrics(boxes.dataset)]
    names = sorted({entry.scene for entry in boxes.metadata})
    resampling = resample_scenes(len(names))
    resamples: dict[str, dict[str, Values]] = {}
    if resampling.weights is not None:
        number = {name: index for index, name in enumerate(names)}
        scenes = np.array([number[entry.scene] for entry in boxes.metadata], dtype=np.int64)
        for part in parts.values():
            protocol = part.metrics(boxes.dataset)[0].protocol
            resamples[protocol] = part.resample(scenes, resampling.weights)
        metrics = [_with_interval(metric, resamples) for metric in metrics]
    theirs = run_official(work, parts, layout=layout, say=say) if official else []
    for line in (*notes, *([resampling.reason] if resampling.reason else [])):
        say(f"{run.header.run}: {line}")
    return _Evaluation(
        parts=parts,
        breakdowns=_break_down(work, parts),
        metrics=metrics,
        resampling=resampling,
        resamples=resamples,
        official=theirs,
        notes=tuple(notes),
    )


def _break_down(work: Work, parts: Mapping[str, Part]) -> dict[str, Mapping[str, Any]]:
    """What `details` of the parts takes up; boxes have their own, and what is not resampled has none."""
    others = {key: part for key, part in parts.items() if not isinstance(part, DetectionResult)}
    found = {key: break_down_scenes(part, work.scenes) for key, part in others.items()}
    return {key: {"breakdowns": own} for key, own in found.items() if own is not None}


def _with_interval(metric: Metric, resamples: Mapping[str, Mapping[str, Values]]) -> Metric:
    values = resamples[metric.protocol].get(metric.name)
    return metric if values is None else replace(metric, interval=interval(values))


def _notes(work: Work) -> list[str]:
    run, boxes = work.run, work.boxes
    notes = [] if _is_whole(run, boxes) else [_incomplete_note(run, len(boxes.metadata))]
    if run.header.random_weights:
        notes.append(f"the weights are random ({run.header.random_weights}): these numbers compare with no others")
    if IMAGES in boxes.tasks and work.truth_2d is None:
        notes.append(f"{IMAGES} is in the records and is not evaluated: {NEEDS_COCO}")
    if boxes.dropped:
        notes.append(f"{boxes.dropped} boxes over {MAX_BOXES_PER_SAMPLE} a sample were left out")
    failed = sum(entry.status == "failed" for entry in boxes.metadata)
    if failed and "plan" in boxes.tasks:
        notes.append(f"{failed} failed samples count as plans to stay in place")
    return notes


def _catalogued_protocols(run: RunFolder, layout: Layout) -> frozenset[str]:
    """Those that the model's catalogue names, and those that its published numbers follow."""
    try:
        model = load_model(layout, run.header.model)
        return frozenset(model.protocols).union(claim.protocol for claim in model.published)
    except AdmlopsError:  # a run of a model that this catalogue does not have
        return frozenset()


def _shape(run: RunFolder, data: Dataset, boxes: RunBoxes, evaluation: _Evaluation) -> dict[str, Any]:
    header = run.header
    dataset = boxes.dataset
    failed = [entry for entry in boxes.metadata if entry.status == "failed"]
    worst, cutoffs = _find_worst(boxes, evaluation)
    shape = {
        "schema": METRICS_SCHEMA,
        "run": header.run,
        "model": header.model,
        "samples": len(boxes.metadata),
        "failed_samples": len(failed),
        "failed": [{"sample_token": entry.sample_token, "scene": entry.scene} for entry in failed],
        "data": {
            "version": data.version,
            "split": header.data.split if _is_whole(run, boxes) else None,
            "samples_sha256": dataset,
            "synthetic": data.is_synthetic,
        },
        "notes": list(evaluation.notes),
        "metrics": [metric.to_json() for metric in evaluation.metrics],
        "latency": summarize(Record(schema=1, metadata=entry) for entry in boxes.metadata).to_json(),
        "details": {
            name: {**part.details(), **evaluation.breakdowns.get(name, {})} for name, part in evaluation.parts.items()
        },
        "intervals": evaluation.resampling.to_json(),
        "operating_points": cutoffs,
        "worst": [entry.to_json() for entry in worst],
    }
    if header.random_weights is not None:
        shape["random_weights"] = header.random_weights
    if evaluation.official:
        shape["official"] = [one.beside(evaluation.metrics) for one in evaluation.official]
    return shape


def _write_resamples(run: RunFolder, boxes: RunBoxes, evaluation: _Evaluation) -> None:
    """Keep the resampled values, for paired comparisons with other runs; without any, no file stays behind."""
    values = {
        protocol: {name: column.tolist() for name, column in columns.items()}
        for protocol, columns in evaluation.resamples.items()
        if columns
    }
    if not values:
        run.resamples_path.unlink(missing_ok=True)
        return
    content = {"schema": METRICS_SCHEMA, "samples_sha256": boxes.dataset, "resamples": values}
    write_atomically(run.resamples_path, msgspec.json.encode(content))


def _find_worst(boxes: RunBoxes, evaluation: _Evaluation) -> tuple[list[SampleErrors], dict[str, dict[str, float]]]:
    """The worst samples, and the confidence that each class was judged at. Failed samples have no outputs to judge."""
    ran = np.array([entry.status == "ok" for entry in boxes.metadata], dtype=np.bool_)
    found = None if evaluation.detection is None else judge_run(evaluation.detection.matching, ran)
    elements = _match_all_elements(evaluation)
    cutoffs = choose_confidences([elements[index] for index in np.flatnonzero(ran).tolist() if elements])
    errors = [
        SampleErrors(
            sample_token=boxes.metadata[index].sample_token,
            scene=boxes.metadata[index].scene,
            boxes=None if found is None else found.verdict(index),
            map_elements=judge(elements[index], cutoffs) if elements else None,
        )
        for index in _candidates(found, elements, ran)
    ]
    chosen = {"detection": {} if found is None else dict(found.cutoffs), "map": cutoffs}
    return sort_worst(errors, limit=MAX_WORST), {task: values for task, values in chosen.items() if values}


def _candidates(found: RunVerdicts | None, elements: Sequence[object], ran: np.ndarray[Any, Any]) -> list[int]:
    """The samples that may be among the worst: with boxes alone, the costliest; else all that ran."""
    if found is None or elements:
        return list(np.flatnonzero(ran).tolist())
    costly = np.argsort(-found.cost, kind="stable")[:MAX_WORST]
    return [int(index) for index in costly if ran[index]]


def _match_all_elements(evaluation: _Evaluation) -> list[dict[str, Matches]]:
    """The map elements of every sample, or else the lanes."""
    map_, lanes = evaluation.map, evaluation.parts.get("lane_graph")
    if map_ is None:
        return match_run(lanes.evaluation) if isinstance(lanes, LaneResult) else []
    return [
        {name: match_elements(matches[index]) for name, matches in map_.matches.items()}
        for index in range(map_.samples)
    ]


def _is_whole(run: RunFolder, boxes: RunBoxes) -> bool:
    return run.header.state == "complete" and len(boxes.metadata) == sum(run.header.scenes.values())


def _incomplete_note(run: RunFolder, samples: int) -> str:
    planned = sum(run.header.scenes.values())
    return (
        f"only {samples} of {planned} samples are evaluated, those of scenes that are whole (the run is "
        f"{run.header.state}); go on with: {run.header.resume_command}"
    )
