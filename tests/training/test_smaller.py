"""What a training is told that makes its network smaller, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from admlops.catalog import load_model
from admlops.checkpoints import Usable
from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.training.smaller import SOFT_SHARE, TEMPERATURE, Smaller, choose_smaller
from admlops.training.trainer import training_of

NOTHING = dict.fromkeys(("teacher", "temperature", "soft_share", "prune"))


def choose(model: str, start: str | None = "trained", **asked: Any) -> Smaller:
    found = load_model(find_layout(), model)
    return choose_smaller(
        found,
        training_of(found),
        asked={**NOTHING, **asked},
        start=start,
        find=lambda name: Usable(path=Path("/weights") / name, sha256="0" * 64),
    )


def test_a_usual_training_is_told_nothing_new() -> None:
    usual = choose("CalibrationStatus", start=None)
    assert usual == Smaller()
    assert usual.for_program() == {"teacher": None, "prune": None}
    assert usual.facts() == {}
    assert usual.findings() == []


def test_a_teacher_and_a_share_of_channels_are_told_and_kept() -> None:
    both = choose("CalibrationStatus", teacher="big", prune=0.25)
    assert both.for_program() == {
        "teacher": "/weights/big",
        "temperature": TEMPERATURE,
        "soft_share": SOFT_SHARE,
        "prune": 0.25,
    }
    assert both.facts()["pruned"] == 0.25
    assert both.facts()["teacher"]["name"] == "big"
    assert [one.what for one in both.findings()] == ["teacher", "pruning"]


def test_what_learns_without_labels_has_none_to_share_with() -> None:
    assert choose("NanoDet", teacher="g-416").soft_share == 1.0
    with pytest.raises(UsageError, match="no labels to share"):
        choose("NanoDet", teacher="g-416", soft_share=0.5)
    with pytest.raises(UsageError, match="a teacher's outputs alone"):
        choose("NanoDet")


@pytest.mark.parametrize("start", [None, "random"])
def test_channels_are_taken_out_of_trained_weights_alone(start: str | None) -> None:
    with pytest.raises(UsageError, match="begins without any"):
        choose("CalibrationStatus", start, prune=0.5)


def test_other_programs_take_neither() -> None:
    with pytest.raises(UsageError, match="--teacher: the training program of MapTR does not take it"):
        choose("MapTR", teacher="big")
    with pytest.raises(UsageError, match="--prune: the training program of MapTR does not take it"):
        choose("MapTR", prune=0.5)
