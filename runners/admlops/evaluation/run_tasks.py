"""The tasks that a run's records do, each evaluated against the data set's ground truth under its protocols.

A function for each task takes the `Work` and gives its parts, by their key in `details` of metrics.json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from admlops.datasets.base import Dataset, HasMap
from admlops.datasets.nuscenes.annotations import Annotations, SampleScene, read_annotations, read_scenes
from admlops.datasets.nuscenes.vector_cache import cached_vectors
from admlops.datasets.nuscenes.vector_map import CENTERLINE, MapVector
from admlops.evaluation.base import Part
from admlops.evaluation.detection_2d.evaluation import ImageResult, evaluate_images
from admlops.evaluation.detection_3d.evaluation import DetectionResult, evaluate_detections
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.protocols import NUSCENES, VAD, submitted
from admlops.evaluation.lane_graph.evaluation import LaneResult, evaluate_lanes
from admlops.evaluation.motion.ground_truth import Futures
from admlops.evaluation.motion.scores import MotionEvaluation, evaluate_motion
from admlops.evaluation.planning.outputs import RunPlans, read_run_plans
from admlops.evaluation.planning.scores import (
    STEPS,
    STP3,
    UNIAD,
    Floats,
    PlanningEvaluation,
    PlanTruth,
    evaluate_planning,
)
from admlops.evaluation.run_outputs import FUTURES, RunBoxes
from admlops.evaluation.vector_map.predictions import read_map_records
from admlops.evaluation.vector_map.scores import (
    CHAMFER,
    CHAMFER_WITH_CENTERLINES,
    IOU,
    MapEvaluation,
    MapProtocol,
    evaluate_map,
)
from admlops.results.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Work:
    """A run, its data set, and what several tasks need of them: each read once, when it is asked for.

    Attributes:
        boxes: what one pass over the records found, and which tasks they do.
        on_request: protocols beside the usual ones that are wanted, out of `metrics.ON_REQUEST`.
        cache: the folder that keeps vectors cut from maps.
        truth_2d: a COCO file with ground truth of the images, if there is any.
    """

    run: RunFolder
    data: Dataset
    boxes: RunBoxes
    on_request: frozenset[str]
    cache: Path
    truth_2d: Path | None = None

    @cached_property
    def samples(self) -> dict[str, dict[str, Any]]:
        """By token, each sample in the shape of docs/architecture.md."""
        return {token: self.data.sample(token) for token in self.boxes.tokens}

    @cached_property
    def annotations(self) -> Annotations:
        """Of the run's samples and, if futures are to be measured, of those after them."""
        following = STEPS if self.boxes.tasks & {"plan", FUTURES} else 0
        return read_annotations(self.data.root, self.data.version, self.boxes.tokens, following=following)

    @cached_property
    def scenes(self) -> list[SampleScene]:
        """The scene of each of the run's samples; OpenLane-V2 describes none."""
        known = read_scenes(self.data.root, self.data.version) if self.data.kind == "nuscenes" else {}
        names = (entry.scene for entry in self.boxes.metadata)
        return [known.get(name) or SampleScene(name=name, description="", location="") for name in names]

    @cached_property
    def futures(self) -> Futures:
        """Where everything will be."""
        return Futures(self.annotations)

    @cached_property
    def plans(self) -> RunPlans:
        """The run's own plans and futures."""
        return read_run_plans(self.run, self.samples)

    @cached_property
    def map_protocols(self) -> dict[str, MapProtocol]:
        """MapTR's Chamfer AP; its others where they are wanted, or where there are centrelines."""
        records = read_map_records(self.run)
        lines = any(element.type == CENTERLINE for record in records for element in record.map_elements or ())
        protocols = {"map": CHAMFER}
        if IOU.name in self.on_request:
            protocols["map_iou"] = IOU
        if lines or CHAMFER_WITH_CENTERLINES.name in self.on_request:
            protocols["map_centerline"] = CHAMFER_WITH_CENTERLINES
        return protocols

    @property
    def map_keys(self) -> frozenset[str]:
        """The keys of the parts that measure map elements."""
        return frozenset(self.map_protocols if "map_elements" in self.boxes.tasks else ())

    @cached_property
    def map_truth(self) -> dict[str, list[MapVector]]:
        """By token the vectors of the map around a sample; cut once, and kept."""
        assert isinstance(self.data, HasMap), "map elements are evaluated on data with maps"
        places = {token: (self.data.location(token), sample) for token, sample in self.samples.items()}
        lines = "map_centerline" in self.map_protocols
        return cached_vectors(self.data.root / "maps", places, cache=self.cache, centerlines=lines)


def evaluate_tasks(work: Work) -> dict[str, Part]:
    """Every part of every task that the records do and that there is ground truth for, by its key; boxes come first."""
    parts: dict[str, Part] = {}
    for task, evaluate in TASKS.items():
        if task in work.boxes.tasks:
            parts |= evaluate(work)
    return {key: parts[key] for key in sorted(parts, key=lambda key: not key.endswith("detection"))}


def _evaluate_boxes(work: Work) -> dict[str, DetectionResult]:
    """The nuScenes metrics, and VAD's where they are wanted."""
    annotations = work.annotations.first(len(work.boxes.metadata))
    truth = make_ground_truth(annotations)
    boxes = work.boxes.in_global_frame(truth)
    results = {"detection": evaluate_detections(boxes, truth, annotations.scenes, NUSCENES)}
    if VAD.name in work.on_request:
        boxes = boxes.take(submitted(work.boxes.geometry[:, :3], work.boxes.score, VAD))
        results["vad_detection"] = evaluate_detections(boxes, truth, annotations.scenes, VAD)
    return results


def _evaluate_maps(work: Work) -> dict[str, MapEvaluation]:
    return {
        key: evaluate_map(read_map_records(work.run), work.map_truth, work.samples, protocol=protocol)
        for key, protocol in work.map_protocols.items()
    }


def _evaluate_plans(work: Work) -> dict[str, PlanningEvaluation]:
    """Plans as ST-P3 and VAD average them, and as UniAD measures them."""
    truths = {STP3: ("plan", work.futures.vad_plan), UNIAD: ("plan_uniad", work.futures.uniad_plan)}

    def pair(truth: Callable[[int], PlanTruth]) -> Iterator[tuple[Floats, PlanTruth]]:
        return ((plan, truth(index)) for index, plan in enumerate(work.plans.plans))

    return {key: evaluate_planning(pair(truth), protocol=protocol) for protocol, (key, truth) in truths.items()}


def _evaluate_futures(work: Work) -> dict[str, MotionEvaluation]:
    pairs = ((work.futures.motion(index), found) for index, found in enumerate(work.plans.futures))
    return {"motion": evaluate_motion(pairs)}


def _evaluate_lanes(work: Work) -> dict[str, LaneResult]:
    return evaluate_lanes(work.run, work.data, work.boxes.tokens)


def _evaluate_images(work: Work) -> dict[str, ImageResult]:
    """Boxes in images; without a file there is nothing to compare them with."""
    return {} if work.truth_2d is None else evaluate_images(work.run, work.truth_2d, work.samples)


TASKS: Mapping[str, Callable[[Work], Mapping[str, Part]]] = {
    "map_elements": _evaluate_maps,  # first: where the map is missing, nothing else should take its time
    "detections_3d": _evaluate_boxes,
    FUTURES: _evaluate_futures,
    "plan": _evaluate_plans,
    "lane_graph": _evaluate_lanes,
    "detections_2d": _evaluate_images,
}
"""By task, as `RunBoxes.tasks` names them, what evaluates it."""
