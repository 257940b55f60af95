"""A deployment config carried out: exported, copied, verified and evaluated, in PyTorch and by ONNX Runtime."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.typed import Typed

from admlops.catalog import load_model
from admlops.core.paths import find_layout
from admlops.core.storage import file_sha256
from admlops.environments import find_model

WHOLE = Path(__file__).with_name("resnet18_5ch.py")
BASE = ("CalibrationStatus", "--weights", "random:0", "--json")


@pytest.fixture(autouse=True)
def needs_pytorch() -> None:
    if find_model(find_layout(), load_model(find_layout(), "CalibrationStatus"), "modern") is None:
        pytest.skip("needs PyTorch: admlops env install CalibrationStatus")


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_config_is_carried_out(typed: Typed, synthetic_root: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    work_dir = f"export = dict(work_dir={str(tmp_path / 'work')!r}, "
    config.write_text(WHOLE.read_text().replace("export = dict(", work_dir))
    options = (*BASE, "--data", synthetic_root, "--scene", "scene-0103")
    planned = typed("deploy", config, *options, "--dry-run")
    actions = [step["action"] for step in json.loads(planned.out)["steps"] if step["action"] not in ("note", "build")]
    assert actions == ["export", "write", "copy to", "verify", "evaluate", "evaluate"], planned.err
    assert not (tmp_path / "work").exists()
    done = typed("deploy", config, *options)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert file_sha256(Path(found["copy"])) == file_sha256(Path(found["file"]))
    assert Path(found["copy"]) == tmp_path / "work" / "end2end.onnx"
    (verified,) = found["verified"].values()
    assert [step["verdict"] for step in verified["steps"]][:3] == ["passed"] * 3
    accuracies = [
        next(one["value"] for one in entry["metrics"]["metrics"] if one["name"] == "accuracy")
        for entry in found["evaluated"].values()
    ]
    assert list(found["evaluated"]) == ["pytorch", "onnx"]
    assert accuracies[0] == accuracies[1]
    assert re.search(r"config.py:\d+: codebase_config.type: no toolbox takes part here", done.err)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_shape_that_the_network_does_not_take_is_refused(typed: Typed, synthetic_root: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text('export = dict(mode="onnx")\n\nonnx_config = dict(\n    input_shape=[3, 224, 224],\n)\n')
    refused = typed("deploy", config, *BASE, "--data", synthetic_root)
    assert refused.code == 2
    assert "config.py:4: onnx_config.input_shape: [3, 224, 224] is no shape of channels" in refused.err
