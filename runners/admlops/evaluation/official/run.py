"""A run's metrics by the official code, each in its own environment, to stand beside ours.

nuScenes detection and OpenLane-V2 have a package; MapTR's map metrics and VAD's metrics are code in their repositories,
run from the checkouts in submodules/. What has neither is named, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.environments import Environment, ensure_official
from admlops.evaluation.base import Part
from admlops.evaluation.detection_3d import nuscenes_submission as detection
from admlops.evaluation.detection_3d.protocols import NUSCENES, VAD
from admlops.evaluation.lane_graph import official_files as lane_files
from admlops.evaluation.lane_graph.evaluation import LaneResult, pair_lanes
from admlops.evaluation.metrics import Metric
from admlops.evaluation.planning import vad_files
from admlops.evaluation.planning.outputs import no_futures
from admlops.evaluation.planning.scores import STEPS, published_names
from admlops.evaluation.run_tasks import Work
from admlops.evaluation.vector_map import official_files as map_files
from admlops.evaluation.vector_map.predictions import read_all_predictions, read_map_records


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
    work.run.predictions_path.mkdir(exist_ok=True)
    asked = _Asked(work=work, layout=layout, say=say)
    for key, part in parts.items():
        protocol = part.metrics(work.boxes.dataset)[0].protocol
        code = _find_code(work, key, part)
        if code is None:
            say(f"{run}: {protocol} has no official package to run here: {WHY_NONE.get(key, 'it is our own')}")
        elif code.checkout and not (asked.sources(code.checkout) / "projects").is_dir():
            name = code.checkout
            say(f"{run}: {protocol} has its official code in {name}'s repository: admlops sources fetch {name}")
        else:
            say(f"{run}: official code, {protocol}, over {len(work.samples)} samples")
            found.append(code.ask(asked, key, part))
    return found


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the official code is asked about."""

    work: Work
    layout: Layout
    say: Say

    def environment(self, name: str) -> Environment:
        return ensure_official(self.layout, name, say=self.say)

    def sources(self, name: str) -> Path:
        return self.layout.submodules / name

    def official(
        self,
        package: str,
        protocol: str,
        values: Mapping[str, float | None],
        *,
        n: int | None = None,
        numpy: str | None = None,
    ) -> Official:
        """The answer; `n` is the number of samples if not all count."""
        whole, dataset = len(self.work.samples), self.work.boxes.dataset
        metrics = [
            Metric(name=name, protocol=protocol, value=value, n=whole if n is None else n, dataset=dataset)
            for name, value in values.items()
        ]
        return Official(package=package, protocol=protocol, numpy=numpy, metrics=metrics)

    @cached_property
    def vad(self) -> Mapping[str, Mapping[str, float | None]]:
        """VAD's `stp3` and `motion`; what the records do not have counts as standing still, or as nothing."""
        work, count = self.work, len(self.work.samples)
        plans = work.plans.plans or [np.zeros((STEPS, 2))] * count
        futures = work.plans.futures or [no_futures()] * count
        return vad_files.official_vad(
            [work.futures.vad_sample(index, plans[index], futures[index]) for index in range(count)],
            environment=self.environment(vad_files.OFFICIAL_NAME),
            checkout=self.sources(vad_files.CHECKOUT),
            layout=self.layout,
            folder=work.run.predictions_path,
        )


@dataclass(frozen=True)
class _Code:
    """What computes a part, and the checkout in submodules/ that it comes from, if it is no package."""

    ask: Callable[[_Asked, str, Part], Official]
    checkout: str | None = None


def _find_code(work: Work, key: str, part: Part) -> _Code | None:
    if isinstance(part, LaneResult):
        return _Code(_lanes)
    if key in work.map_keys:
        return _Code(_map, map_files.CHECKOUT)
    return {
        "detection": _Code(_detection),
        "vad_detection": _Code(_vad_boxes, vad_files.CHECKOUT),
        "plan": _Code(_plan, vad_files.CHECKOUT),
        "motion": _Code(_motion, vad_files.CHECKOUT),
    }.get(key)


WHY_NONE = {
    "plan_uniad": "make test-full compares with UniAD's code",
    "boxes_2d": "pycocotools, which is official, has computed it already",
}
"""By key of a part, why nothing runs for it."""


def _detection(asked: _Asked, key: str, part: Part) -> Official:
    work = asked.work
    theirs = detection.evaluate_detection(
        detection.make_submission(work.run.records(), work.samples),
        dataroot=work.data.root,
        version=work.data.version,
        folder=work.run.predictions_path,
        environment=asked.environment(detection.OFFICIAL_NAME),
        layout=asked.layout,
    )
    values = detection.summary_values(theirs["summary"])
    return asked.official("nuscenes-devkit", NUSCENES.name, values, numpy=theirs["numpy"])


def _vad_boxes(asked: _Asked, key: str, part: Part) -> Official:
    work = asked.work
    theirs = vad_files.official_vad_boxes(
        work.run.records(),
        work.samples,
        dataroot=work.data.root,
        version=work.data.version,
        environment=asked.environment(vad_files.BOXES_OFFICIAL_NAME),
        checkout=asked.sources(vad_files.CHECKOUT),
        layout=asked.layout,
        folder=work.run.predictions_path,
    )
    values = detection.summary_values(theirs["summary"])
    return asked.official("VAD", VAD.name, values, numpy=theirs["numpy"])


def _lanes(asked: _Asked, key: str, part: Part) -> Official:
    assert isinstance(part, LaneResult)
    work, protocol = asked.work, part.evaluation.protocol
    theirs = lane_files.official_lane_graphs(
        list(pair_lanes(work.run, work.data, work.boxes.tokens)),
        protocol=protocol,
        environment=asked.environment(lane_files.OFFICIAL_NAMES[protocol]),
        layout=asked.layout,
        folder=work.run.predictions_path,
    )
    values = {name: theirs[name] for name in part.evaluation.values}
    return asked.official("openlanev2", part.protocol, values)


def _map(asked: _Asked, key: str, part: Part) -> Official:
    work, protocol = asked.work, asked.work.map_protocols[key]
    environment = asked.environment(map_files.OFFICIAL_NAME)
    predictions = read_all_predictions(read_map_records(work.run), work.map_truth, work.samples, protocol.classes)
    theirs = map_files.official_map(
        predictions,
        work.map_truth,
        protocol=protocol,
        python=environment.python,
        variables=environment.variables,
        checkout=asked.sources(map_files.CHECKOUT),
        layout=asked.layout,
        folder=work.run.predictions_path,
    )
    aps = {f"AP_{name}": float(np.mean(list(own.values()))) for name, own in theirs.ap.items()}
    values = {"mAP": float(np.mean(list(aps.values()))), **aps}
    return asked.official("MapTR", protocol.name, values, numpy=theirs.numpy)


def _plan(asked: _Asked, key: str, part: Part) -> Official:
    return _of_vad(asked, part, published_names(asked.vad["stp3"]))


def _motion(asked: _Asked, key: str, part: Part) -> Official:
    return _of_vad(asked, part, asked.vad["motion"])


def _of_vad(asked: _Asked, part: Part, values: Mapping[str, float | None]) -> Official:
    first = part.metrics(asked.work.boxes.dataset)[0]
    return asked.official("VAD", first.protocol, values, n=first.n)
