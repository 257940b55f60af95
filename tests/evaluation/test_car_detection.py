"""Cars in images against pycocotools with its own settings, and against the plain formulas."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from admlops.core.errors import RecordError
from admlops.evaluation.detection_2d.car_detection import evaluate_cars, find_picture_errors
from admlops.evaluation.detection_2d.matching import keep_cars
from admlops.evaluation.detection_2d.protocols import CAR, VEHICLES, ClassSet
from admlops.evaluation.detection_2d.scores import ImagePrediction, ImageTruth

NAMES = ("car", "truck", "bus", "person")
Pairs = list[tuple[ImageTruth, ImagePrediction]]


def generate(seed: int) -> Pairs:
    """Up to 12 images with objects, blurred and doubled detections, crowds; of some seeds equal confidences."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(int(rng.integers(1, 13))):
        there = int(rng.poisson(rng.choice([0, 2, 6])))
        low = rng.uniform(0, 400, (there, 2))
        boxes = np.concatenate([low, low + rng.uniform(8, 150, (there, 2))], axis=1)
        seen = np.flatnonzero(rng.uniform(size=there) < 0.8)
        twice = np.concatenate([seen, seen[rng.uniform(size=len(seen)) < 0.4]])
        blurred = boxes[twice] + rng.normal(0, 6, (len(twice), 4))
        false = rng.uniform(0, 400, (int(rng.poisson(2)), 2))
        found = np.concatenate([blurred, np.hstack([false, false + 40])])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])
        confidences = rng.uniform(size=len(found))
        pairs.append(
            (
                ImageTruth(boxes=boxes, classes=[*rng.choice(NAMES, there)], crowd=rng.uniform(size=there) < 0.1),
                ImagePrediction(
                    boxes=found,
                    classes=[*rng.choice(NAMES, len(found))],
                    confidences=confidences.round(1) if seed % 3 == 0 else confidences,
                ),
            )
        )
    return pairs


def overlap(a: NDArray[Any], b: NDArray[Any]) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(wide, 0.0) * max(high, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return float(inter / union) if union else 0.0


def chosen(found: ImagePrediction, classes: ClassSet) -> list[tuple[float, NDArray[Any]]]:
    """The boxes of the set, the surest first, without those that a surer one covers."""
    own = [
        (float(c), box)
        for c, box, name in zip(found.confidences, found.boxes, found.classes, strict=True)
        if name in classes.names
    ]
    kept: list[tuple[float, NDArray[Any]]] = []
    for confidence, box in sorted(own, key=lambda pair: -pair[0]):
        if classes.nms_iou is None or all(overlap(box, other) <= classes.nms_iou for _, other in kept):
            kept.append((confidence, box))
    return kept


def coco_ap50(pairs: Pairs, classes: ClassSet) -> float | None:
    """AP50 as `summarize` of an untouched COCOeval gives it, None where it gives -1."""
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, (truth, prediction) in enumerate(pairs, start=1):
        for box, name, crowd in zip(truth.boxes, truth.classes, truth.crowd, strict=True):  # type: ignore[arg-type]
            if name in classes.names:
                x1, y1, x2, y2 = box
                size = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
                one = {"id": len(truths) + 1, "image_id": number, "category_id": 1, "iscrowd": int(crowd)}
                truths.append({**one, **size})
        for confidence, (x1, y1, x2, y2) in chosen(prediction, classes):
            found.append(
                {"image_id": number, "category_id": 1, "score": confidence, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            )
    if not truths or not found:
        return 0.0 if any(not one["iscrowd"] for one in truths) else None
    with contextlib.redirect_stdout(io.StringIO()):
        official = COCO()
        official.dataset = {
            "images": [{"id": number + 1} for number in range(len(pairs))],
            "categories": [{"id": 1, "name": "car"}],
            "annotations": truths,
        }
        official.createIndex()
        evaluation = COCOeval(official, official.loadRes(found) if found else COCO(), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return None if evaluation.stats[1] < 0 else float(evaluation.stats[1])


def plain(pairs: Pairs, classes: ClassSet, threshold: float) -> dict[str, float | None]:
    """F1, precision, recall and counting at a threshold, one box after the other."""
    right = found = there = 0
    scores, errors = [], []
    for truth, prediction in pairs:
        free = [
            (box, bool(crowd))
            for box, name, crowd in zip(truth.boxes, truth.classes, truth.crowd, strict=True)  # type: ignore[arg-type]
            if name in classes.names
        ]
        own_there = sum(not crowd for _, crowd in free)
        own_found = own_right = 0
        for confidence, box in chosen(prediction, classes):
            if confidence < threshold:
                continue
            objects = [(overlap(box, one), index) for index, (one, crowd) in enumerate(free) if not crowd]
            best = max(objects, default=(0.0, -1))
            inside = any(crowd and _share_inside(box, one) >= 0.5 for one, crowd in free)
            if best[0] >= 0.5:
                own_right += 1
                own_found += 1
                del free[best[1]]
            elif not inside:
                own_found += 1
        right, found, there = right + own_right, found + own_found, there + own_there
        errors.append(abs(own_found - own_there))
        scores.append(max(0.0, 1 - errors[-1] / max(own_there, 1)))
    return {
        "F1": 2 * right / (found + there) if found + there else None,
        "precision": right / found if found else None,
        "recall": right / there if there else None,
        "count_score": float(np.mean(scores)),
        "count_error": float(np.mean(errors)),
    }


def _share_inside(box: NDArray[Any], crowd: NDArray[Any]) -> float:
    """COCO's overlap with a crowd: the share of the box that lies in it."""
    wide, high = min(box[2], crowd[2]) - max(box[0], crowd[0]), min(box[3], crowd[3]) - max(box[1], crowd[1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return float(max(wide, 0.0) * max(high, 0.0) / area) if area else 0.0


@pytest.mark.parametrize("classes", [CAR, VEHICLES], ids=lambda classes: classes.title)
@pytest.mark.parametrize("seed", range(50))
def test_equal_to_pycocotools_and_to_the_plain_formulas(seed: int, classes: ClassSet) -> None:
    pairs, threshold = generate(seed), 0.35
    result = evaluate_cars(pairs, classes, threshold=threshold)
    own = plain(pairs, classes, threshold)
    expected = {"AP50": coco_ap50(pairs, classes), **own}
    thresholds = {float(c) for _, found in pairs for c in found.confidences}
    curve = {t: plain(pairs, classes, t)["F1"] or 0.0 for t in thresholds}
    expected["best_F1"] = max(curve.values(), default=0.0) if own["F1"] is not None or curve else None
    for name, value in expected.items():
        if value is None:
            assert result.values[name] is None, name
        elif name == "best_F1" and result.values[name] is None:
            assert value == 0.0
        else:
            assert result.values[name] == pytest.approx(value, abs=1e-9), name
    if result.best_threshold is not None:
        assert curve[result.best_threshold] == pytest.approx(max(curve.values()), abs=1e-9)


def test_resamples_of_each_image_once_are_the_evaluation_itself() -> None:
    pairs = generate(7) + generate(8) + generate(10)
    result = evaluate_cars(pairs, CAR, threshold=0.4)
    scenes = np.arange(len(pairs))
    values = result.resample(scenes, np.ones((1, len(pairs)), np.int32))
    assert {name: own[0] for name, own in values.items()} == pytest.approx(dict(result.values), abs=1e-9)
    half = np.zeros((2, len(pairs)), np.int32)
    half[0, ::2], half[1, 1::2] = 2, 1
    drawn = result.resample(scenes, half)
    odd = evaluate_cars(pairs[1::2], CAR, threshold=0.4)
    assert {name: own[1] for name, own in drawn.items()} == pytest.approx(dict(odd.values), abs=1e-3)
    even = evaluate_cars(pairs[::2], CAR, threshold=0.4)
    assert drawn["F1"][0] == pytest.approx(even.values["F1"])


def test_without_a_threshold_its_numbers_are_not_applicable() -> None:
    result = evaluate_cars(generate(2), CAR, threshold=None)
    assert result.values["AP50"] is not None
    assert result.values["best_F1"] is not None
    assert result.values["F1"] is None
    assert "operating_threshold" in result.details()["not_applicable"]["F1"]
    assert set(result.resample(np.zeros(result.images, np.int64), np.ones((1, 1), np.int32))) == {"AP50", "best_F1"}


def test_merging_takes_one_box_of_a_jeep_that_is_called_car_and_truck() -> None:
    box = np.array([10.0, 10.0, 60.0, 50.0])
    truth = ImageTruth(boxes=box[None], classes=["car"])
    found = ImagePrediction(
        boxes=np.stack([box, box + 1, box + 200]),
        classes=["car", "truck", "bus"],
        confidences=np.array([0.4, 0.6, 0.1]),
    )
    assert keep_cars(found, CAR).tolist() == [0]
    assert keep_cars(found, VEHICLES).tolist() == [1, 2]
    result = evaluate_cars([(truth, found)], VEHICLES, threshold=0.35)
    assert result.values["F1"] == 1.0
    assert result.protocol == "car_detection.car+truck+bus-iou0.5-nms0.6"


def test_every_picture_says_which_boxes_are_wrong_and_which_cars_are_missed() -> None:
    box = np.array([10.0, 10.0, 60.0, 50.0])
    truth = ImageTruth(boxes=np.stack([box, box + 100, box + 300]), classes=["car", "car", "person"])
    found = ImagePrediction(
        boxes=np.stack([box + 400, box + 1, box + 101]), classes=["car"] * 3, confidences=np.array([0.9, 0.8, 0.2])
    )
    result = evaluate_cars([(truth, found), (truth, found)], CAR, threshold=0.5)
    (one, other) = find_picture_errors(result.matches, 0.5)
    assert (one.right, one.wrong, one.missed, one.found) == ((1,), (0,), (1,), (0,))
    assert one == other
    (low, _) = find_picture_errors(result.matches, 0.1)
    assert (low.right, low.missed) == ((1, 2), ())


def test_nothing_there_and_nothing_found_is_undefined() -> None:
    nothing = (
        ImageTruth(boxes=np.zeros((0, 4)), classes=[]),
        ImagePrediction(boxes=np.zeros((0, 4)), classes=[], confidences=np.zeros(0)),
    )
    result = evaluate_cars([nothing, nothing], CAR, threshold=0.5)
    assert result.values == {
        "AP50": None,
        "best_F1": None,
        "F1": None,
        "precision": None,
        "recall": None,
        "count_score": 1.0,
        "count_error": 0.0,
    }
    assert evaluate_cars([], CAR, threshold=None).values["AP50"] is None


def test_a_confidence_that_is_no_number_is_refused() -> None:
    found = ImagePrediction(boxes=np.zeros((1, 4)), classes=["car"], confidences=np.array([np.nan]))
    with pytest.raises(RecordError, match="is not a number"):
        evaluate_cars([(ImageTruth(boxes=np.zeros((0, 4)), classes=[]), found)], CAR, threshold=None)
