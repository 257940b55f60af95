"""Files of other precisions: what is refused at once; and CalibrationStatus in fp16 and int8, written by ModelOpt."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.deployment.test_artifacts import make_manifest
from tests.typed import Typed

from admlops.catalog import load_model
from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.core.processes import run
from admlops.datasets.base import open_data
from admlops.deployment.calibration import make_calibration, require_apart
from admlops.environments import Environment, find_model
from admlops.pipeline.write_precision import Wanted

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import onnx
from worker.write_precision import require_precision
try:
    require_precision(onnx.load(sys.argv[2]), sys.argv[3])
except ValueError as error:
    print(error.fault, error)
"""


def test_calibration_samples_are_kept_apart_from_those_that_are_judged() -> None:
    plain = make_manifest("a" * 16)
    require_apart(None, ["one"])
    require_apart(plain, ["one"])
    own = msgspec.structs.replace(plain, calibration=make_calibration("data", "v1.0-mini", ["one", "two"]))
    require_apart(own, ["three"])
    with pytest.raises(UsageError, match=r"1 of these samples are among the 2 that its int8 ranges.*such as two"):
        require_apart(own, ["three", "two"])


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_float32_file_is_not_called_otherwise(
    onnx_tool: Environment, small_classifier: object, tmp_path: Path, precision: str
) -> None:
    assert callable(small_classifier)
    file = small_classifier("small.onnx")
    command = [onnx_tool.python, "-c", PROGRAM, find_layout().root / "runners", file, precision]
    said = run(command, variables=onnx_tool.variables, timeout_s=120)
    assert said.stdout == (
        f"precision the file is fp32, and {precision} was asked for: none of its tensors is {precision}\n"
    ), said.stderr


def test_samples_are_of_int8_alone(typed: Typed, synthetic_root: Path) -> None:
    options = ("--precision", "fp16", "--calibrate", "train", "--data", synthetic_root)
    refused = typed("export", "CalibrationStatus", *options)
    assert (refused.code, "--calibrate train is of int8 alone" in refused.err) == (2, True), refused.err


@pytest.mark.usefixtures("calibration_environment")
@pytest.mark.parametrize("command", [("export",), ("export", "--dry-run")])
def test_a_wrong_split_is_noticed_before_anything_is_exported(
    typed: Typed, synthetic_root: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    name, *more = command
    options = ("--precision", "int8", "--calibrate", "mini_tarin", "--data", synthetic_root, "--weights", "random:0")
    refused = typed(name, "CalibrationStatus", "--variant", "onnx", *options, *more)
    assert (refused.code, "mini_tarin" in refused.err) == (2, True), refused.err
    assert not (tmp_path / "repository" / "exported").exists()
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("0" * 32 + "\n")
    unknown = typed(name, "CalibrationStatus", "--variant", "onnx", *options, "--calibrate", tokens, *more)
    assert (unknown.code, "has no sample" in unknown.err) == (2, True), unknown.err


def test_a_splits_name_goes_before_a_folders(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini_val").mkdir()
    data = open_data(synthetic_root)
    chosen = Wanted(precision="int8", calibrate="mini_val", samples=2).select(data, temporal=False)
    assert [token for scene in chosen for token in scene.samples] == list(
        data.scenes_of_split("mini_val")[0].samples[:2]
    )
    (tmp_path / "tokens").write_text(data.scenes()[0].samples[1] + "\n")
    named = Wanted(precision="int8", calibrate="tokens").select(data, temporal=False)
    assert [len(scene.samples) for scene in named] == [1]
    (tmp_path / "empty").touch()
    for calibrate, words in (
        ("mini_tarin", "--calibrate 'mini_tarin' is neither a split of"),
        ("./nowhere.txt", "--calibrate './nowhere.txt' is neither a split of"),
        ("", "--calibrate '' is neither a split of"),
        ("empty", "--calibrate empty holds no sample token"),
    ):
        with pytest.raises(UsageError, match=re.escape(words)) as refused:
            Wanted(precision="int8", calibrate=calibrate).select(data, temporal=False)
        assert "--split" not in refused.value.hint + refused.value.message
        assert "--tokens" not in refused.value.hint + refused.value.message


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_classifier_in_half_and_in_eighth(typed: Typed, synthetic_root: Path, tmp_path: Path) -> None:
    """Both give nearly what the float32 file does, and int8 is judged on other samples."""
    if find_model(find_layout(), load_model(find_layout(), "CalibrationStatus"), "modern") is None:
        pytest.skip("needs PyTorch: admlops env install CalibrationStatus")
    own = ("--weights", "random:0", "--json")
    exported = [typed("export", "CalibrationStatus", *own)]
    exported.append(typed("export", "CalibrationStatus", *own, "--precision", "fp16"))
    calibrate = ("--precision", "int8", "--calibrate", "all", "--calibration-samples", "2", "--data", synthetic_root)
    exported.append(typed("export", "CalibrationStatus", *own, *calibrate))
    assert [one.code for one in exported] == [0, 0, 0], exported[-1].err
    plain, half, eighth = (json.loads(one.out) for one in exported)
    assert (half["precision"], eighth["precision"], len(eighth["calibration"]["samples"])) == ("fp16", "int8", 2)
    assert half["size_bytes"] < 0.6 * plain["size_bytes"]
    assert eighth["verdicts"]["operators"]["QuantizeLinear"] > 10
    assert 0 < half["verdicts"]["largest_difference"]["logits"] < 0.01
    assert 0 < eighth["verdicts"]["largest_difference"]["logits"] < 0.2
    base = ("run", "CalibrationStatus", "--weights", "random:0", "--device", "cpu", "--data", synthetic_root)
    for words in ((), ("--dry-run",)):
        refused = typed(*base, "--split", "all", "--engine", "onnx:int8", *words)
        assert (refused.code, "its int8 ranges were taken from" in refused.err) == (2, True), refused.err
    scores = {}
    for engine in ("onnx", "onnx:fp16", "onnx:int8"):
        name = engine.replace(":", "-")
        ran = typed(*base, "--scene", "scene-0916", "--limit", "2", "--engine", engine, "--run", name)
        assert ran.code == 0, ran.err
        folder = tmp_path / "repository" / "runs" / name / "records"
        lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
        records = [json.loads(line) for line in lines]
        scores[engine] = [one["score"] for record in records for one in record["calibration_status"]]
    assert len(scores["onnx"]) == 24
    np.testing.assert_allclose(scores["onnx:fp16"], scores["onnx"], atol=5e-3)
    np.testing.assert_allclose(scores["onnx:int8"], scores["onnx"], atol=5e-2)
    assert scores["onnx:int8"] != scores["onnx"] != scores["onnx:fp16"]
