"""`admlops verify`, and comparing a model by several engines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Admlops
from tests.deployment.conftest import MakeFile

from admlops.catalog import load_model
from admlops.core.paths import find_layout
from admlops.core.processes import run
from admlops.environments import Environment, find_model

MODEL = "CalibrationStatus"
SOME = ("--scene", "scene-0103", "--limit", "4", "--device", "cpu")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((MODEL,), "verify needs --engine"),
        ((MODEL, "--engine", "caffe"), "neither one of onnx"),
        ((MODEL, "--engine", "missing.onnx"), "there is no such file"),
        ((MODEL, "--engine", "onnx"), "has no exported network for --engine onnx"),
        (("GroundPlane", "--engine", "onnx"), "has no network.py"),
        ((MODEL, "--engine", "onnx", "--frames", "0"), "is not in the range"),
    ],
)
def test_what_cannot_be_verified_is_refused(
    admlops: Admlops, synthetic_root: Path, words: tuple[str, ...], said: str
) -> None:
    refused = admlops("verify", *words, *SOME, "--data", synthetic_root, check=False)
    assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr


@pytest.mark.usefixtures("calibration_environment")
def test_engines_of_one_model_are_compared(
    admlops: Admlops, small_classifier: MakeFile, synthetic_root: Path, tmp_path: Path
) -> None:
    """One file says "calibrated" of every camera, the other the opposite: they never agree."""
    yes, no = small_classifier("yes.onnx", 50), small_classifier("no.onnx", -50)
    names = (f"{MODEL}@{yes}", f"{MODEL}@{no}")
    options = ("--variant", "onnx", *SOME, "--data", synthetic_root, "--out", tmp_path / "out")
    printed = admlops("compare", "--models", ",".join(names), *options)
    summary = json.loads((tmp_path / "out" / "comparison_summary.json").read_text())
    (group,) = summary["engines"]
    names_on_page = [f"{MODEL}@yes.onnx", f"{MODEL}@no.onnx"]
    assert [one["name"] for one in group["engines"]] == names_on_page
    assert [one["file_bytes"] for one in group["engines"]] == [yes.stat().st_size, no.stat().st_size]
    # 4 samples of 6 cameras, each in two forms; a row is a truth, a column an answer.
    matrices = [one["confusion"]["calibration_status"]["matrix"] for one in group["engines"]]
    assert matrices == [[[0, 24], [0, 24]], [[24, 0], [24, 0]]]
    (agreement,) = group["agreement"]
    assert (agreement["measure"], agreement["shares"]) == ("equal labels", [[1.0, 0.0], [0.0, 1.0]])
    times = group["engines"][0]["latency"]
    assert times["n"] == 3
    assert 0 < times["min_ms"] <= times["mean_ms"] <= times["max_ms"]
    assert times["p99_ms"] is None  # three samples carry no percentile
    assert "agreement, calibration_status: share of equal labels" in printed.stdout
    assert f"admlops verify {MODEL} --engine {yes}" in printed.stderr + printed.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    assert '<section id="engines"' in page
    confusion = page[page.index('<section id="confusion"') :].partition("</section>")[0]
    assert confusion.count(f"Confusion of {MODEL}") == 2
    assert [one["confusion"]["calibration_status"]["matrix"] for one in summary["models"]] == matrices
    assert f"confusion of {names_on_page[0]}, calibration_status" in printed.stdout


@pytest.fixture(scope="module")
def pytorch() -> Environment:
    """The variant with PyTorch, which is too large to be built for a test."""
    layout = find_layout()
    found = find_model(layout, load_model(layout, MODEL), "modern")
    if found is None:
        pytest.skip(f"needs the variant with PyTorch: admlops env install {MODEL} --variant modern")
    return found


def spoil(tool: Environment, source: Path, target: Path) -> None:
    """Make the weights of the tenth convolution larger: that of layer2.1.conv2 of a ResNet-18."""
    program = (
        "import sys, onnx; from onnx import numpy_helper as helper; model = onnx.load(sys.argv[1]);"
        "name = [node for node in model.graph.node if node.op_type == 'Conv'][9].input[1];"
        "(own,) = [one for one in model.graph.initializer if one.name == name];"
        "own.CopyFrom(helper.from_array(helper.to_array(own) * 1.3, name)); onnx.save(model, sys.argv[2])"
    )
    done = run([tool.python, "-c", program, source, target], variables=tool.variables, timeout_s=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("pytorch")
def test_an_export_is_verified_and_a_spoilt_file_is_not(
    admlops: Admlops, onnx_tool: Environment, synthetic_root: Path, tmp_path: Path
) -> None:
    exported = json.loads(admlops("export", MODEL, "--weights", "random:0", "--json").stdout)
    file = Path(exported["folder"]) / exported["file"]
    options = ("--weights", "random:0", *SOME, "--data", synthetic_root, "--json")
    found: dict[str, Any] = json.loads(admlops("verify", MODEL, "--engine", "onnx", *options).stdout)
    assert found["passed"], found["outcome"]
    verdicts = {step["step"]: step["verdict"] for step in found["steps"]}
    assert verdicts == {"file": "passed", "tensors": "passed", "decoded": "passed", "metrics": "not judged"}
    assert "random weights" in found["steps"][3]["reason"]
    tensors = found["steps"][1]["facts"]["tensors"]
    assert {one["rig"]: one["frames"] for one in tensors} == {"given": 4, "moved": 4}
    page = (file.parent / "verification.html").read_text()
    assert "Verified" in page
    assert not re.search(r"https?://", page)
    listed = json.loads(admlops("exported", "list", "--json").stdout)
    assert listed[0]["verified"] == ["CPUExecutionProvider"]
    marks = [one["unverified_engine"] for one in json.loads(admlops("results", "list", "--json").stdout)["runs"]]
    assert marks == [None, None]  # the run was marked before, and is no more

    manifest = json.loads((file.parent / "manifest.json").read_text())
    (file.parent / "manifest.json").write_text(json.dumps({**manifest, "precision": "fp16"}))
    lying = admlops("verify", MODEL, "--engine", "onnx:fp16", *options, check=False)
    first = json.loads(lying.stdout)["steps"][0]
    assert (lying.returncode, first["verdict"], first["fault"]) == (1, "failed", "precision")
    (file.parent / "manifest.json").write_text(json.dumps(manifest))

    spoilt = tmp_path / "spoilt.onnx"
    spoil(onnx_tool, file, spoilt)
    failed = admlops("verify", MODEL, "--engine", spoilt, "--bisect", *options, check=False)
    assert failed.returncode == 1
    again: dict[str, Any] = json.loads(failed.stdout)
    assert (again["passed"], again["failed"], again["bisect"]["module"]) == (
        False,
        "tensors",
        "network.resnet.layer2.1.conv2",
    )
    assert [step["verdict"] for step in again["steps"]] == ["passed", "failed", "not run", "not run"]
