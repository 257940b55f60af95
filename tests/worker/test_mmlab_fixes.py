"""A fix reaches every place where a configuration used the variable."""

from __future__ import annotations

from typing import Any

import pytest

from worker.mmlab.common.fixes import replace_type, replace_value

RGB = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True}
BGR = {"mean": [103.53, 116.28, 123.675], "std": [1.0, 1.0, 1.0], "to_rgb": False}


def config() -> dict[str, Any]:
    """As a configuration file leaves it: the variable, and pipelines with its items in one of their steps."""
    pipeline = [{"type": "Load", "to_rgb": True}, {"type": "Normalize", **RGB}]
    nested = [{"type": "Flip", "transforms": [{"type": "Normalize", **RGB}]}]
    return {"img_norm_cfg": dict(RGB), "train": pipeline, "data": {"test": {"pipeline": nested}}, "other": {**BGR}}


def test_every_copy_of_the_variable_gets_the_new_value() -> None:
    fixed = config()
    assert replace_value(fixed, "img_norm_cfg", BGR) == 2
    assert fixed["img_norm_cfg"] == BGR
    assert fixed["train"] == [{"type": "Load", "to_rgb": True}, {"type": "Normalize", **BGR}]
    assert fixed["data"]["test"]["pipeline"][0]["transforms"] == [{"type": "Normalize", **BGR}]


def test_a_second_time_changes_nothing() -> None:
    fixed = config()
    replace_value(fixed, "img_norm_cfg", BGR)
    once = repr(fixed)
    replace_value(fixed, "img_norm_cfg", BGR)
    assert repr(fixed) == once


def test_a_fix_that_reaches_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no dictionary named img_norm"):
        replace_value(config(), "img_norm", BGR)
    with pytest.raises(ValueError, match="does not use its img_norm_cfg"):
        replace_value({"img_norm_cfg": dict(RGB), "train": []}, "img_norm_cfg", BGR)


def test_every_layer_of_a_class_becomes_another() -> None:
    model = {"decoder": {"layers": [{"type": "Flash", "heads": 8}, {"type": "Norm"}]}, "head": {"type": "Flash"}}
    assert replace_type(model, "Flash", "Plain") == 2
    assert model == {
        "decoder": {"layers": [{"type": "Plain", "heads": 8}, {"type": "Norm"}]},
        "head": {"type": "Plain"},
    }
    assert replace_type(model, "Flash", "Plain") == 0
