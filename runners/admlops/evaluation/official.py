"""A run's metrics by the official code, each in its own environment, to stand beside ours.

nuScenes detection and OpenLane-V2 have a package; MapTR's map metrics and VAD's of plans and futures are code in their
repositories, run from the checkouts in submodules/. What has neither is named, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from admlops.environments import ensure_official
from admlops.evaluation import detection, lane_files, map_files, vad_files
from admlops.evaluation.lane_run import LaneResult, pair_lanes
from admlops.evaluation.map_predictions import read_all_predictions, read_map_records
from admlops.evaluation.metrics import Metric
from admlops.evaluation.nuscenes_protocol import NUSCENES
from admlops.evaluation.part import Part
from admlops.evaluation.planning import STEPS, published_names
from admlops.evaluation.run_plans import no_futures
from admlops.evaluation.run_tasks import Work
from admlops.paths import Layout

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Official:
    """What the official code said under one protocol."""

    package: str
    protocol: str
    numpy: str | None
    metrics: Sequence[Metric]

    def beside(self, ours: Sequence[Metric]) -> dict[str, Any]:
        """The form in metrics.json, with the largest difference from ours."""
        own = {metric.name: metric.value for metric in ours if metric.protocol == self.protocol}
        differences = [
            abs(value - metric.value)
            for metric in self.metrics
            if metric.value is not None and (value := own[metric.name]) is not None
        ]
        return {
            "package": self.package,
            "protocol": self.protocol,
            "numpy": self.numpy,
            "metrics": [metric.to_json() for metric in self.metrics],
            "max_abs_difference": max(differences, default=None),
        }


def run_official(work: Work, parts: Mapping[str, Part], *, layout: Layout, say: Say) -> list[Official]:
    """Compute what there is official code for, one after another; `say` hears of the rest.

    Raises:
        EnvError: an environment cannot be set up, or its code fails.
    """
    found: list[Official] = []
    run = work.run.header.run
    vad: Mapping[str, Mapping[str, float | None]] | None = None
    work.run.predictions_path.mkdir(exist_ok=True)
    for key, part in parts.items():
        protocol = part.metrics(work.boxes.dataset)[0].protocol
        if key == "detection":
            say(f"{run}: official nuScenes detection metrics over {len(work.samples)} samples")
            found.append(_detection(work, layout=layout, say=say))
        elif isinstance(part, LaneResult):
            say(f"{run}: official OpenLane-V2 metrics, {protocol}")
            found.append(_lanes(work, part, layout=layout, say=say))
        elif key in VAD_PARTS:
            checkout = layout.root / "submodules" / vad_files.CHECKOUT
            if not (checkout / "projects").is_dir():
                say(f"{run}: {protocol} has its official code in VAD's repository: admlops sources fetch VAD")
                continue
            if vad is None:
                say(f"{run}: VAD's own metrics of plans and futures")
                vad = _vad(work, checkout, layout=layout, say=say)
            values = vad[VAD_PARTS[key]]
            if key == "plan":
                values = published_names(values)
            found.append(_official("VAD", protocol, None, values, part.metrics("")[0].n, work.boxes.dataset))
        elif key in work.map_keys:
            checkout = layout.root / "submodules" / map_files.CHECKOUT
            if not (checkout / "projects").is_dir():
                say(f"{run}: {protocol} has its official code in MapTR's repository: admlops sources fetch MapTR")
                continue
            say(f"{run}: MapTR's own evaluator, {protocol}")
            found.append(_map(work, key, checkout, layout=layout, say=say))
        else:
            say(f"{run}: {protocol} has no official package to run here: {WHY_NONE.get(key, 'it is our own')}")
    return found


VAD_PARTS = {"plan": "stp3", "motion": "motion"}
"""By key of a part, what VAD's metrics call it."""

WHY_NONE = {
    "vad_detection": "VAD's code needs its whole stack; make test-full compares with its filter",
    "plan_uniad": "make test-full compares with UniAD's code",
    "boxes_2d": "pycocotools, which is official, has computed it already",
}
"""By key of a part, why nothing runs for it."""


def _detection(work: Work, *, layout: Layout, say: Say) -> Official:
    environment = ensure_official(layout, detection.OFFICIAL_NAME, say=say)
    theirs = detection.evaluate_detection(
        detection.make_submission(work.run.records(), work.samples),
        dataroot=work.data.root,
        version=work.data.version,
        folder=work.run.predictions_path,
        environment=environment,
        layout=layout,
    )
    return Official(
        package="nuscenes-devkit",
        protocol=NUSCENES.name,
        numpy=theirs.official["numpy"],
        metrics=theirs.metrics(work.boxes.dataset),
    )


def _lanes(work: Work, part: LaneResult, *, layout: Layout, say: Say) -> Official:
    protocol = part.evaluation.protocol
    environment = ensure_official(layout, lane_files.OFFICIAL_NAMES[protocol], say=say)
    theirs = lane_files.official_lane_graphs(
        list(pair_lanes(work.run, work.data, work.boxes.tokens)),
        protocol=protocol,
        environment=environment,
        layout=layout,
        folder=work.run.predictions_path,
    )
    values = {name: theirs[name] for name in part.evaluation.values}
    return _official("openlanev2", part.protocol, None, values, len(work.samples), work.boxes.dataset)


def _map(work: Work, key: str, checkout: Path, *, layout: Layout, say: Say) -> Official:
    protocol = work.map_protocols[key]
    environment = ensure_official(layout, map_files.OFFICIAL_NAME, say=say)
    predictions = read_all_predictions(read_map_records(work.run), work.map_truth, work.samples, protocol.classes)
    theirs = map_files.official_map(
        predictions,
        work.map_truth,
        protocol=protocol,
        python=environment.python,
        variables=environment.variables,
        checkout=checkout,
        layout=layout,
        folder=work.run.predictions_path,
    )
    aps = {f"AP_{name}": float(np.mean(list(own.values()))) for name, own in theirs.ap.items()}
    values = {"mAP": float(np.mean(list(aps.values()))), **aps}
    return _official("MapTR", protocol.name, theirs.numpy, values, len(work.samples), work.boxes.dataset)


def _vad(work: Work, checkout: Path, *, layout: Layout, say: Say) -> Mapping[str, Mapping[str, float | None]]:
    """Values by name of `stp3` and `motion`; what the records do not have counts as standing still, or as nothing."""
    environment = ensure_official(layout, vad_files.OFFICIAL_NAME, say=say)
    count = len(work.samples)
    plans = work.plans.plans or [np.zeros((STEPS, 2))] * count
    futures = work.plans.futures or [no_futures()] * count
    samples = [work.futures.vad_sample(index, plans[index], futures[index]) for index in range(count)]
    return vad_files.official_vad(
        samples, environment=environment, checkout=checkout, layout=layout, folder=work.run.predictions_path
    )


def _official(
    package: str, protocol: str, numpy: str | None, values: Mapping[str, float | None], n: int, dataset: str
) -> Official:
    metrics = [
        Metric(name=name, protocol=protocol, value=value, n=n, dataset=dataset) for name, value in values.items()
    ]
    return Official(package=package, protocol=protocol, numpy=numpy, metrics=metrics)
