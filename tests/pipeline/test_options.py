"""A model's own options: what is not known is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import Admlops

from admlops.catalog import load_model
from admlops.cli.checkpoints import _status
from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.pipeline.options import check_config, check_options, parse_options


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


def test_a_config_that_no_variant_runs_is_refused_by_its_name_and_by_that_of_its_weights() -> None:
    name = "tiny-bevpool-24e"
    model = load_model(find_layout(), "MapTR").model_copy(update={"not_runnable": {name: "it cannot pool"}})
    for chosen in ({"config": name, "checkpoint": None}, {"config": None, "checkpoint": name}):
        with pytest.raises(UsageError, match=f"no variant of MapTR runs its config {name}: it cannot pool") as caught:
            check_config(model, **chosen)
        assert "tiny-24e" in caught.value.hint
        assert name not in caught.value.hint
    check_config(model, config="tiny-24e", checkpoint=name)
    check_config(model, config=None, checkpoint="/a/file.pth")


@pytest.mark.parametrize("option", ["--config", "--checkpoint"])
def test_a_name_that_another_model_has_now_is_refused_before_anything_is_set_up(
    option: str, admlops: Admlops, synthetic_root: Path
) -> None:
    refused = admlops("run", "PETR", option, "petrv2-vovnet-p4-800x320", "--data", synthetic_root, check=False)
    assert refused.returncode == 2
    assert "PETR has it no longer, it is of the model PETRv2 now" in " ".join(refused.stderr.split())
    assert "admlops models show PETRv2" in refused.stderr


def test_a_config_that_no_variant_runs_is_said_wherever_it_is_listed(
    admlops: Admlops, synthetic_root: Path, tmp_path: Path
) -> None:
    model = load_model(find_layout(), "MapTR").model_copy(
        update={"not_runnable": {"tiny-t4-24e": "it cannot look back"}}
    )
    assert _status(model, "tiny-t4-24e", None) == "ready; no variant runs it: it cannot look back"
    assert _status(model, "tiny-24e", None) == "ready"
    assert "Configs that no variant runs" in admlops("models", "show", "PETRv2").stdout
    refused = admlops(
        "run", "PETRv2", "--config", "bevseg", "--weights", "random:0", "--data", synthetic_root, check=False
    )
    assert refused.returncode == 2
    assert "no variant of PETRv2 runs its config bevseg: its head segments the map" in refused.stderr
    assert not (tmp_path / "repository" / "runs").exists()
