"""From a run's records to its `metrics.json`: every task that the records do, each by its protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from admlops.catalog import load_model
from admlops.datasets.annotations import read_annotations
from admlops.datasets.data_set import DataSet
from admlops.datasets.vector_map import CENTERLINE, sample_vectors
from admlops.environments import ensure_official
from admlops.errors import AdmlopsError, DataError, RecordError, UsageError
from admlops.evaluation.bootstrap import Values
from admlops.evaluation.detection import (
    MAX_BOXES_PER_SAMPLE,
    OFFICIAL_NAME,
    DetectionEvaluation,
    evaluate_detection,
    make_submission,
)
from admlops.evaluation.detection_run import DetectionResult, evaluate_detections
from admlops.evaluation.ground_truth import make_ground_truth
from admlops.evaluation.lane_run import LaneResult, evaluate_lanes
from admlops.evaluation.latency import summarize
from admlops.evaluation.nuscenes_protocol import NUSCENES, VAD
from admlops.evaluation.run_boxes import RunBoxes, read_run_boxes
from admlops.evaluation.vector_map import CHAMFER, CHAMFER_WITH_CENTERLINES, IOU, MapEvaluation, evaluate_map
from admlops.evaluation.worst import (
    Matches,
    RunVerdicts,
    SampleErrors,
    choose_confidences,
    judge,
    judge_run,
    match_elements,
    sort_worst,
)
from admlops.paths import Layout
from admlops.results.record import Record
from admlops.results.run_folder import RunFolder
from admlops.storage import write_atomically

METRICS_SCHEMA = 1
MAX_WORST = 50
NOT_EVALUATED_YET = ("detections_2d", "plan")

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """What the protocols said; a task that no record does is None."""

    detection: DetectionResult | None
    official: DetectionEvaluation | None
    map: MapEvaluation | None
    others: Mapping[str, DetectionResult | MapEvaluation | LaneResult]
    """Further protocols of the same tasks, by their key in `details`."""
    notes: tuple[str, ...]

    @property
    def parts(self) -> dict[str, DetectionResult | MapEvaluation | LaneResult]:
        """Everything that was evaluated, by its key in `details`."""
        main = {"detection": self.detection, "map": self.map}
        return {**{name: part for name, part in main.items() if part is not None}, **self.others}


def evaluate_run(run: RunFolder, data: DataSet, *, layout: Layout, say: Say, official: bool = False) -> dict[str, Any]:
    """Evaluate a run, write its `metrics.json` in one piece and return it; docs/architecture.md shows the shape.

    A run that is not complete is evaluated over the scenes that are: `notes` says so, and the digest of its samples
    keeps its numbers from being compared with those of the whole. The caller holds `run.lock()`.

    Args:
        official: compute the detection metrics with nuscenes-devkit as well, in its own environment; `official` in
            the result has its numbers.

    Raises:
        RecordError: there are no records, all samples failed, or a record is not what its task asks for.
        UsageError: the records do no task that can be evaluated.
        DataError: the samples, annotations or maps are not in `data`.
        EnvError: the official evaluator cannot be set up or fails.
    """
    boxes = read_run_boxes(run)
    _check(run, data, boxes)
    evaluation = _evaluate_tasks(run, data, boxes, layout=layout, say=say, official=official)
    metrics = _shape(run, data, boxes, evaluation)
    content = json.dumps(metrics, indent=1, allow_nan=False) + "\n"
    _write_resamples(run, boxes, evaluation)
    write_atomically(run.metrics_path, content.encode())
    return metrics


def _check(run: RunFolder, data: DataSet, boxes: RunBoxes) -> None:
    name, records = run.header.run, boxes.metadata
    if not records:
        raise RecordError(
            f"{run.records_path} holds no complete scene, so there is nothing to evaluate",
            hint=f"admlops run {run.header.model} --run {name} --resume",
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
            hint=f"pass --version {run.header.data.version}",
        )
    if data.version.endswith("test"):
        raise DataError(
            f"{data.version} has no annotations, so nothing can be measured on it",
            hint="run the model on v1.0-mini or v1.0-trainval; for the test set, upload predictions/ to the server",
        )


def _evaluate_tasks(
    run: RunFolder, data: DataSet, boxes: RunBoxes, *, layout: Layout, say: Say, official: bool
) -> _Evaluation:
    tasks = boxes.tasks
    whole = _is_whole(run, boxes)
    notes = [] if whole else [_incomplete_note(run, len(boxes.metadata))]
    if run.header.random_weights:
        notes.append(f"the weights are random ({run.header.random_weights}): these numbers compare with no others")
    notes += [f"{task} is in the records and is not evaluated" for task in NOT_EVALUATED_YET if task in tasks]
    if not tasks & {"detections_3d", "map_elements", "lane_graph"}:
        raise UsageError(
            f"the records of run {run.header.run} hold {', '.join(sorted(tasks)) or 'no task'}; "
            "detections_3d, map_elements and lane_graph can be evaluated",
            hint=f"admlops models show {run.header.model}",
        )
    published = _published_protocols(run, layout)
    maps = _evaluate_map(run, data, published) if "map_elements" in tasks else {}
    detections = _evaluate_boxes(data, boxes, published) if "detections_3d" in tasks else {}
    lanes = evaluate_lanes(run, data, boxes.tokens) if "lane_graph" in tasks else {}
    detection = detections.pop("detection", None)
    if boxes.dropped:
        notes.append(f"{boxes.dropped} boxes over {MAX_BOXES_PER_SAMPLE} a sample were left out")
    theirs = _run_official(run, data, layout=layout, say=say) if official and detection is not None else None
    reasons = [] if detection is None or detection.resampling.reason is None else [detection.resampling.reason]
    for line in (*notes, *reasons):
        say(f"{run.header.run}: {line}")
    return _Evaluation(
        detection=detection,
        official=theirs,
        map=maps.pop("map", None),
        others={**detections, **maps, **lanes},
        notes=tuple(notes),
    )


def _evaluate_map(run: RunFolder, data: DataSet, published: set[str]) -> dict[str, MapEvaluation]:
    """MapTR's Chamfer AP; its other protocols where the model's authors report them, or where there are centrelines."""
    records = list(run.records())
    maps = data.root / "maps"
    samples = {record.metadata.sample_token: data.sample(record.metadata.sample_token) for record in records}
    lines = any(element.type == CENTERLINE for record in records for element in record.map_elements or ())
    protocols = {"map": CHAMFER}
    if IOU.name in published:
        protocols["map_iou"] = IOU
    if lines or CHAMFER_WITH_CENTERLINES.name in published:
        protocols["map_centerline"] = CHAMFER_WITH_CENTERLINES
    truth = {
        token: sample_vectors(maps, data.location(token), sample, centerlines="map_centerline" in protocols)
        for token, sample in samples.items()
    }
    return {key: evaluate_map(records, truth, samples, protocol=protocol) for key, protocol in protocols.items()}


def _evaluate_boxes(data: DataSet, found: RunBoxes, published: set[str]) -> dict[str, DetectionResult]:
    """The nuScenes metrics, and VAD's where the model's authors report those."""
    annotations = read_annotations(data.root, data.version, found.tokens)
    truth = make_ground_truth(annotations)
    boxes = found.in_global_frame(truth)
    protocols = {"detection": NUSCENES}
    if VAD.name in published:
        protocols["vad_detection"] = VAD
    return {key: evaluate_detections(boxes, truth, annotations.scenes, protocol) for key, protocol in protocols.items()}


def _published_protocols(run: RunFolder, layout: Layout) -> set[str]:
    try:
        return {claim.protocol for claim in load_model(layout, run.header.model).published}
    except AdmlopsError:  # a run of a model that this catalogue does not have
        return set()


def _run_official(run: RunFolder, data: DataSet, *, layout: Layout, say: Say) -> DetectionEvaluation:
    environment = ensure_official(layout, OFFICIAL_NAME, say=say)
    records = list(run.records())
    say(f"{run.header.run}: official nuScenes detection metrics over {len(records)} samples")
    samples = {record.metadata.sample_token: data.sample(record.metadata.sample_token) for record in records}
    return evaluate_detection(
        make_submission(records, samples),
        dataroot=data.root,
        version=data.version,
        folder=run.predictions_path,
        environment=environment,
        layout=layout,
    )


def _shape(run: RunFolder, data: DataSet, boxes: RunBoxes, evaluation: _Evaluation) -> dict[str, Any]:
    header = run.header
    dataset = boxes.dataset
    failed = [entry for entry in boxes.metadata if entry.status == "failed"]
    done = evaluation.parts
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
        "metrics": [metric.to_json() for part in done.values() for metric in part.metrics(dataset)],
        "latency": summarize(Record(schema=1, metadata=entry) for entry in boxes.metadata).to_json(),
        "details": {name: part.details() for name, part in done.items()},
        "operating_points": cutoffs,
        "worst": [entry.to_json() for entry in worst],
    }
    if evaluation.detection is not None:
        shape["intervals"] = evaluation.detection.resampling.to_json()
    if evaluation.official is not None and evaluation.detection is not None:
        shape["official"] = _beside_official(evaluation.detection, evaluation.official, dataset)
    return shape


def _beside_official(ours: DetectionResult, theirs: DetectionEvaluation, dataset: str) -> dict[str, Any]:
    """The official metrics, and the largest difference from ours."""
    metrics = theirs.metrics(dataset)
    own = {metric.name: metric.value for metric in ours.metrics(dataset)}
    differences = [
        abs(value - metric.value)
        for metric in metrics
        if metric.value is not None and (value := own[metric.name]) is not None
    ]
    return {
        "package": "nuscenes-devkit",
        "numpy": theirs.official["numpy"],
        "metrics": [metric.to_json() for metric in metrics],
        "max_abs_difference": max(differences),
    }


def _write_resamples(run: RunFolder, boxes: RunBoxes, evaluation: _Evaluation) -> None:
    """Keep the resampled values, for paired comparisons with other runs; without any, no file stays behind."""
    values: dict[str, dict[str, list[float]]] = {}
    for part in evaluation.parts.values():
        if isinstance(part, DetectionResult) and part.resampled is not None:
            values[part.protocol.name] = {name: _listed(column) for name, column in part.resamples().items()}
    if not values:
        run.resamples_path.unlink(missing_ok=True)
        return
    content = {"schema": METRICS_SCHEMA, "samples_sha256": boxes.dataset, "resamples": values}
    write_atomically(run.resamples_path, msgspec.json.encode(content))


def _listed(values: Values) -> list[float]:
    listed: list[float] = values.tolist()
    return listed


def _find_worst(boxes: RunBoxes, evaluation: _Evaluation) -> tuple[list[SampleErrors], dict[str, dict[str, float]]]:
    """The worst samples, and the confidence that each class was judged at. Failed samples have no outputs to judge."""
    ran = np.array([entry.status == "ok" for entry in boxes.metadata], dtype=np.bool_)
    found = None if evaluation.detection is None else judge_run(evaluation.detection.matching, ran)
    elements = _match_all_elements(evaluation.map)
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


def _match_all_elements(map_: MapEvaluation | None) -> list[dict[str, Matches]]:
    if map_ is None:
        return []
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
        f"{run.header.state}); go on with: admlops run {run.header.model} --run {run.header.run} --resume"
    )
