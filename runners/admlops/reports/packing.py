"""Boxes and polylines of a sample as compact text, from which the page's script draws them at any confidence.

Who found what does not depend on the confidence at which a page cuts: the most confident choose first. So every
prediction carries its partner, an index into the sample's ground truth, and the script only has to hide what is below
the cut: ground truth whose partner is hidden is then missed.

Numbers are 16-bit integers, little-endian, in base64. A box is BOX_FIELDS of them: class, centre x y z and width,
length, height [cm, ego frame], quaternion w x y z [1/QUATERNION_SCALE], confidence [1/CONFIDENCE_SCALE], partner. A
line is kind, confidence, partner, how many points, and x y z of each [cm, ego frame].
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec import UnsetType
from numpy.typing import ArrayLike
from shapely import LineString

from admlops.core.errors import AdmlopsError
from admlops.core.nuscenes_classes import CLASS_RANGES_M, MAP_CLASSES
from admlops.datasets.nuscenes.vector_map import patch_to_ego
from admlops.evaluation.detection_3d.error_analysis import match_sample as match_boxes
from admlops.evaluation.error_analysis import ClassMatch
from admlops.evaluation.lane_graph.error_analysis import LANE, match_frame
from admlops.evaluation.lane_graph.lanes import LaneTruth, prediction_of
from admlops.evaluation.vector_map.element_table import read_predictions
from admlops.evaluation.vector_map.error_analysis import class_match
from admlops.evaluation.vector_map.scores import match_sample
from admlops.reports.scene_view import Truth
from admlops.results.record import Record

BOX_FIELDS = 13
QUATERNION_SCALE, CONFIDENCE_SCALE = 32767, 10000
LARGEST = 32767
NO_PARTNER, NOT_JUDGED = -1, -2
"""Partners of a prediction that is wrong, and of one whose ground truth is out of reach."""

LEAST_CONFIDENCE = 0.05
MAX_PREDICTIONS = 120
"""Of one task and sample: the most confident; nobody reads more off a picture."""
SIMPLIFICATION_M = 0.05
"""How far a packed line may lie from the original."""


@dataclass
class Names:
    """The class names of a page in order of appearance; a packed box or line holds its place in them."""

    known: dict[str, int] = field(default_factory=dict)

    def index(self, name: str) -> int:
        return self.known.setdefault(name, len(self.known))


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Boxes and lines as base64."""

    boxes: str = ""
    lines: str = ""


def pack_truth(truth: Truth, names: Names) -> Packed:
    """Ground truth of a sample: the boxes that count for nuScenes' protocol, all map elements, all lanes."""
    counted = _counted(truth)
    boxes = [
        _box_row(names.index(box.class_name), box.center, box.size_wlh, box.rotation_wxyz, 0.0, NO_PARTNER)
        for box in truth.boxes or ()
        if box.token in counted
    ]
    lines = [
        value for kind, points in _truth_lines(truth) for value in _line_row(names.index(kind), points, 0.0, NO_PARTNER)
    ]
    return Packed(boxes=_encode(value for row in boxes for value in row), lines=_encode(lines))


def pack_record(
    record: Record, truth: Truth, names: Names, *, cutoffs: Mapping[str, Mapping[str, float]] | None = None
) -> Packed:
    """Predictions of a record with their partners in `pack_truth(truth)`; none below `least_confidence`."""
    limits = cutoffs or {}
    return Packed(
        boxes=_encode(value for row in _boxes(record, truth, names, limits.get("detection", {})) for value in row),
        lines=_encode(value for row in _lines(record, truth, names, limits.get("map", {})) for value in row),
    )


def least_confidence(cutoff: float | None) -> float:
    """The least confidence packed of a class with this operating point: at least what is drawn at first."""
    return LEAST_CONFIDENCE if cutoff is None else min(LEAST_CONFIDENCE, cutoff)


def _counted(truth: Truth) -> dict[str, int]:
    """Tokens of the boxes that count, with their places among them."""
    matches = match_boxes([], truth.boxes or (), CLASS_RANGES_M)
    counted = {token for match in matches.values() for token in match.truth}
    kept = [box.token for box in truth.boxes or () if box.token in counted]
    return {token: index for index, token in enumerate(kept)}


def _truth_lines(truth: Truth) -> list[tuple[str, ArrayLike]]:
    vectors: list[tuple[str, ArrayLike]] = []
    if truth.vectors is not None and truth.sample is not None:
        vectors = [(vector.type, patch_to_ego(vector.points, truth.sample)) for vector in truth.vectors]
    return vectors + [(LANE, lane) for lane in ([] if truth.lanes is None else truth.lanes.lanes)]


def _boxes(record: Record, truth: Truth, names: Names, limits: Mapping[str, float]) -> list[list[int]]:
    if isinstance(record.detections_3d, UnsetType):
        return []
    partners = _box_partners(record, truth)
    shown = [
        found
        for found in record.detections_3d
        if found.id in partners and found.confidence >= least_confidence(limits.get(found.class_name))
    ]
    shown.sort(key=lambda found: -found.confidence)
    return [
        _box_row(
            names.index(found.class_name),
            found.bbox_3d.center,
            found.bbox_3d.size_wlh,
            found.bbox_3d.rotation_wxyz,
            found.confidence,
            partners[found.id],
        )
        for found in shown[:MAX_PREDICTIONS]
    ]


def _box_partners(record: Record, truth: Truth) -> dict[int, int]:
    """The partner of each detection that counts, by its id."""
    assert not isinstance(record.detections_3d, UnsetType)
    matches = match_boxes(record.detections_3d, truth.boxes or (), CLASS_RANGES_M)
    if truth.boxes is None:
        return {number: NOT_JUDGED for match in matches.values() for number in match.ids}
    places = _counted(truth)
    return {
        number: places[str(match.truth[partner])] if partner >= 0 else NO_PARTNER
        for match in matches.values()
        for number, partner in zip(match.ids, match.partners.tolist(), strict=True)
    }


def _lines(record: Record, truth: Truth, names: Names, limits: Mapping[str, float]) -> list[list[int]]:
    found: list[tuple[float, str, ArrayLike, int]] = []
    if not isinstance(record.map_elements, UnsetType):
        partners = _element_partners(record, truth)
        found += [
            (one.confidence, one.type, one.points, partners[one.id])
            for one in record.map_elements
            if one.id in partners
        ]
    if not isinstance(record.lane_graph, UnsetType):
        lanes = record.lane_graph.lanes
        places = _lane_partners(record, truth)
        found += [(lane.confidence, LANE, lane.points, places[index]) for index, lane in enumerate(lanes)]
    kept = [one for one in found if one[0] >= least_confidence(limits.get(one[1]))]
    kept.sort(key=lambda one: -one[0])
    return [
        _line_row(names.index(kind), points, confidence, partner)
        for confidence, kind, points, partner in kept[:MAX_PREDICTIONS]
    ]


def _element_partners(record: Record, truth: Truth) -> dict[int, int]:
    """The partner of each map element, by its id; none where its type or the record is not what a map has."""
    assert not isinstance(record.map_elements, UnsetType)
    if truth.sample is None or truth.vectors is None:
        return {one.id: NOT_JUDGED for one in record.map_elements}
    try:
        predictions = read_predictions(record, truth.sample)
    except AdmlopsError:  # the view of the sample says so in a note
        return {}
    token = record.metadata.sample_token
    partners: dict[int, int] = {}
    for name in MAP_CLASSES:
        partners |= _partners(class_match(match_sample(token, predictions[name], name, truth.vectors)))
    return partners


def _lane_partners(record: Record, truth: Truth) -> dict[int, int]:
    assert not isinstance(record.lane_graph, UnsetType)
    if truth.lanes is None:
        return dict.fromkeys(range(len(record.lane_graph.lanes)), NOT_JUDGED)
    match = match_frame(LaneTruth(**vars(truth.lanes)), prediction_of(record))[LANE]
    first = 0 if truth.vectors is None else len(truth.vectors)
    return {number: place + first if place >= 0 else place for number, place in _partners(match).items()}


def _partners(match: ClassMatch) -> dict[int, int]:
    return {
        number: int(match.truth[partner]) if partner >= 0 else NO_PARTNER
        for number, partner in zip(match.ids, match.partners.tolist(), strict=True)
    }


def _box_row(
    label: int,
    center: Sequence[float],
    size_wlh: Sequence[float],
    rotation_wxyz: Sequence[float],
    confidence: float,
    partner: int,
) -> list[int]:
    lengths = [_integer(100 * value) for value in (*center, *size_wlh)]
    turn = [_integer(QUATERNION_SCALE * value) for value in rotation_wxyz]
    return [label, *lengths, *turn, _integer(CONFIDENCE_SCALE * confidence), partner]


def _line_row(label: int, points: ArrayLike, confidence: float, partner: int) -> list[int]:
    array = np.asarray(points, dtype=np.float64)
    if array.shape[1] == 2:
        array = np.column_stack([array, np.zeros(len(array))])
    if np.isfinite(array).all() and len(array) > 2:
        array = np.asarray(LineString(array).simplify(SIMPLIFICATION_M).coords)
    places = [_integer(100 * value) for value in array.ravel().tolist()]
    return [label, _integer(CONFIDENCE_SCALE * confidence), partner, len(array), *places]


def _integer(value: float) -> int:
    """The nearest 16-bit integer; what lies farther than 327 m is drawn at 327 m, what is no number at 0."""
    return 0 if not np.isfinite(value) else max(-LARGEST, min(LARGEST, round(value)))


def _encode(values: Iterable[int]) -> str:
    return base64.b64encode(np.fromiter(values, dtype="<i2").tobytes()).decode("ascii")
