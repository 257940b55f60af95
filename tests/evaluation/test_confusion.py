"""Which class was taken for which, held against plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.detection_3d.boxes import CLASS_INDEX, Boxes
from admlops.evaluation.detection_3d.confusion import confuse


def boxes(*rows: tuple[int, str, float, float]) -> Boxes:
    """Boxes of (sample, class, x, y)."""
    count = len(rows)
    return Boxes(
        sample=np.array([row[0] for row in rows], np.int32),
        label=np.array([CLASS_INDEX[row[1]] for row in rows], np.int8),
        center=np.array([(row[2], row[3], 0.0) for row in rows]).reshape(count, 3),
        size=np.ones((count, 3)),
        yaw=np.zeros(count),
        velocity=np.zeros((count, 2)),
        attribute=np.zeros(count, np.int8),
        score=np.linspace(1, 0, count),
        number=np.arange(count, dtype=np.int32),
    )


def test_a_wrong_name_a_miss_and_a_false_alarm() -> None:
    found = confuse(
        right=boxes((0, "car", 0, 0)),
        wrong=boxes((0, "truck", 10, 0), (0, "car", 30, 0)),
        missed=boxes((0, "bus", 11, 0), (0, "pedestrian", 20, 0)),
        distance_m=2.0,
    ).to_json()
    matrix, classes = found["matrix"], found["classes"]
    assert matrix[classes.index("car")][classes.index("car")] == 1
    assert matrix[classes.index("bus")][classes.index("truck")] == 1
    assert sum(map(sum, matrix)) == 2
    assert dict(zip(classes, found["missed"], strict=True)) == dict.fromkeys(classes, 0) | {"pedestrian": 1}
    assert dict(zip(classes, found["false_alarms"], strict=True)) == dict.fromkeys(classes, 0) | {"car": 1}


def test_the_threshold_is_open_and_samples_are_apart() -> None:
    wrong, missed = boxes((0, "truck", 0, 0), (1, "truck", 0, 0)), boxes((0, "bus", 2, 0), (2, "bus", 0, 0))
    found = confuse(right=boxes(), wrong=wrong, missed=missed, distance_m=2.0).to_json()
    assert (sum(map(sum, found["matrix"])), sum(found["missed"]), sum(found["false_alarms"])) == (0, 2, 2)


def test_nothing_at_all_is_a_matrix_of_zeros() -> None:
    found = confuse(right=boxes(), wrong=boxes(), missed=boxes(), distance_m=2.0)
    assert not found.counts.any()


@pytest.mark.parametrize("seed", range(5))
def test_crowds_are_counted_as_plain_loops_count_them(seed: int) -> None:
    chance = np.random.default_rng(seed)

    def crowd(count: int) -> Boxes:
        labels, places = chance.integers(len(CLASSES), size=count), chance.uniform(-6, 6, (count, 2))
        samples = np.sort(chance.integers(4, size=count))
        return boxes(*((int(s), CLASSES[c], *xy) for s, c, xy in zip(samples, labels, places.tolist(), strict=True)))

    right, missed, pool = crowd(40), crowd(60), crowd(70)
    wrong = pool.take(chance.permutation(70))  # ranked by confidence, so the samples are mixed
    expected = np.zeros((len(CLASSES) + 1, len(CLASSES) + 1), np.int64)
    for label in right.label:
        expected[label, label] += 1
    free = set(range(len(missed)))
    for row in range(len(wrong)):
        near = [
            (float(np.hypot(*(wrong.center[row, :2] - missed.center[there, :2]))), there)
            for there in sorted(free)
            if missed.sample[there] == wrong.sample[row]
        ]
        distance, there = min(near, default=(np.inf, -1))
        if distance < 2.0:
            free.remove(there)
            expected[missed.label[there], wrong.label[row]] += 1
        else:
            expected[-1, wrong.label[row]] += 1
    for there in free:
        expected[missed.label[there], -1] += 1
    assert (expected[:-1, -1] > 0).any()
    found = confuse(right=right, wrong=wrong, missed=missed, distance_m=2.0)
    assert np.array_equal(found.counts, expected)
    # The order of classes within a sample does not matter to the rule, nor does what the boxes are called.
    renamed = confuse(right=right, wrong=wrong, missed=replace(missed, label=missed.label[::-1]), distance_m=2.0)
    assert renamed.counts.sum() == found.counts.sum()
