"""Deployment configs as a whole: input that is none, keys that contradict each other, keys without an effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.deployment.deploy_reader import read_deployment

EVALUATED = "evaluation = dict(enabled=True, models=dict(onnx=None))"
PYTORCH_ALONE = "evaluation = dict(enabled=True, models=dict(pytorch=None))"


def write(folder: Path, text: str) -> Path:
    path = folder / "config.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "export = dict()\n\nexport = dict()",
            "config.py:3: export: this is the second value, and line 1 has the first",
        ),
        (
            "export = {\n'mode': 'onnx',\n'mode': 'none'}",
            "config.py:3: export.mode: this is the second value, and line 2",
        ),
        (
            f"export = dict()\nonnx_config = dict(opset_version={'+'.join('1' * 600)})",
            "py:2: onnx_config.opset_version: ",
        ),
        (f"export = dict()\nonnx_config = dict(opset_version={'+'.join('1' * 2500)})", "config.py:2: "),
        (f"export = dict()\n{'+'.join('1' * 2500)}", "config.py:2: "),
        (f"export = {'[' * 90}{']' * 90}", "config.py:1: export: this lies more than 32 deep"),
        (
            "export = dict(\nwork_dir='a\\0b')",
            "config.py:2: export.work_dir: 'a\\x00b' has a NUL or half of a surrogate",
        ),
        (
            "export = dict(\nwork_dir='\\ud800')",
            "config.py:2: export.work_dir: '\\ud800' has a NUL or half of a surrogate",
        ),
        ("export = {'\\ud800': 1}", "config.py:1: export: '\\ud800' has"),
        (
            "export = dict(work_dir='~nobody-has-this-name/a')",
            "export.work_dir: '~nobody-has-this-name/a': nobody here",
        ),
        ("export = dict(device='cuda:\u00b2')", "export.device: 'cuda:\u00b2' is no device"),
        ("export = dict()\nonnx_config = dict(save_file='" + "a" * 250 + ".onnx')", "is no name of an ONNX file"),
        ("export = dict()\nonnx_config = dict(input_names=['a', 'a'])", "'a' names two tensors"),
        ("checkpoint_path = ''\nexport = dict()", "config.py:1: checkpoint_path: '' names no weights"),
    ],
)
def test_input_that_is_no_config_is_refused_with_its_line(tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_deployment(write(tmp_path, code))
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "evaluation = dict(\nonnx_model='a.onnx',\nmodels=dict(onnx=None))",
            "config.py:3: evaluation.models.onnx: None, and evaluation.onnx_model in line 2 says 'a.onnx'",
        ),
        (
            "evaluation = dict(models=dict(onnx='b.onnx'),\nonnx_model='a.onnx')",
            "config.py:2: evaluation.onnx_model: 'a.onnx', and evaluation.models.onnx in line 1 says 'b.onnx'",
        ),
        (
            "evaluation = dict(onnx_model='a.onnx',\nmodels_to_evaluate=['pytorch'])",
            "config.py:1: evaluation.onnx_model: evaluation.models_to_evaluate in line 2 leaves onnx out",
        ),
        ("evaluation = dict(models_to_evaluate=[])", "evaluation.models_to_evaluate: this names no backend"),
        ("evaluation = dict(models_to_evaluate=[['onnx']])", "the backends are pytorch, onnx, tensorrt"),
        ("evaluation = dict(models=dict(onnx='a.pt'))", "config.py:1: evaluation.models.onnx: a.pt is no ONNX file"),
        ("evaluation = dict(models=dict(onnx=''))", "evaluation.models.onnx: '' is no path"),
        (
            "export = dict(verify=True)\nverification = dict(enabled=False)",
            "config.py:2: verification.enabled: False, and export.verify in line 1 says True",
        ),
        (
            "export = dict(mode='trt', onnx_path='a.onnx')\nruntime_io = dict(onnx_file='b.onnx')",
            "config.py:2: runtime_io.onnx_file: 'b.onnx', and export.onnx_path in line 1 says 'a.onnx'",
        ),
        (
            "export = dict(mode='trt', verify=True, onnx_path='a.engine')",
            "export.onnx_path: 'a.engine' is no ONNX file",
        ),
        (
            "export = dict(mode='trt', onnx_path='a.onnx')",
            'export.mode: "trt" builds an engine to verify or evaluate it',
        ),
        (
            "export = dict(mode='onnx', onnx_path='a.onnx')",
            'export.onnx_path: export.mode="onnx" exports a file of its own',
        ),
        (
            "export = dict(mode='none')\nruntime_io = dict(onnx_file='a.onnx')\nevaluation = dict(enabled=True)",
            'config.py:2: runtime_io.onnx_file: export.mode="none" takes the files of evaluation.models',
        ),
        (
            "export = dict(mode='none')\nevaluation = dict(enabled=True)",
            'config.py:2: evaluation.enabled: export.mode="none" makes no engine, and evaluation.models names none',
        ),
        (
            "export = dict(mode='none',\nverify=True)\nevaluation = dict(enabled=True, models=dict(pytorch=None))",
            "config.py:2: export.verify: engines are held against PyTorch, and evaluation.models names no engine",
        ),
        (
            "export = dict(mode='both')\nbackend_config = dict(type='onnxruntime')",
            'config.py:2: backend_config.type: "onnxruntime", and export.mode="both" makes engines of TensorRT',
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused_with_their_lines(tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_deployment(write(tmp_path, code))
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            f"export = dict(mode='none', work_dir='a')\nonnx_config = dict(opset_version=18)\n{EVALUATED}",
            [
                'config.py:1: export.work_dir: no effect: export.mode="none" exports nothing',
                'config.py:2: onnx_config.opset_version: no effect: export.mode="none" exports nothing',
            ],
        ),
        (
            f"export = dict(mode='none')\nonnx_config = dict(input_names=['a'])\n{PYTORCH_ALONE}",
            ["config.py:2: onnx_config.input_names: no effect: there is no engine, PyTorch alone is run"],
        ),
        (
            """export = dict(mode='onnx', device='cuda:0')
evaluation = dict(num_samples=2, models_to_evaluate=['onnx'])
onnx_config = dict(save_file='a.onnx')
verification = dict(num_verify_samples=5)""",
            [
                "config.py:1: export.device: no effect: nothing is verified or evaluated, and exports are on the CPU",
                "config.py:2: evaluation.num_samples: no effect: nothing is verified or evaluated",
                "config.py:2: evaluation.models_to_evaluate: no effect: evaluation.enabled is not True",
                "config.py:3: onnx_config.save_file: no effect: there is no export.work_dir to copy to",
                "config.py:4: verification.num_verify_samples: no effect: no engine is verified",
            ],
        ),
        (
            "export = dict(mode='both')",
            [
                "config.py:1: export.mode: only the ONNX file is made: TensorRT builds engines to verify or evaluate",
            ],
        ),
        ("export = dict(mode='onnx', verify=True, device='cpu', work_dir='a')", []),
    ],
)
def test_a_key_without_an_effect_is_said(tmp_path: Path, code: str, words: list[str]) -> None:
    assert sorted(read_deployment(write(tmp_path, code)).words) == sorted(words)


def test_backends_are_a_list_or_have_files(tmp_path: Path) -> None:
    text = "evaluation = dict(enabled=True, models_to_evaluate=['pytorch', 'onnx'], onnx_model='a.onnx')"
    found = read_deployment(write(tmp_path, text))
    assert found.models == {"pytorch": None, "onnx": "a.onnx"}
    assert found.evaluated == ("pytorch", "onnx")
    nothing_made = "export = dict(mode='none', verify=True)\nevaluation = dict(models=dict(pytorch=None, onnx=None))"
    assert read_deployment(write(tmp_path, nothing_made)).verified == ("onnx",)


def test_a_name_that_is_unknown_is_answered_with_all_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        read_deployment(write(tmp_path, "exports = dict()"))
    assert all(
        section in refused.value.message for section in ("checkpoint_path", "export,", "evaluation", "onnx_config")
    )
    with pytest.raises(UsageError, match="backend_config has type, model_inputs, common_config"):
        read_deployment(write(tmp_path, "backend_config = dict(max_workspace_size=1)"))


def test_the_page_has_a_whole_file(tmp_path: Path) -> None:
    page = (find_layout().root / "docs" / "deploy.md").read_text()
    whole, more = (block.partition("```")[0] for block in page.split("```python\n")[1:])
    found = read_deployment(write(tmp_path, whole))
    assert (found.mode, found.verify, found.evaluated, found.words) == ("onnx", True, ("pytorch", "onnx"), ())
    assert read_deployment(write(tmp_path, "export = dict(verify=True)\n" + more)).words == ()
