"""Weights of one's own that are refused come out as tensors alone, and nothing around them is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from tests.checkpoints.torch_files import (
    STORAGES,
    Tensor,
    checkpoint,
    pickled,
    write_legacy,
    write_safetensors,
    write_zip,
)
from tests.checkpoints.torch_pythons import torch_pythons_or_skip

from admlops.checkpoints import extract, inspect
from admlops.core.errors import CheckpointError, UsageError


class Runs:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch canary",)


class Layer:
    """As torch.nn.Module keeps its tensors and modules."""

    def __init__(self, **parts: Any) -> None:
        self._parameters = OrderedDict((name, one) for name, one in parts.items() if isinstance(one, Tensor))
        self._buffers: OrderedDict[str, Any] = OrderedDict(steps=None)
        self._modules = OrderedDict((name, one) for name, one in parts.items() if isinstance(one, Layer))
        self.hook = Runs()


def network() -> Layer:
    return Layer(backbone=Layer(weight=Tensor("0", 4, 3)), head=Layer(linear=Layer(bias=Tensor("94367480112", 4))))


CONTENTS = {
    "beside code": ({**checkpoint(), "hook": Runs()}, ["backbone.bias", "backbone.weight"]),
    "a whole network": (network(), ["backbone.weight", "head.linear.bias"]),
    "a network among others": (
        {"epoch": 3, "model": network(), "hook": Runs()},
        ["backbone.weight", "head.linear.bias"],
    ),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize("name", CONTENTS)
def test_tensors_come_out_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Any, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    content, names = CONTENTS[name]
    file = write(tmp_path / "own.pth", pickled(content, protocol), STORAGES)
    with pytest.raises(CheckpointError) as raised:
        inspect(file)
    assert f"admlops checkpoints extract {file} weights.safetensors" in raised.value.hint
    done = extract(file, tmp_path / "weights.bin")
    assert done.tensors == 2
    seen = inspect(tmp_path / "weights.bin", whole=True)
    assert (seen.format, sorted(seen.weights.tensors)) == ("safetensors", names)
    plain = write(tmp_path / "plain.pth", pickled({"state_dict": tensors_of(names)}), STORAGES)
    assert seen.tensors_sha256 == inspect(plain, whole=True).tensors_sha256
    assert not (tmp_path / "canary").exists()
    assert not list(tmp_path.glob(".*"))


def tensors_of(names: list[str]) -> dict[str, Tensor]:
    return {name: Tensor("0", 4, 3) if name.endswith("weight") else Tensor("94367480112", 4) for name in names}


def test_what_has_no_weights_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    file = write_zip(tmp_path / "own.pth", pickled({"hook": Runs()}), {})
    with pytest.raises(CheckpointError, match="has no weights to extract"):
        extract(file, tmp_path / "out.safetensors")
    page = tmp_path / "page.pth"
    page.write_text("<html><title>Gone</title></html>")
    with pytest.raises(CheckpointError, match="is no checkpoint: it is a web page"):
        extract(page, tmp_path / "out.safetensors")
    with pytest.raises(UsageError, match="is there already"):
        extract(file, page)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.full
def test_a_whole_network_of_torch(tmp_path: Path) -> None:
    program = (
        "import sys, torch; torch.manual_seed(0); "
        "net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)); "
        "torch.save({'model': net, 'epoch': 1}, sys.argv[1] + '/whole.pt'); "
        "torch.save(net, sys.argv[1] + '/old.pt', _use_new_zipfile_serialization=False); "
        "torch.save(net.state_dict(), sys.argv[1] + '/plain.pt')"
    )
    for index, python in enumerate(torch_pythons_or_skip()):
        folder = tmp_path / str(index)
        folder.mkdir()
        subprocess.run([python, "-c", program, folder], check=True)
        wanted = inspect(folder / "plain.pt", whole=True).tensors_sha256
        for name in ("whole", "old"):
            with pytest.raises(CheckpointError, match="a whole network was saved"):
                inspect(folder / f"{name}.pt")
            extract(folder / f"{name}.pt", folder / f"{name}.safetensors")
            assert inspect(folder / f"{name}.safetensors", whole=True).tensors_sha256 == wanted


@pytest.mark.full
def test_the_commands(tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "admlops", "checkpoints", *map(str, arguments)]
        environment = {**os.environ, "ADMLOPS_REP_PATH": str(tmp_path / "repository"), "COLUMNS": "200"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    file = write_zip(tmp_path / "own.pth", pickled({**checkpoint(), "hook": Runs()}), STORAGES)
    refused = run("inspect", file)
    assert refused.returncode == 2
    assert "names posix.system" in refused.stderr
    assert f"admlops checkpoints extract {file} weights.safetensors" in refused.stderr
    out = tmp_path / "weights.safetensors"
    assert run("extract", file, out).stdout == f"{out}: 2 tensors\n"
    facts = json.loads(run("inspect", out, "--json").stdout)
    assert (facts["format"], facts["weights"], facts["kinds"]) == ("safetensors", 2, ["Float"])
    assert (facts["is"], facts["fits"], facts["trained_with"]) == ([], [], None)
    assert "left aside" in run("inspect", out).stdout
    assert run("inspect", tmp_path / "absent.pth").returncode == 2


def test_the_worker_and_the_host_agree_on_what_is_safetensors(tmp_path: Path) -> None:
    from admlops.checkpoints.safetensors import is_safetensors
    from admlops.worker.mmlab.common.checkpoint_file import is_safetensors as worker_says

    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    files = [
        write_safetensors(tmp_path / "a.pth", header, b"\0" * 8),
        write_zip(tmp_path / "b.safetensors", pickled(checkpoint()), STORAGES),
        write_legacy(tmp_path / "c.safetensors", pickled(checkpoint()), STORAGES),
    ]
    said = [is_safetensors(file.read_bytes()[:9]) for file in files]
    assert said == [worker_says(str(file)) for file in files] == [True, False, False]
