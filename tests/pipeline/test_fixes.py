"""Fixes of the catalogue: published weights get theirs, however they are named."""

from __future__ import annotations

import pytest

from admlops.catalog import load_model
from admlops.core.paths import find_layout
from admlops.pipeline.fixes import needed_fixes

BGR = {"img_norm_cfg": {"mean": [103.53, 116.28, 123.675], "std": [1.0, 1.0, 1.0], "to_rgb": False}}


@pytest.mark.parametrize("checkpoint", ["tiny", "base", None, "/elsewhere/VAD_tiny.pth"])
def test_published_weights_get_their_fixes(checkpoint: str | None) -> None:
    model = load_model(find_layout(), "VAD")
    assert needed_fixes(model, checkpoint=checkpoint, config=None, random=False) == {"bgr-normalisation": BGR}


def test_a_users_own_weights_get_none() -> None:
    model = load_model(find_layout(), "VAD")
    assert needed_fixes(model, checkpoint="/mine/epoch_12.pth", config="tiny", random=False) == {}
    assert needed_fixes(load_model(find_layout(), "GroundPlane"), checkpoint=None, config=None, random=False) == {}


@pytest.mark.parametrize(("config", "fixes"), [(None, 1), ("base", 1), ("/mine/config.py", 0)])
def test_random_weights_stand_for_those_of_the_configuration(config: str | None, fixes: int) -> None:
    model = load_model(find_layout(), "VAD")
    assert len(needed_fixes(model, checkpoint=None, config=config, random=True)) == fixes
