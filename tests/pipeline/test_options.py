"""A model's own options: what is not known is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Admlops
from tests.execution.execution_bench import make_header

from admlops.catalog import load_model
from admlops.cli.checkpoints import _status
from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.pipeline.frontier import way_of
from admlops.pipeline.memory_table import key_of
from admlops.pipeline.options import check_config, check_graphs, check_options, parse_options
from admlops.pipeline.run_request import RunRequest
from admlops.results.header import find_difference


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


@pytest.mark.parametrize(
    ("model", "asked", "device", "reason"),
    [
        ("GroundPlane", {}, "cuda", "GroundPlane cannot run with --graphs: it runs on the CPU alone"),
        ("MapTR", {}, "cpu", "MapTR cannot run with --graphs: a CPU has no CUDA graphs"),
        ("StreamPETR", {"engine": "onnx"}, "cuda", "--engine onnx executes its network, and CUDA graphs are PyTorch's"),
        ("StreamPETR", {"runtime": "onnxruntime"}, "cuda", "the runtime onnxruntime executes its network"),
        ("YOLOX", {"batch": 2}, "cuda", "a graph is of one sample, and --batch 2 takes several"),
        ("YOLOX", {"batch": "auto"}, "cuda", "--batch auto takes several"),
        ("YOLOX", {"throughput": True}, "cuda", "--throughput tries batches"),
    ],
)
def test_graphs_are_refused_where_there_are_none(model: str, asked: dict[str, Any], device: str, reason: str) -> None:
    loaded = load_model(find_layout(), model)
    check_graphs(loaded, RunRequest(model=model, data=Path(), **asked), device=device)
    with pytest.raises(UsageError) as caught:
        check_graphs(loaded, RunRequest(model=model, data=Path(), graphs=True, **asked), device=device)
    assert reason in caught.value.message
    assert caught.value.hint == "leave --graphs out"


@pytest.mark.parametrize("asked", [{}, {"stream": True}, {"precision": "half"}, {"workers": 2}])
def test_graphs_go_with_what_changes_no_call(asked: dict[str, Any]) -> None:
    request = RunRequest(model="MapTR", data=Path(), graphs=True, **asked)
    check_graphs(load_model(find_layout(), "MapTR"), request, device="cuda")


@pytest.mark.parametrize("words", [("run", "MapTR"), ("check", "MapTR"), ("compare", "--models", "MapTR,VAD")])
def test_graphs_without_a_gpu_are_refused_before_anything_is_built(
    admlops: Admlops, synthetic_root: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    variables = {"ADMLOPS_ENVIRONMENTS": str(tmp_path / "environments"), "CUDA_VISIBLE_DEVICES": ""}
    done = admlops(*words, "--data", synthetic_root, "--device", "cpu", "--graphs", check=False, variables=variables)
    assert done.returncode == 2, done.stderr
    assert "MapTR cannot run with --graphs: a CPU has no CUDA graphs" in done.stderr
    assert "leave --graphs out" in done.stderr


def test_a_run_with_graphs_is_a_way_of_its_own() -> None:
    plain = make_header({"a": 1}, settings={"device": "cuda:0", "precision": "authors"})
    graphed = make_header({"a": 1}, settings={"device": "cuda:0", "precision": "authors", "graphs": True})
    assert (plain.execution, graphed.execution) == ("", "graphs")
    assert find_difference(plain, graphed) == ("settings.graphs", False, True)
    assert (way_of(plain).engine, way_of(graphed).engine) == ("", "graphs")
    assert key_of(plain) != key_of(graphed)
