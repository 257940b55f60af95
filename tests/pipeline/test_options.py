"""A model's own options: what is not known is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import Admlops

from admlops.catalog import load_model
from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.pipeline.options import check_options, parse_options


def test_options_are_names_with_values() -> None:
    assert parse_options(["command=left", "speed=a=b"]) == {"command": "left", "speed": "a=b"}
    for wrong, reason in (("command", "is not NAME=VALUE"), ("=left", "is not NAME=VALUE"), ("command=", "NAME=VALUE")):
        with pytest.raises(UsageError, match=reason):
            parse_options([wrong])
    with pytest.raises(UsageError, match="given twice"):
        parse_options(["command=left", "command=right"])


def test_the_catalogue_says_what_there_is() -> None:
    model = load_model(find_layout(), "VAD")
    check_options(model, {"command": "left"})
    with pytest.raises(UsageError, match="VAD has no option comand; it has: command"):
        check_options(model, {"comand": "left"})
    with pytest.raises(UsageError, match="command=back is not one of: left, right, straight"):
        check_options(model, {"command": "back"})


def test_every_model_with_weights_has_the_options_of_weights() -> None:
    for name in ("VAD", "StreamPETR"):
        check_options(load_model(find_layout(), name), {"ema": "use", "fixes": "none"})
    with pytest.raises(UsageError, match="ema=both is not one of: use, leave"):
        check_options(load_model(find_layout(), "MapTR"), {"ema": "both"})
    with pytest.raises(UsageError, match="MapTR has no option fixes; it has: positions"):
        check_options(load_model(find_layout(), "MapTR"), {"fixes": "none"})
    with pytest.raises(UsageError, match="GroundPlane has no option ema; it has none"):
        check_options(load_model(find_layout(), "GroundPlane"), {"ema": "use"})


def test_a_run_with_an_unknown_option_leaves_nothing(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    run = ("run", "GroundPlane", "--data", synthetic_root, "--limit", "1", "--run", "refused")
    done = admlops(*run, "--option", "command=left", check=False)
    assert done.returncode == 2
    assert "GroundPlane has no option command; it has none" in done.stderr
    assert not (tmp_path / "repository" / "runs" / "refused").exists()
