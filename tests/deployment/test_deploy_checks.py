"""Deployments that cannot be carried out here, or as the config says: refused with the key before anything is done."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.deployment.test_artifacts import CONTENT, keep, make_manifest
from tests.typed import Typed

from admlops.core.errors import StorageError, UsageError
from admlops.core.paths import Layout, find_layout
from admlops.deployment.artifacts import Artifact
from admlops.deployment.calibration import make_calibration
from admlops.deployment.deploy_reader import read_deployment
from admlops.deployment.manifest import Calibration, TensorInfo
from admlops.pipeline import deploy, deploy_checks
from admlops.pipeline.deploy_request import DeployRequest, engine_run, export_request, named_engine, pytorch_run
from admlops.pipeline.run_request import RunRequest

EVALUATED = "evaluation = dict(enabled=True, models=dict(onnx=None))"


def write(folder: Path, text: str) -> Path:
    path = folder / "config.py"
    path.write_text(text)
    return path


def keep_tensors(layout: Layout, precision: str, calibration: Calibration | None = None, **source: str) -> Artifact:
    """An export with the tensors of CalibrationStatus, in a precision and of a source."""
    plain = make_manifest(hashlib.sha256(f"{precision}{source}".encode()).hexdigest()[:16], **source)
    manifest = msgspec.structs.replace(
        plain,
        precision=precision,
        inputs=[TensorInfo(name="channels", dtype="float32", shape=["batch", 5, 64, 112])],
        outputs=[TensorInfo(name="logits", dtype="float32", shape=["batch", 2])],
        calibration=calibration,
    )
    return keep(layout, manifest)


def make_request(config: Path, **run: Any) -> DeployRequest:
    return DeployRequest(
        deployment=read_deployment(config), run=RunRequest(model="CalibrationStatus", data=config.parent, **run)
    )


def test_nothing_exported_means_an_earlier_export_of_the_precision(layout: Layout, tmp_path: Path) -> None:
    keep_tensors(layout, "auto", checkpoint="trained")
    half = keep_tensors(layout, "fp16", checkpoint="trained")
    policy = "backend_config = dict(common_config=dict(precision_policy='fp16'))"
    request = make_request(write(tmp_path, f"export = dict(mode='none')\n{policy}\n{EVALUATED}"))
    engine = named_engine(layout, request, "onnx", None)
    assert engine == f"onnx:{half.file.resolve()}"
    assert engine_run(request, engine).engine == engine


def test_engines_are_of_the_weights_that_the_config_names(layout: Layout, tmp_path: Path) -> None:
    keep_tensors(layout, "auto", weights="random:0")
    text = f"checkpoint_path = 'trained'\nexport = dict(mode='none')\n{EVALUATED}"
    request = make_request(write(tmp_path, text))
    assert engine_run(request, "onnx").checkpoint == "trained"
    assert export_request(request).run.checkpoint == "trained"
    with pytest.raises(UsageError, match="no single exported network of trained"):
        named_engine(layout, request, "onnx", None)
    assert pytorch_run(request).checkpoint == "trained"
    random = make_request(write(tmp_path, text), weights="random:0")
    assert engine_run(random, "onnx").checkpoint is None
    assert named_engine(layout, random, "onnx", None).endswith("network.onnx")


def test_a_file_stands_for_all_backends_that_name_none(layout: Layout, tmp_path: Path) -> None:
    made = keep_tensors(layout, "auto")
    evaluated = "evaluation = dict(enabled=True, models=dict(tensorrt=None, onnx='a.onnx'))"
    request = make_request(write(tmp_path, f"export = dict(mode='onnx')\n{evaluated}"))
    assert named_engine(layout, request, "tensorrt", made) == f"tensorrt:{made.file}"
    assert named_engine(layout, request, "onnx", made) == "onnx:a.onnx"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide this machine's GPUs."""
    monkeypatch.setattr(deploy_checks, "detect_gpus", tuple)
    monkeypatch.setattr(deploy_checks, "describe_machine", lambda: {"cpu": "a CPU", "gpus": {"devices": []}})


@pytest.mark.parametrize(
    ("text", "words", "instead"),
    [
        (
            "export = dict(mode='both')",
            "config.py:1: export.mode: TensorRT builds engines on an NVIDIA GPU, and none is visible",
            'write mode="onnx"',
        ),
        (
            "export = dict(mode='onnx')\nevaluation = dict(enabled=True,\nmodels=dict(tensorrt=None))",
            "config.py:3: evaluation.models.tensorrt: TensorRT builds engines on an NVIDIA GPU, and none is visible",
            "remove tensorrt from what is evaluated",
        ),
        (
            "export = dict(mode='onnx', verify=True,\ndevice='cuda:0')",
            "config.py:2: export.device: there is no device 'cuda:0' on this machine",
            'write device="cpu"',
        ),
        (
            "export = dict(mode='onnx')\nonnx_config = dict(\nopset_version=11)",
            "config.py:3: onnx_config.opset_version: 11 is not one of 16 to 20",
            "write opset_version=17",
        ),
        (
            "export = dict(mode='none')\nevaluation = dict(enabled=True, models=dict(onnx='/nope.onnx'))",
            "config.py:2: evaluation.models.onnx: /nope.onnx is no file",
            "admlops exported list",
        ),
        (
            "export = dict(mode='none')\nevaluation = dict(enabled=True, models=dict(pytorch='/nope.pth'))",
            "config.py:2: evaluation.models.pytorch: /nope.pth is neither a file nor weights of CalibrationStatus",
            "admlops checkpoints list CalibrationStatus",
        ),
        (
            "checkpoint_path = '/nope.pth'\nexport = dict(mode='onnx')",
            "config.py:1: checkpoint_path: /nope.pth is neither a file nor weights of CalibrationStatus",
            "admlops checkpoints list CalibrationStatus",
        ),
        (
            f"export = dict(mode='none')\n{EVALUATED}",
            "config.py:2: evaluation.models.onnx: CalibrationStatus has no exported network for --engine onnx",
            "admlops export CalibrationStatus --to onnx",
        ),
        (
            f"export = dict(mode='onnx', work_dir='{'a' * 300}')",
            "config.py:1: export.work_dir: aaa",
            "ls -ld .",
        ),
        (
            f"export = dict(mode='none')\nevaluation = dict(enabled=True, models=dict(onnx='/{'a' * 300}.onnx'))",
            "config.py:2: evaluation.models.onnx: /aaa",
            "admlops exported list",
        ),
    ],
)
@pytest.mark.usefixtures("no_gpu")
def test_what_cannot_be_done_here_is_refused_before_anything_is(
    typed: Typed, tmp_path: Path, synthetic_root: Path, text: str, words: str, instead: str
) -> None:
    for options in ((), ("--dry-run",)):
        refused = typed("deploy", write(tmp_path, text), "CalibrationStatus", "--data", synthetic_root, *options)
        assert (refused.code, words in refused.err, f"→ {instead}" in refused.err) == (2, True, True), refused.err
    assert not (tmp_path / "repository" / "exported").exists()


def test_options_of_an_export_are_refused_where_there_is_none(
    typed: Typed, tmp_path: Path, synthetic_root: Path
) -> None:
    config = write(tmp_path, f"export = dict(mode='none')\n{EVALUATED}")
    for option in (("--fresh",), ("--calibrate", "mini_val")):
        refused = typed("deploy", config, "CalibrationStatus", "--data", synthetic_root, *option)
        assert (refused.code, f"leave {' '.join(option)} out" in refused.err) == (2, True), refused.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "backend_config = dict(common_config=dict(precision_policy='fp16'))",
            "config.py:3: backend_config.common_config.precision_policy: fp16, and",
        ),
        ("onnx_config = dict(input_names=['a', 'b'])", "config.py:3: onnx_config.input_names: 2 names for 1 tensors"),
        ("onnx_config = dict(input_shape=[3, 224, 224])", "config.py:3: onnx_config.input_shape: [3, 224, 224] is no"),
    ],
)
def test_a_file_that_is_named_is_held_to_the_config(
    typed: Typed, tmp_path: Path, synthetic_root: Path, text: str, words: str
) -> None:
    made = keep_tensors(find_layout(), "auto")
    models = f"evaluation = dict(enabled=True, models=dict(onnx={str(made.file)!r}))"
    config = write(tmp_path, f"export = dict(mode='none')\n{models}\n{text}")
    refused = typed("deploy", config, "CalibrationStatus", "--data", synthetic_root, "--dry-run")
    assert (refused.code, words in refused.err) == (2, True), refused.err
    (made.folder / "manifest.json").unlink()
    planned = typed("deploy", config, "CalibrationStatus", "--data", synthetic_root, "--dry-run")
    assert (planned.code, "no manifest lies beside it" in planned.err) == (0, True), planned.err


def test_int8_without_samples_is_refused(typed: Typed, tmp_path: Path, synthetic_root: Path) -> None:
    text = "export = dict(mode='onnx')\ntensorrt_config = dict(precision_policy='explicit_int8')"
    refused = typed("deploy", write(tmp_path, text), "CalibrationStatus", "--data", synthetic_root, "--dry-run")
    assert (refused.code, "--dry-run --calibrate mini_val" in refused.err) == (2, True), refused.err


def test_int8_is_not_judged_on_the_samples_of_its_ranges(typed: Typed, tmp_path: Path, synthetic_root: Path) -> None:
    text = f"export = dict(mode='onnx')\ntensorrt_config = dict(precision_policy='int8')\n{EVALUATED}"
    config = write(tmp_path, text)
    options = ("CalibrationStatus", "--data", synthetic_root, "--weights", "random:0", "--calibrate", "mini_val")
    for dry_run in ((), ("--dry-run",)):
        refused = typed("deploy", config, *options, *dry_run)
        assert refused.code == 2
        assert (
            "config.py:2: tensorrt_config.precision_policy: 8 of the 8 samples of --calibrate mini_val" in refused.err
        )
    assert not (tmp_path / "repository" / "exported").exists()


def test_an_int8_file_is_not_judged_on_the_samples_of_its_ranges(
    typed: Typed, tmp_path: Path, synthetic_root: Path, synthetic_data: Any
) -> None:
    samples = synthetic_data.scenes()[0].samples
    made = keep_tensors(find_layout(), "int8", make_calibration(str(synthetic_root), "v1.0-mini", samples))
    models = f"evaluation = dict(enabled=True,\nmodels=dict(onnx={str(made.file)!r}))"
    config = write(tmp_path, f"export = dict(mode='none')\n{models}")
    refused = typed("deploy", config, "CalibrationStatus", "--data", synthetic_root, "--dry-run")
    assert refused.code == 2
    assert "config.py:3: evaluation.models.onnx: CalibrationStatus/" in refused.err
    assert f"{len(samples)} of these samples are among" in refused.err


def test_a_copy_that_fails_leaves_nothing_half_written(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    (work_dir / "network.onnx").write_bytes(b"an earlier one")
    deployment = read_deployment(write(tmp_path, f"export = dict(mode='onnx', work_dir={str(work_dir)!r})"))
    made, copy = keep_tensors(layout, "auto"), shutil.copyfile

    def fill_the_disk(source: Path, target: str) -> None:
        if Path(source).name == "manifest.json":
            Path(target).write_bytes(b"hal")
            raise OSError(errno.ENOSPC, "No space left on device")
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", fill_the_disk)
    with pytest.raises(StorageError, match="No space left on device"):
        deploy._copy(deployment, made, print)
    assert [path.name for path in work_dir.iterdir()] == ["network.onnx"]
    assert (work_dir / "network.onnx").read_bytes() == b"an earlier one"
    monkeypatch.undo()
    assert deploy._copy(deployment, made, print) == work_dir / "network.onnx"
    assert (work_dir / "network.onnx").read_bytes() == CONTENT
    assert sorted(path.name for path in work_dir.iterdir()) == ["manifest.json", "network.onnx"]
