"""Deployment configs: read without executing them; every key honoured, or refused with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.typed import Typed

from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.deployment.deploy_config import Profile
from admlops.deployment.deploy_keys import REFUSED, TAKEN
from admlops.deployment.deploy_reader import read_deployment
from admlops.deployment.deploy_tensors import check_tensors
from admlops.deployment.literals import read_literals
from admlops.deployment.manifest import ExportSource, Manifest, TensorInfo
from admlops.pipeline.deploy import require_data

WHOLE = Path(__file__).with_name("resnet18_5ch.py")


def nested(path: str, value: object) -> str:
    """The text of a config with one key."""
    head, *rest = path.split(".")
    text = repr(value)
    for key in reversed(rest):
        text = f"dict({key}={text})"
    return f"{head} = {text}"


def write(folder: Path, text: str) -> Path:
    path = folder / "config.py"
    path.write_text(text)
    return path


def test_a_whole_config_is_read() -> None:
    found = read_deployment(WHOLE)
    assert (found.mode, found.verify, found.device, found.save_file) == ("onnx", True, "cpu", "end2end.onnx")
    assert (found.precision, found.workspace_bytes, found.opset) == ("fp32_tf32", 2**30, 16)
    assert found.profiles == {"input": Profile(least=(1, 5, 64, 112), usual=(6, 5, 64, 112), largest=(24, 5, 64, 112))}
    assert found.dynamic_axes == {"input": {0: "batch_size"}, "output": {0: "batch_size"}}
    assert (found.evaluate, found.samples, found.models) == (True, 4, {"pytorch": None, "onnx": None})
    line = next(at for at, text in enumerate(WHOLE.read_text().splitlines(), 1) if "codebase_config" in text)
    assert f"resnet18_5ch.py:{line}: codebase_config.type: no toolbox takes part here" in found.words


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("import os\nexport = dict(mode='onnx')", 1),
        ("\nexport = dict(mode=__import__('os').system('touch PLACE'))", 2),
        ("export = dict(\n    mode='onnx',\n    work_dir=open('PLACE', 'w').name)", 3),
        ("export = dict(**globals())", 1),
        ("export = {'mode': f'{1}'}", 1),
        ("export = [one for one in ()]", 1),
        ("export = dict(mode=('a' * 10))", 1),
        ("backend_config = dict(common_config=dict(max_workspace_size=1 << 99))", 1),
        ("if True:\n    export = dict()", 1),
        ("a = b = 1", 1),
    ],
)
def test_code_is_refused_with_its_line_and_never_run(tmp_path: Path, code: str, line: int) -> None:
    path = write(tmp_path, code.replace("PLACE", str(tmp_path / "ran")))
    with pytest.raises(UsageError, match=f"config.py:{line}: .*without executing"):
        read_deployment(path)
    assert not (tmp_path / "ran").exists()


def test_literals_in_all_their_forms(tmp_path: Path) -> None:
    path = write(
        tmp_path, '"""words"""\na = dict({"x": (1, -2.5)}, )\nb = list([1 << 3, 2 * 3])\nc = dict()\nd = tuple()'
    )
    assert {name: value.plain for name, value in read_literals(path).items()} == {
        "a": {"x": [1, -2.5]},
        "b": [8, 6],
        "c": {},
        "d": [],
    }
    with pytest.raises(UsageError, match=r"config.py:2: this is not Python"):
        read_literals(write(tmp_path, "a = 1\nb = ("))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("export = dict(mode='engine')", "config.py:1: export.mode: 'engine' is not one of onnx, trt, both, none"),
        ("export = dict(mode='trt')", "runtime_io.onnx_file names none"),
        ("export = dict(mode='none')", "evaluation.enabled is not True"),
        ("export = dict(verify=1)", "export.verify: 1 is no bool"),
        ("export = dict(\n  device='gpu')", "config.py:2: export.device: 'gpu' is no device"),
        ("export = dict(modes='onnx')", "export has mode, verify, device, work_dir, onnx_path"),
        ("export = 'onnx'", "export: this is no dictionary"),
        ("extra = 1\nexport = dict()", "config.py:1: extra: no key of a deployment config"),
        ("onnx_config = dict(export_params=False)", "onnx_config.export_params: False is not done here, only True"),
        ("onnx_config = dict(simplify=False)", "bit for bit"),
        ("onnx_config = dict(save_file='../a.onnx')", "'../a.onnx' is no name of an ONNX file"),
        ("export=dict()\nruntime_io = dict(sample_idx=3)", "--tokens FILE"),
        (
            "backend_config = dict(common_config=dict(precision_policy='fp8'))",
            "precision_policy: 'fp8' is not one of auto",
        ),
        ("backend_config = dict(model_inputs=[])", "one network has one dictionary of inputs"),
        (
            nested(
                "backend_config.model_inputs",
                [{"input_shapes": {"a": {"min_shape": [2], "opt_shape": [1], "max_shape": [3]}}}],
            ),
            "min_shape ≤ opt_shape ≤ max_shape does not hold",
        ),
        ("evaluation = dict(tensorrt_model='a.engine')", "a.engine is an engine, which only the machine that built it"),
        ("evaluation = dict(num_samples=0)", "0 is less than 1"),
        ("evaluation = dict(models=dict(caffe='a'))", "the backends are pytorch, onnx, tensorrt"),
        ("codebase_config = dict(model_type='pieces')", "admlops export MODEL --form FORM"),
        ("codebase_config = dict(type='mmpretrain')", "asks for nothing"),
    ],
)
def test_a_key_that_cannot_be_honoured_is_refused_with_its_line(tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_deployment(write(tmp_path, code))
    assert words in str(refused.value)


@pytest.mark.parametrize("path", list(REFUSED))
def test_what_is_refused_says_what_to_use_instead(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_deployment(write(tmp_path, nested(path, 1)))
    assert str(refused.value).endswith(f"config.py:1: {path}: {REFUSED[path][0]}\n  → {REFUSED[path][1]}")


def test_every_key_is_documented() -> None:
    page = (find_layout().root / "docs" / "deploy.md").read_text()
    assert [key for key in (*TAKEN, *REFUSED) if f"| `{key}` |" not in page] == []
    assert not set(TAKEN) & set(REFUSED)


@pytest.mark.parametrize(
    ("policy", "precision"),
    [
        ("auto", "auto"),
        ("fp32_tf32", "fp32_tf32"),
        ("fp16", "fp16"),
        ("explicit_int8", "int8"),
        ("strongly_typed", "auto"),
    ],
)
def test_a_policy_is_a_precision(tmp_path: Path, policy: str, precision: str) -> None:
    text = f"export = dict()\ntensorrt_config = dict(precision_policy={policy!r})"
    found = read_deployment(write(tmp_path, text))
    assert found.precision == precision
    assert any("every engine is strongly typed" in word for word in found.words) == (policy == "strongly_typed")


def make_manifest() -> Manifest:
    return Manifest(
        model="CalibrationStatus",
        key="0" * 16,
        form="default",
        kind="onnx",
        precision="auto",
        file="network.onnx",
        sha256="0" * 64,
        size_bytes=1,
        opset=17,
        exporter="",
        versions={},
        source=msgspec.convert({"variant": "modern", "environment": "", "adapter": ""}, ExportSource),
        inputs=[TensorInfo(name="channels", dtype="float32", shape=["batch", 5, 64, 112])],
        outputs=[TensorInfo(name="logits", dtype="float32", shape=["batch", 2])],
        carried={},
        verdicts={},
        created="2026-01-01T00:00:00+00:00",
    )


def test_names_shapes_and_axes_are_held_to_the_file(tmp_path: Path) -> None:
    found = read_deployment(WHOLE)
    check_tensors(found, make_manifest())
    check_tensors(replace(found, input_shape=(5, 64, 112)), make_manifest())
    large = {"input": Profile(least=(1, 5, 64, 112), usual=(1, 5, 1860, 2880), largest=(1, 5, 2160, 3840))}
    short = {"input": Profile(least=(5, 64, 112), usual=(5, 64, 112), largest=(5, 64, 112))}
    for wrong, words in (
        (replace(found, inputs=("a", "b")), "2 names for 1 tensors: channels"),
        (
            replace(found, dynamic_axes={"input": {2: "height"}}),
            "axis 2 of input is no dynamic one: channels is batch×5",
        ),
        (replace(found, dynamic_axes={"depth": {0: "batch"}}), "there is no tensor called depth"),
        (replace(found, input_shape=(3, 224, 224)), "is no shape of channels"),
        (replace(found, profiles=large), "1860, 2880"),
        (replace(found, profiles=short), "[5, 64, 112] has 3 axes, and channels has 4: batch×5×64×112"),
    ):
        with pytest.raises(UsageError) as refused:
            check_tensors(wrong, make_manifest())
        assert words in refused.value.message
        assert "resnet18_5ch.py:" in refused.value.message


@pytest.mark.usefixtures("calibration_environment")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input_shape=[3, 224, 224]", "config.py:2: onnx_config.input_shape: [3, 224, 224] is no shape of channels"),
        ('input_names=["a", "b"]', "2 names for 1 tensors: channels"),
        ('dynamic_axes={"channels": {3: "width"}}', "axis 3 of channels is no dynamic one"),
    ],
)
def test_names_and_shapes_are_checked_before_anything_is_exported(
    typed: Typed, tmp_path: Path, text: str, words: str
) -> None:
    """The network itself is asked, without its weights."""
    path = write(tmp_path, f"export = dict(mode='onnx')\nonnx_config = dict({text})")
    refused = typed("deploy", path, "CalibrationStatus", "--variant", "onnx", "--weights", "random:0", "--dry-run")
    assert (refused.code, words in refused.err) == (2, True), refused.err


def test_a_pickle_of_samples_is_never_read(tmp_path: Path) -> None:
    found = replace(read_deployment(WHOLE), info_file="infos.pkl")
    with pytest.raises(UsageError, match="reading a pickle runs code") as refused:
        require_data(found, None)
    assert refused.value.hint == "pass --data DIR in its place"
    require_data(found, tmp_path)
