"""Interpreters that have torch: of the environments that are built here, and those that a variable names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from admlops.catalog import load_model
from admlops.core.paths import find_layout
from admlops.environments import find_model


def torch_pythons() -> list[Path]:
    """The interpreters of MapTR's variants that are built, and those of ADMLOPS_TEST_TORCH_PYTHONS."""
    named = [Path(one) for one in os.environ.get("ADMLOPS_TEST_TORCH_PYTHONS", "").split(os.pathsep) if one]
    layout = find_layout()
    model = load_model(layout, "MapTR")
    built = [find_model(layout, model, variant) for variant in model.variants]
    return [*named, *(one.python for one in built if one is not None)]


def torch_pythons_or_skip() -> list[Path]:
    """As `torch_pythons`; skips the test where there is none."""
    pythons = torch_pythons()
    if not pythons:
        pytest.skip("needs an environment with torch: admlops env install MapTR, or ADMLOPS_TEST_TORCH_PYTHONS=PYTHON")
    return pythons
