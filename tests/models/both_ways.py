"""A model by its adapter and by upstream's own way: what the tests of the five models share.

Each way is a program beside this file that runs in the model's environment, such as `maptr_ours.py` and
`maptr_upstream.py`. What these programs share is in `inside_model.py`.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import Admlops
from tests.models.fidelity_compare import largest
from tests.patience import run_patiently

from admlops.catalog import load_model
from admlops.core.errors import AdmlopsError
from admlops.core.paths import find_layout
from admlops.core.processes import process_environment
from admlops.environments import Environment, find_model

HERE = Path(__file__).parent
LAYOUT = find_layout()
VARIANTS = ("modern", "classic")
TOLERANCE = 1e-4
"""The largest absolute difference between the adapter's and upstream's outputs: metres, m/s, radians, pixels, logits or
scores."""
SEED = 3
"""Of the random weights and, in docs/fidelity.md, of all models."""
PROGRAM_TIMEOUT_S = 1700.0

Arrays = Mapping[str, NDArray[Any]]


def find_environment(model: str, variant: str) -> Environment:
    """The variant's environment, or a skip that says how to have it, or the model's source."""
    described = load_model(LAYOUT, model)
    source = LAYOUT.submodules / (described.source.folder or model)
    if described.source.kind == "git" and not (source.is_dir() and any(source.iterdir())):
        pytest.skip(f"{model}'s source is not checked out: admlops sources fetch {model}")
    try:
        found = find_model(LAYOUT, described, variant)
    except AdmlopsError as error:
        pytest.skip(str(error))
    if found is None:
        pytest.skip(f"{model}'s {variant} environment is not built: admlops env install {model} --variant {variant}")
    return found


def run_inside(environment: Environment, program: str, wanted: Mapping[str, Any]) -> str:
    """Run a program of this folder in a model's environment; it gets `wanted` as JSON. Returns what it prints.

    Raises:
        RuntimeError: it failed; the message ends as its standard error does.
    """
    command = [environment.python, HERE / program, json.dumps(wanted)]
    done = run_patiently(command, timeout_s=PROGRAM_TIMEOUT_S, env=process_environment(environment.variables))
    if done.returncode:
        raise RuntimeError(f"{program} failed in {environment.name}:\n{done.stderr[-3000:]}")
    return done.stdout


def run_both_ways(environment: Environment, name: str, folder: Path, wanted: Mapping[str, Any]) -> tuple[Any, Any]:
    """The arrays that NAME_ours.py and NAME_upstream.py write to `folder`, in this order, for one random checkpoint."""
    common = {"checkpoint": str(folder / "random.pth"), "draw": SEED, "folder": str(folder)}
    for way in ("ours", "upstream"):
        run_inside(environment, f"{name}_{way}.py", {**common, **wanted})
    return np.load(folder / "ours.npz"), np.load(folder / "upstream.npz")


def run_model(
    admlops: Admlops, model: str, data: Path, *options: str | Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """`admlops run` on the CPU: its own deadlines know a worker that computes there from one that hangs."""
    arguments = ("run", model, "--data", data, "--device", "cpu", *options)
    return admlops(*arguments, check=check, timeout_s=2 * PROGRAM_TIMEOUT_S)


def run_two_samples(admlops: Admlops, model: str, variant: str, data: Path, *options: str) -> str:
    """Let `admlops run` do a data set's first two samples with random weights; what it says on standard error."""
    find_environment(model, variant)
    settings = ("--limit", "2", "--variant", variant, "--weights", "random:0", *options)
    done = run_model(admlops, model, data, *settings)
    assert "the weights are random" in done.stderr
    assert "2 samples ok" in done.stdout
    return done.stderr


def differences(ours: Arrays, theirs: Arrays) -> dict[str, float]:
    """The largest absolute difference of every array, over all samples where names begin with `<sample>/`."""
    assert set(ours) == set(theirs)
    found: dict[str, float] = {}
    for key in theirs:
        name = key.rpartition("/")[2]
        found[name] = max(found.get(name, 0.0), largest(ours[key], theirs[key]))
    return found


def load_module(model: str, name: str = "demo") -> ModuleType:
    """A module of the adapter's folder; none imports anything heavy until a model is loaded."""
    spec = importlib.util.spec_from_file_location(f"{model}_{name}", LAYOUT.envs / model / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module
