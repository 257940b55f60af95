"""From a run's records to its `metrics.json`: every task that the records do, each by its protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from admlops.datasets.nuscenes import NuScenes, tokens_digest
from admlops.datasets.vector_map import sample_vectors
from admlops.environments import ensure_official
from admlops.errors import DataError, RecordError, UsageError
from admlops.evaluation.detection import (
    MAX_BOXES_PER_SAMPLE,
    OFFICIAL_NAME,
    DetectionEvaluation,
    Submission,
    evaluate_detection,
    make_submission,
)
from admlops.evaluation.latency import summarize
from admlops.evaluation.vector_map import MapEvaluation, evaluate_map
from admlops.evaluation.worst import (
    Matches,
    SampleErrors,
    choose_confidences,
    judge,
    match_boxes,
    match_elements,
    sort_worst,
)
from admlops.paths import Layout
from admlops.results.record import Record
from admlops.results.run_folder import RunFolder
from admlops.storage import write_atomically

METRICS_SCHEMA = 1
MAX_WORST = 50
NOT_EVALUATED_YET = ("lane_graph", "plan")

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """What the protocols said; a task that no record does is None."""

    detection: DetectionEvaluation | None
    map: MapEvaluation | None
    notes: tuple[str, ...]


def evaluate_run(run: RunFolder, data: NuScenes, *, layout: Layout, say: Say) -> dict[str, Any]:
    """Evaluate a run, write its `metrics.json` in one piece and return it; docs/architecture.md shows the shape.

    A run that is not complete is evaluated over the scenes that are: `notes` says so, and the digest of its samples
    keeps its numbers from being compared with those of the whole. The caller holds `run.lock()`.

    Raises:
        RecordError: there are no records, all samples failed, or a record is not what its task asks for.
        UsageError: the records do no task that can be evaluated.
        DataError: the samples, annotations or maps are not in `data`.
        EnvError: the official evaluator cannot be set up or fails.
    """
    records = list(run.records())
    _check(run, data, records)
    tokens = [record.metadata.sample_token for record in records]
    samples = {token: data.sample(token) for token in tokens}
    evaluation = _evaluate_tasks(run, data, records, samples, layout=layout, say=say)
    metrics = _shape(run, data, records, evaluation)
    content = json.dumps(metrics, indent=1, allow_nan=False) + "\n"
    write_atomically(run.metrics_path, content.encode())
    return metrics


def _check(run: RunFolder, data: NuScenes, records: Sequence[Record]) -> None:
    name = run.header.run
    if not records:
        raise RecordError(
            f"{run.records_path} holds no complete scene, so there is nothing to evaluate",
            hint=f"admlops run {run.header.model} --run {name} --resume",
        )
    if all(record.metadata.status == "failed" for record in records):
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
    run: RunFolder,
    data: NuScenes,
    records: Sequence[Record],
    samples: Mapping[str, Mapping[str, Any]],
    *,
    layout: Layout,
    say: Say,
) -> _Evaluation:
    tasks = {task for task in ("detections_3d", "map_elements", *NOT_EVALUATED_YET) if _does(records, task)}
    notes = [] if _is_whole(run, records) else [_incomplete_note(run, len(records))]
    notes += [f"{task} is in the records and is not evaluated" for task in NOT_EVALUATED_YET if task in tasks]
    if not tasks & {"detections_3d", "map_elements"}:
        raise UsageError(
            f"the records of run {run.header.run} hold {', '.join(sorted(tasks)) or 'no task'}; "
            "detections_3d and map_elements can be evaluated",
            hint=f"admlops models show {run.header.model}",
        )
    # The map first: it takes seconds, and what it finds wrong is better said before minutes of the official evaluator.
    map_ = _evaluate_map(data, records, samples) if "map_elements" in tasks else None
    detection = None
    if "detections_3d" in tasks:
        submission = make_submission(records, samples)
        if submission.dropped_boxes:
            notes.append(f"{submission.dropped_boxes} boxes over {MAX_BOXES_PER_SAMPLE} a sample were left out")
        detection = _evaluate_detection(run, data, submission, layout=layout, say=say)
    for note in notes:
        say(f"{run.header.run}: {note}")
    return _Evaluation(detection=detection, map=map_, notes=tuple(notes))


def _evaluate_map(data: NuScenes, records: Sequence[Record], samples: Mapping[str, Mapping[str, Any]]) -> MapEvaluation:
    maps = data.root / "maps"
    truth = {token: sample_vectors(maps, data.location(token), sample) for token, sample in samples.items()}
    return evaluate_map(records, truth, samples)


def _evaluate_detection(
    run: RunFolder, data: NuScenes, submission: Submission, *, layout: Layout, say: Say
) -> DetectionEvaluation:
    environment = ensure_official(layout, OFFICIAL_NAME, say=say)
    say(f"{run.header.run}: official nuScenes detection metrics over {len(submission.results)} samples")
    return evaluate_detection(
        submission,
        dataroot=data.root,
        version=data.version,
        folder=run.predictions_path,
        environment=environment,
        layout=layout,
    )


def _shape(run: RunFolder, data: NuScenes, records: Sequence[Record], evaluation: _Evaluation) -> dict[str, Any]:
    header = run.header
    dataset = tokens_digest(record.metadata.sample_token for record in records)
    failed = [record.metadata for record in records if record.metadata.status == "failed"]
    parts = [part for part in (evaluation.detection, evaluation.map) if part is not None]
    details = {"detection": evaluation.detection, "map": evaluation.map}
    worst, cutoffs = _find_worst(data, records, evaluation)
    return {
        "schema": METRICS_SCHEMA,
        "run": header.run,
        "model": header.model,
        "samples": len(records),
        "failed_samples": len(failed),
        "failed": [{"sample_token": entry.sample_token, "scene": entry.scene} for entry in failed],
        "data": {
            "version": data.version,
            "split": header.data.split if _is_whole(run, records) else None,
            "samples_sha256": dataset,
            "synthetic": data.is_synthetic,
        },
        "notes": list(evaluation.notes),
        "metrics": [metric.to_json() for part in parts for metric in part.metrics(dataset)],
        "latency": summarize(records).to_json(),
        "details": {name: part.details() for name, part in details.items() if part is not None},
        "operating_points": cutoffs,
        "worst": [entry.to_json() for entry in worst],
    }


def _find_worst(
    data: NuScenes, records: Sequence[Record], evaluation: _Evaluation
) -> tuple[list[SampleErrors], dict[str, dict[str, float]]]:
    """The worst samples, and the confidence that each class was judged at. Failed samples have no outputs to judge."""
    boxes = _match_all_boxes(data, records, evaluation.detection)
    elements = _match_all_elements(evaluation.map)
    ran = [index for index, record in enumerate(records) if record.metadata.status == "ok"]
    box_cutoffs = choose_confidences([boxes[index] for index in ran if boxes])
    element_cutoffs = choose_confidences([elements[index] for index in ran if elements])
    errors = [
        SampleErrors(
            sample_token=records[index].metadata.sample_token,
            scene=records[index].metadata.scene,
            boxes=judge(boxes[index], box_cutoffs) if boxes else None,
            map_elements=judge(elements[index], element_cutoffs) if elements else None,
        )
        for index in ran
    ]
    cutoffs = {"detection": box_cutoffs, "map": element_cutoffs}
    return sort_worst(errors, limit=MAX_WORST), {task: chosen for task, chosen in cutoffs.items() if chosen}


def _match_all_boxes(
    data: NuScenes, records: Sequence[Record], detection: DetectionEvaluation | None
) -> list[dict[str, Matches]]:
    if detection is None:
        return []
    return [
        match_boxes(record.detections_3d or [], data.ground_truth(record.metadata.sample_token), detection.class_range)
        for record in records
    ]


def _match_all_elements(map_: MapEvaluation | None) -> list[dict[str, Matches]]:
    if map_ is None:
        return []
    return [
        {name: match_elements(matches[index]) for name, matches in map_.matches.items()}
        for index in range(map_.samples)
    ]


def _does(records: Sequence[Record], task: str) -> bool:
    """Whether any record answers the task; an empty list answers, an absent one does not."""
    return any(isinstance(getattr(record, task), list) or bool(getattr(record, task)) for record in records)


def _is_whole(run: RunFolder, records: Sequence[Record]) -> bool:
    return run.header.state == "complete" and len(records) == sum(run.header.scenes.values())


def _incomplete_note(run: RunFolder, samples: int) -> str:
    planned = sum(run.header.scenes.values())
    return (
        f"only {samples} of {planned} samples are evaluated, those of scenes that are whole (the run is "
        f"{run.header.state}); go on with: admlops run {run.header.model} --run {run.header.run} --resume"
    )
