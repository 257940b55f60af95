"""The losses of distillation, held against numbers that were worked out by hand.

The host has no PyTorch: NumPy stands in for the four functions of it that the losses call. `tests/models` runs them in
PyTorch itself.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from admlops.worker.training import distillation
from admlops.worker.training.distillation import Distillation, distillation_loss, quality_focal_loss, soft_loss


def log_softmax(logits: Any, dim: int) -> Any:
    return logits - np.log(np.exp(logits).sum(axis=dim, keepdims=True))


def cross_entropy(logits: Any, labels: Any) -> Any:
    return -log_softmax(logits, -1)[np.arange(len(labels)), labels].mean()


def sigmoid(logits: Any) -> Any:
    return 1 / (1 + np.exp(-logits))


def binary_cross_entropy(logits: Any, wanted: Any, *, reduction: str) -> Any:
    assert reduction == "none"
    return -wanted * np.log(sigmoid(logits)) - (1 - wanted) * np.log(1 - sigmoid(logits))


@pytest.fixture(autouse=True)
def _numpy_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    functional = SimpleNamespace(
        log_softmax=log_softmax,
        cross_entropy=cross_entropy,
        binary_cross_entropy_with_logits=binary_cross_entropy,
    )
    torch = SimpleNamespace(nn=SimpleNamespace(functional=functional), exp=np.exp, sigmoid=sigmoid)
    monkeypatch.setattr(distillation, "load_torch", lambda: torch)


def logits_of(*shares: float) -> Any:
    return np.log(np.array([shares]))


def test_the_soft_loss_is_the_divergence_at_its_temperature_times_its_square() -> None:
    even, sure = logits_of(0.5, 0.5), logits_of(0.8, 0.2)
    assert soft_loss(sure, sure, 4.0) == pytest.approx(0.0)
    assert soft_loss(even, sure, 1.0) == pytest.approx(0.8 * math.log(1.6) + 0.2 * math.log(0.4))
    # At T = 2 odds of 4 become odds of 2: the teacher says 2/3 and 1/3.
    softened = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert soft_loss(even, sure, 2.0) == pytest.approx(4 * softened)


def test_rows_count_by_their_weights() -> None:
    even, both = logits_of(0.5, 0.5).repeat(2, axis=0), np.log(np.array([[0.8, 0.2], [0.5, 0.5]]))
    alone = soft_loss(even[:1], both[:1], 1.0)
    assert soft_loss(even, both, 1.0) == pytest.approx(alone / 2)
    assert soft_loss(even, both, 1.0, weights=np.array([1.0, 0.0])) == pytest.approx(alone)
    assert soft_loss(even, both, 1.0, weights=np.array([0.0, 0.0])) == 0.0


def test_a_classifier_learns_from_labels_and_teacher_in_their_shares() -> None:
    student, teacher, labels = logits_of(0.5, 0.5), logits_of(0.8, 0.2), np.array([1])
    hard, soft = math.log(2), soft_loss(student, teacher, 4.0)
    for share in (0.0, 0.9, 1.0):
        how = Distillation("teacher.pth", 4.0, share)
        loss, parts = distillation_loss(student, teacher, labels, how)
        assert loss == pytest.approx((1 - share) * hard + share * soft)
        assert parts == {"hard": pytest.approx(hard), "soft": pytest.approx(soft)}


def test_scores_far_from_the_teachers_count_most() -> None:
    right = math.log(0.9 / 0.1)
    assert quality_focal_loss(np.array([right]), np.array([0.9])) == pytest.approx(0.0)
    # |1 - 0.5|² · log 2, and |0 - 0.5|² · log 2
    assert quality_focal_loss(np.zeros(2), np.array([1.0, 0.0])) == pytest.approx(2 * 0.25 * math.log(2))
