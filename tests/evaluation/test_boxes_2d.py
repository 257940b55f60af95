"""COCO AP and counting against the plain formulas, and what odd images do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from admlops.core.errors import RecordError
from admlops.evaluation.detection_2d.counting import evaluate_counting
from admlops.evaluation.detection_2d.protocols import COCO_PROTOCOL, COUNTING_PROTOCOL, SUMMARY
from admlops.evaluation.detection_2d.scores import ImagePrediction, ImageTruth, evaluate_boxes_2d, pair_images
from admlops.results.record import Detection2D, Metadata, Outputs, Record
from admlops.results.record_json import make_record

CLASSES = ("car", "person")
Images = list[tuple[ImageTruth, ImagePrediction]]
Box = tuple[float, float, float, float]


def images_of(count: int, *, seed: int) -> Images:
    """Images with some five objects of 8 to 200 pixels and their blurred detections, without ties."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        there = int(rng.poisson(5))
        low = rng.uniform(0, 800, (there, 2))
        boxes = np.concatenate([low, low + rng.uniform(8, 200, (there, 2))], axis=1)
        seen = rng.uniform(size=there) < 0.8
        false = rng.uniform(0, 500, (int(rng.poisson(2)), 2))
        found = np.concatenate([boxes[seen] + rng.normal(0, 4, (int(seen.sum()), 4)), np.hstack([false, false + 40])])
        names = [CLASSES[index] for index in rng.integers(0, 2, there)]
        kinds = [name for name, one in zip(names, seen, strict=True) if one]
        kinds += [CLASSES[index] for index in rng.integers(0, 2, len(false))]
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])
        images.append(
            (
                ImageTruth(boxes=boxes, classes=names),
                ImagePrediction(boxes=found, classes=kinds, confidences=rng.uniform(size=len(found))),
            )
        )
    return images


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(wide, 0) * max(high, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return float(inter / union) if union else 0.0


def plain_ap(images: Images, name: str, threshold: float) -> float:
    """COCO's AP of a class: free boxes only, the best overlap first, precision at 101 recalls."""
    hits, count = [], 0
    for truth, found in images:
        there = [box for box, kind in zip(truth.boxes, truth.classes, strict=True) if kind == name]
        count += len(there)
        own = [
            (c, box) for c, box, kind in zip(found.confidences, found.boxes, found.classes, strict=True) if kind == name
        ]
        taken: set[int] = set()
        for confidence, box in sorted(own, key=lambda pair: -pair[0]):
            free = [(iou(box, one), index) for index, one in enumerate(there) if index not in taken]
            best = max(free, default=(0.0, -1))
            if best[0] >= threshold:
                taken.add(best[1])
            hits.append((confidence, best[0] >= threshold))
    hits.sort(key=lambda hit: -hit[0])
    right = np.cumsum([hit for _, hit in hits])
    precision = right / np.arange(1, len(hits) + 1)
    recalls = [sum(1 for one in right if one < k / 100 * count - 1e-9) for k in range(101)]
    return float(np.mean([precision[index:].max() if index < len(hits) else 0.0 for index in recalls]))


def test_equal_to_the_plain_formula() -> None:
    images = images_of(25, seed=1)
    result = evaluate_boxes_2d(images, classes=CLASSES)
    thresholds = np.linspace(0.5, 0.95, 10)
    table = {name: [plain_ap(images, name, t) for t in thresholds] for name in CLASSES}
    assert dict(result.class_ap) == pytest.approx({name: float(np.mean(row)) for name, row in table.items()}, abs=1e-9)
    assert result.values["AP"] == pytest.approx(np.mean(list(table.values())), abs=1e-9)
    assert result.values["AP50"] == pytest.approx(np.mean([row[0] for row in table.values()]), abs=1e-9)
    assert 0.2 < float(np.mean(list(table.values()))) < 0.9
    named = {metric.name: metric for metric in result.metrics("d")}
    assert list(named) == [*SUMMARY, "AP_car", "AP_person"]
    assert {(metric.protocol, metric.n) for metric in named.values()} == {(COCO_PROTOCOL, 25)}


def image(
    there: list[Box], found: list[Box], *, confidences: list[float] | None = None, crowd: list[bool] | None = None
) -> tuple[ImageTruth, ImagePrediction]:
    return (
        ImageTruth(
            boxes=np.array(there, dtype=float).reshape(-1, 4),
            classes=["car"] * len(there),
            crowd=None if crowd is None else np.array(crowd),
        ),
        ImagePrediction(
            boxes=np.array(found, dtype=float).reshape(-1, 4),
            classes=["car"] * len(found),
            confidences=np.array(confidences or [0.9] * len(found), dtype=float),
        ),
    )


BOX: Box = (0, 0, 50, 50)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([], None),
        ([image([], [])], None),
        ([image([], [BOX])], None),
        ([image([BOX], [])], 0.0),
        ([image([BOX], [BOX])], 1.0),
        ([image([BOX], [BOX, BOX])], 1.0),
        ([image([BOX], [(5, 5, 5, 5)])], 0.0),
        ([image([BOX, (200, 200, 260, 260)], [BOX], crowd=[False, True])], 1.0),
    ],
)
def test_odd_images(images: Images, expected: float | None) -> None:
    result = evaluate_boxes_2d(images, classes=("car", "person"))
    assert result.values["AP"] == (expected if expected is None else pytest.approx(expected))
    assert result.class_ap["person"] is None
    assert result.values["APs"] is None


def test_a_class_or_confidence_that_is_none_is_refused() -> None:
    with pytest.raises(RecordError, match="'car' is not a class of this evaluation; the classes are person"):
        evaluate_boxes_2d([image([], [BOX])], classes=("person",))
    with pytest.raises(RecordError, match="is not a number"):
        evaluate_boxes_2d([image([], [BOX], confidences=[np.nan])], classes=("car",))


def test_counting_by_hand() -> None:
    """Two cars and one found; none and two found; a car found twice, and once without confidence."""
    far: Box = (200, 200, 260, 260)
    images = [
        image([BOX, far], [BOX]),
        image([], [BOX, far]),
        image([BOX], [BOX, (1, 1, 51, 51), BOX], confidences=[0.9, 0.5, 0.49]),
    ]
    values = evaluate_counting(images).classes["car"]
    # |1 - 2| / 2, |2 - 0| / 1 and |2 - 1| / 1; of five found two are right, of three there two are found.
    assert values == pytest.approx(
        {"count_score": 0.5 / 3, "count_error": 4 / 3, "precision": 2 / 5, "recall": 2 / 3, "F1": 4 / 8}
    )
    metrics = evaluate_counting(images).metrics("d")
    assert {(m.name, m.protocol) for m in metrics if "score" in m.name} == {("count_score_car", COUNTING_PROTOCOL)}


def test_counting_nothing() -> None:
    assert set(evaluate_counting([]).classes["car"].values()) == {None}
    empty = evaluate_counting([image([], [])]).classes["car"]
    assert (empty["count_score"], empty["precision"], empty["recall"], empty["F1"]) == (1.0, None, None, None)
    assert evaluate_counting([image([BOX], [], crowd=[True])]).classes["car"]["count_score"] == 1.0


boxes = st.lists(
    st.sampled_from([BOX, (0.0, 0.0, 0.0, 0.0), (25.0, 0.0, 75.0, 50.0), (0.0, 0.0, 50.0, 30.0)]), max_size=4
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(boxes, boxes), min_size=1, max_size=3))
def test_numbers_stay_in_their_bounds(sides: list[tuple[list[Box], list[Box]]]) -> None:
    """Duplicates, boxes without area, nothing on one side; finding what is there counts perfectly."""
    values = evaluate_counting([image(there, found) for there, found in sides]).classes["car"]
    for name, value in values.items():
        assert value is None or 0.0 <= value <= (1.0 if name != "count_error" else 4.0)
    whole = [image(there, there) for there, _ in sides]
    assert evaluate_counting(whole).classes["car"]["count_score"] == 1.0
    ap = evaluate_boxes_2d([image(there, found) for there, found in sides], classes=("car",)).values["AP"]
    assert ap is None or 0.0 <= ap <= 1.0


def record_of(token: str, cameras: list[str]) -> Record:
    metadata = Metadata(
        model_name="YOLO", variant="x", run="r", sample_token=token, scene="s", index_in_scene=0, status="ok"
    )
    found = [
        Detection2D(id=index, camera=camera, class_name="car", bbox_xyxy=BOX, confidence=0.9)
        for index, camera in enumerate(cameras)
    ]
    return make_record(metadata, Outputs(detections_2d=found))


def test_records_are_paired_by_sample_and_camera() -> None:
    truth, _ = image([BOX], [])
    truths = {("a", "CAM_FRONT"): truth, ("a", "CAM_BACK"): truth, ("b", "CAM_FRONT"): truth}
    records = [record_of("a", ["CAM_FRONT", "CAM_FRONT"]), record_of("b", [])]
    counts = [len(found.boxes) for _, found in pair_images(truths, records)]
    assert counts == [2, 0, 0]
    for wrong, said in (
        ([records[0]], "no record of 1 of 2 samples, such as b"),
        ([records[0], records[0]], "sample a has two records"),
        ([record_of("c", [])], "sample c is not among the images evaluated"),
        ([record_of("a", ["CAM_LEFT"])], r"sample a \(CAM_LEFT\) is not among the images evaluated"),
    ):
        with pytest.raises(RecordError, match=said):
            list(pair_images(truths, wrong))
