"""Fixes of the catalogue follow from what weights are, by their content, or are asked for; never from a file's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from admlops.catalog import Model, load_model
from admlops.checkpoints import Usable, Weights
from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.pipeline.fixes import needed_fixes

BGR = {"img_norm_cfg": {"mean": [103.53, 116.28, 123.675], "std": [1.0, 1.0, 1.0], "to_rgb": False}}
IN_BGR = "img_norm_cfg = dict(\n    mean=[103.530, 116.280, 123.675], std=[1, 1, 1], to_rgb=False)\nmodel = dict()\n"
IN_RGB = "img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)\n"


def vad() -> Model:
    return load_model(find_layout(), "VAD")


def usable(name: str | None = None, *, text: str = "", path: str = "/mine/epoch_12.pth") -> Usable:
    weights = Weights(tensors={}, ema=False, left="", config_text=text)
    return Usable(path=Path(path), sha256="0" * 64, name=name, weights=weights)


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_published_weights_get_their_fixes_whatever_their_file_is_called(name: str) -> None:
    renamed = usable(name, path="/elsewhere/weights.pth")
    assert needed_fixes(vad(), checkpoint=renamed, config=None, random=False) == {"bgr-normalisation": BGR}


@pytest.mark.parametrize("path", ["/mine/epoch_12.pth", "/mine/VAD_tiny.pth", "/mine/VAD_base.pth"])
def test_a_files_name_decides_nothing(path: str) -> None:
    with pytest.raises(UsageError, match="does not say whether its weights need the fix bgr-normalisation") as raised:
        needed_fixes(vad(), checkpoint=usable(path=path), config="tiny", random=False)
    assert raised.value.message.startswith(path)
    assert "--option fixes=bgr-normalisation" in raised.value.hint
    assert "--option fixes=none" in raised.value.hint


@pytest.mark.parametrize(("text", "names"), [(IN_BGR, ["bgr-normalisation"]), (IN_RGB, [])])
def test_weights_that_hold_their_configuration_say_what_they_need(text: str, names: list[str]) -> None:
    assert list(needed_fixes(vad(), checkpoint=usable(text=text), config=None, random=False)) == names


@pytest.mark.parametrize(
    "text", ["model = dict()", "img_norm_cfg = make()", "not Python (", "img_norm_cfg = dict(**a)"]
)
def test_a_configuration_that_does_not_say_it_is_not_guessed_from(text: str) -> None:
    with pytest.raises(UsageError, match="does not say whether"):
        needed_fixes(vad(), checkpoint=usable(text=text), config=None, random=False)


@pytest.mark.parametrize(("asked", "names"), [("none", []), ("bgr-normalisation", ["bgr-normalisation"])])
def test_fixes_that_are_asked_for(asked: str, names: list[str]) -> None:
    for checkpoint in (usable(), usable("tiny"), usable(text=IN_RGB)):
        found = needed_fixes(vad(), checkpoint=checkpoint, config=None, random=False, asked=asked)
        assert list(found) == names


def test_an_unknown_fix_is_refused() -> None:
    with pytest.raises(UsageError, match="VAD has no fix rgb of its weights; it has: bgr-normalisation"):
        needed_fixes(vad(), checkpoint=usable(), config=None, random=False, asked="rgb")


def test_a_configuration_of_ones_own_is_what_its_author_means() -> None:
    assert needed_fixes(vad(), checkpoint=usable(), config="/mine/config.py", random=False) == {}
    published = needed_fixes(vad(), checkpoint=usable("tiny"), config="/mine/config.py", random=False)
    assert list(published) == ["bgr-normalisation"]


def test_a_fix_that_every_weights_need_is_not_asked_about() -> None:
    model = load_model(find_layout(), "StreamPETR")
    assert list(needed_fixes(model, checkpoint=usable(), config=None, random=False)) == ["plain-attention"]


def test_models_without_weights_or_fixes_need_none() -> None:
    for name in ("GroundPlane", "MapTR"):
        model = load_model(find_layout(), name)
        assert needed_fixes(model, checkpoint=None, config=None, random=False) == {}
        assert needed_fixes(model, checkpoint=usable(), config=None, random=False) == {}


@pytest.mark.parametrize(("config", "fixes"), [(None, 1), ("base", 1), ("/mine/config.py", 0)])
def test_random_weights_stand_for_those_of_the_configuration(config: str | None, fixes: int) -> None:
    assert len(needed_fixes(vad(), checkpoint=None, config=config, random=True)) == fixes
