"""Running a model by an exported file, without PyTorch and without a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.deployment.conftest import MakeFile
from tests.deployment.test_artifacts import make_manifest
from tests.typed import Typed

from admlops.core.storage import file_sha256
from admlops.deployment.calibration import make_calibration
from admlops.deployment.manifest import encode_manifest
from admlops.environments import Environment

RUN = ("run", "CalibrationStatus", "--variant", "onnx", "--scene", "scene-0103", "--limit", "2", "--device", "cpu")


def read_run(tmp_path: Path, name: str) -> dict[str, Any]:
    header: dict[str, Any] = json.loads((tmp_path / "repository" / "runs" / name / "run.json").read_text())
    return header


@pytest.mark.usefixtures("calibration_environment")
def test_a_file_alone_gives_records_that_are_evaluated(
    typed: Typed, small_classifier: MakeFile, synthetic_root: Path, tmp_path: Path
) -> None:
    file = small_classifier("small.onnx", 0.5)
    ran = typed(*RUN, "--data", synthetic_root, "--engine", file, "--run", "a")
    assert ran.code == 0, ran.err
    engine = read_run(tmp_path, "a")["settings"]["engine"]
    assert (engine["kind"], engine["provider"], engine["precision"]) == ("onnx", "CPUExecutionProvider", "unknown")
    assert engine["versions"] == {"onnxruntime": "1.24.4"}
    assert engine["verified"] is False
    typed("evaluate", "a")
    evaluated = json.loads((tmp_path / "repository" / "runs" / "a" / "metrics.json").read_text())
    values = {one["name"]: one["value"] for one in evaluated["metrics"]}
    # A bias of 0.5 for "calibrated" answers so for every camera: right for one form of two.
    assert (values["accuracy"], values["recall/calibrated"], values["recall/miscalibrated"]) == (0.5, 1.0, 0.0)
    assert evaluated["details"]["calibration_status"]["confusion"] == [[0, 12], [0, 12]]
    assert any("onnx:unknown was not verified" in note for note in evaluated["notes"])
    reported = typed("report", "a", "--out", tmp_path / "page.html")
    assert reported.code == 0, reported.err
    page = (tmp_path / "page.html").read_text()
    confusion = page[page.index('<section id="confusion"') :].partition("</section>")[0]
    assert "24 judgements" in confusion
    assert 'title="miscalibrated called calibrated: 12 of 12"' in confusion
    assert 'title="calibrated called calibrated: 2 of 2"' in confusion, "one camera"
    assert confusion.count("accuracy 0.500") == 6
    assert "CalibrationStatus@onnx:unknown, not verified" in typed("results", "list").out


@pytest.mark.usefixtures("calibration_environment")
def test_an_evaluation_refuses_what_int8_ranges_came_from(
    typed: Typed, small_classifier: MakeFile, synthetic_root: Path, tmp_path: Path
) -> None:
    """The run's header says what they came from: the check needs no manifest."""
    file = small_classifier("small.onnx", 0.5)
    calibration = make_calibration(str(synthetic_root), "v1.0-mini", ["elsewhere"])
    manifest = msgspec.structs.replace(make_manifest("a" * 16), sha256=file_sha256(file), calibration=calibration)
    (file.parent / "manifest.json").write_bytes(encode_manifest(manifest))
    ran = typed(*RUN, "--data", synthetic_root, "--engine", file, "--run", "a")
    assert ran.code == 0, ran.err
    assert typed("evaluate", "a").code == 0
    header = read_run(tmp_path, "a")
    assert header["settings"]["engine"]["calibrated_on"] == ["elsewhere"]
    records = (tmp_path / "repository" / "runs" / "a" / "records").glob("*.jsonl")
    token = json.loads(next(records).read_text().splitlines()[0])["metadata"]["sample_token"]
    header["settings"]["engine"]["calibrated_on"] = [token, "elsewhere"]
    (tmp_path / "repository" / "runs" / "a" / "run.json").write_text(json.dumps(header))
    refused = typed("evaluate", "a")
    assert refused.code == 2
    assert f"int8 ranges of its engine came from 1 sample that it is judged on, such as {token}" in refused.err


@pytest.mark.usefixtures("calibration_environment")
def test_a_run_goes_on_with_its_own_file_alone(
    typed: Typed, small_classifier: MakeFile, synthetic_root: Path, tmp_path: Path
) -> None:
    first, other = small_classifier("first.onnx", 0.5), small_classifier("other.onnx", -0.5)
    typed(*RUN, "--data", synthetic_root, "--engine", first, "--run", "a")
    refused = typed(*RUN, "--data", synthetic_root, "--engine", other, "--run", "a", "--resume")
    assert (refused.code, "settings.engine" in refused.err) == (2, True)
    moved = first.rename(tmp_path / "moved.onnx")
    assert typed(*RUN, "--data", synthetic_root, "--engine", moved, "--run", "a", "--resume").code == 0


@pytest.mark.usefixtures("calibration_environment")
def test_a_file_of_another_network_is_refused_by_its_inputs(
    typed: Typed, small_classifier: MakeFile, synthetic_root: Path
) -> None:
    file = small_classifier("small.onnx", 0.5, "picture")
    failed = typed(*RUN, "--data", synthetic_root, "--engine", file, "--run", "a")
    assert failed.code == 1
    assert "lacks the input channels, has the unknown input picture" in failed.err
    assert "→ admlops exported list CalibrationStatus " in failed.err
    assert "--resume" not in failed.err, "the same file would fail again"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "onnx"), "CalibrationStatus has no exported network for --engine onnx"),
        (("--engine", "onnx:fp64"), "fp64 is not one of: auto, fp32, fp32_tf32, fp16, int8"),
        (("--engine", "missing.onnx"), "there is no such file"),
        (("--engine", "caffe"), "neither one of onnx"),
        (("--engine", "onnx", "--runtime", "torch"), "leave --runtime out"),
        (("--engine", "onnx", "--precision", "float32"), "the precision is the file's"),
    ],
)
def test_what_no_engine_can_do_is_refused(
    typed: Typed,
    calibration_environment: Environment,
    synthetic_root: Path,
    options: tuple[str, ...],
    words: str,
) -> None:
    refused = typed(*RUN, "--data", synthetic_root, *options)
    assert (refused.code, words in refused.err) == (2, True), refused.err


def test_a_variant_without_pytorch_wants_an_engine(
    typed: Typed, calibration_environment: Environment, synthetic_root: Path
) -> None:
    for more in ((), ("--dry-run",)):
        refused = typed(*RUN, "--data", synthetic_root, *more)
        assert (refused.code, "has no PyTorch: it runs exported files alone" in refused.err) == (2, True), refused.err
        assert "→ admlops run CalibrationStatus --variant onnx --engine onnx" in refused.err


def test_a_model_without_a_network_says_so(typed: Typed, synthetic_root: Path) -> None:
    refused = typed("run", "GroundPlane", "--data", synthetic_root, "--engine", "onnx")
    assert (refused.code, "has no network.py" in refused.err) == (2, True), refused.err
