"""Map elements under latency: the map stands still, so the ground truth at an input's pose needs no interpolation.

At the pose of each input the elements of the last output that was ready are moved to where they are seen from there,
and cut at the patch, whose far edge they cannot know yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from admlops.core.nuscenes_classes import MAP_CLASSES
from admlops.datasets.nuscenes.tables import rotation_matrix
from admlops.datasets.nuscenes.vector_map import PATCH_SIZE_M, ego_to_patch
from admlops.evaluation.context import Context
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.evaluation.streaming.options import StreamOptions
from admlops.evaluation.streaming.pairing import Pairing, pair, scene_rows
from admlops.evaluation.streaming.simulation import NONE
from admlops.evaluation.vector_map.element_table import TYPE_INDEX, Elements, ElementTable, Predictions
from admlops.evaluation.vector_map.protocols import CHAMFER
from admlops.evaluation.vector_map.scores import MapEvaluation, evaluate_elements, map_truth

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StreamingMap:
    """The AP of map elements under latency."""

    protocol: str
    options: StreamOptions
    pairing: Pairing
    scores: MapEvaluation

    @property
    def values(self) -> dict[str, float]:
        """The metrics by name."""
        by_class = {f"AP_{name}-S": self.scores.class_ap(name) for name in MAP_CLASSES}
        return {"mAP-S": float(np.mean(list(by_class.values()))), **by_class}

    def metrics(self, dataset: str) -> list[Metric]:
        """mAP-S and the AP of each class."""
        return [
            Metric(name=name, protocol=self.protocol, value=value, n=self.scores.samples, dataset=dataset)
            for name, value in self.values.items()
        ]

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples of scenes."""
        return {f"{name}-S": values for name, values in self.scores.resample(self.pairing.scene, weights).items()}

    def details(self) -> dict[str, Any]:
        """The simulation and its counts."""
        return {"simulation": self.options.to_json(), **self.pairing.to_json()}


def evaluate_streaming_map(
    table: ElementTable, context: Context, *, protocol: str, options: StreamOptions
) -> StreamingMap:
    """Evaluate the map elements of a run over inputs at 12 Hz under its latencies.

    Raises:
        DataError: a map is missing or damaged, or no record has a time.
    """
    rows = scene_rows(context.metadata)
    context.data.scenes(list(rows))
    truth = map_truth(context, centerlines=False)
    pairing = pair(context, {name: len(own) for name, own in rows.items()}, options)
    order = [row for own in rows.values() for row in own]
    tokens = context.tokens
    found = {}
    for moment, row in enumerate(order):
        source = int(pairing.paired[moment])
        sample = context.samples[tokens[row]]
        elements = table.records[source] if source != NONE else None
        found[tokens[row]] = _see(elements, context.samples[tokens[source]] if elements else sample, sample)
    scores = evaluate_elements(found, truth, protocol=CHAMFER)
    return StreamingMap(protocol=protocol + options.suffix, options=options, pairing=pairing, scores=scores)


def _see(elements: Elements | None, then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Predictions]:
    """The elements by class in the patch at the pose of `now`; their points are of the ego frame of `then`."""
    nothing = Predictions(lines=(), confidences=np.zeros(0), ids=())
    if elements is None or not len(elements.ids):
        return dict.fromkeys(MAP_CLASSES, nothing)
    points = ego_to_patch(elements.points if then is now else _move(elements.points, then, now), now)
    lines = np.split(points, elements.ends[:-1])
    if then is not now:
        lines = [_cut(line) for line in lines]
    found = {}
    for name in MAP_CLASSES:
        own = [row for row in np.flatnonzero(elements.types == TYPE_INDEX[name]).tolist() if len(lines[row]) > 1]
        found[name] = Predictions(
            lines=tuple(lines[row] for row in own),
            confidences=elements.confidences[own],
            ids=tuple(elements.ids[own].tolist()),
        )
    return found


def _move(points: Points, then: Mapping[str, Any], now: Mapping[str, Any]) -> Points:
    """Points (P, 2) on the ground of one ego frame in another one."""
    before, after = then["ego2global"], now["ego2global"]
    there = np.column_stack([points, np.zeros(len(points))]) @ rotation_matrix(before["rotation_wxyz"]).T
    there = there + np.asarray(before["translation"]) - np.asarray(after["translation"])
    moved: Points = (there @ rotation_matrix(after["rotation_wxyz"]))[:, :2]
    return moved


def _cut(line: Points) -> Points:
    """The longest part of a line (P, 2) within the patch; nothing of one outside."""
    long_m, wide_m = PATCH_SIZE_M
    inside = shapely.clip_by_rect(shapely.LineString(line), -wide_m / 2, -long_m / 2, wide_m / 2, long_m / 2)
    parts = [part for part in shapely.get_parts(inside) if part.geom_type == "LineString"]
    if not parts:
        return np.zeros((0, 2))
    longest: Points = shapely.get_coordinates(max(parts, key=lambda part: part.length))
    return longest
