"""What tests of exported networks share: the environments without PyTorch, and small ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.typed import typed

from admlops.catalog import load_model
from admlops.core.errors import EnvError
from admlops.core.paths import Layout, find_layout
from admlops.core.processes import run
from admlops.environments import Environment, ensure_model, ensure_tool

__all__ = ["typed"]

MakeFile = Callable[..., Path]


@pytest.fixture(scope="session")
def onnx_tool() -> Environment:
    """The environment tools/onnx, built if it must be."""
    return _build_or_skip(lambda layout: ensure_tool(layout, "onnx", say=print))


@pytest.fixture(scope="session")
def calibration_environment() -> Environment:
    """CalibrationStatus without PyTorch, built if it must be."""
    return _build_or_skip(
        lambda layout: ensure_model(layout, load_model(layout, "CalibrationStatus"), "onnx", say=print)
    )


@pytest.fixture
def small_classifier(onnx_tool: Environment, tmp_path: Path) -> MakeFile:
    """Make an ONNX file with CalibrationStatus's inputs and outputs: `small_classifier("a.onnx", 0.5)`."""

    def make(name: str, *options: object) -> Path:
        program = Path(__file__).with_name("small_classifier.py")
        file = tmp_path / name
        completed = run(
            [onnx_tool.python, program, file, *(str(option) for option in options)],
            variables=onnx_tool.variables,
            timeout_s=120,
        )
        assert completed.returncode == 0, completed.stderr
        return file

    return make


def _build_or_skip(build: Callable[[Layout], Environment]) -> Environment:
    try:
        return build(find_layout())
    except EnvError as error:
        if "cannot be reached" in error.message:
            pytest.skip(f"needs the package index once, to build an environment: {error.message.splitlines()[0]}")
        raise
