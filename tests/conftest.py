"""What many tests need: a small synthetic data set, a layout, the command, the environments.

The data set and the environments are made once and shared by the parallel workers of one test run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from tests.forked_starts import ForkServer, forked_starts, started_for_real
from tests.patience import run_patiently, set_patient_timer
from tests.s3_server import s3, s3_python

from admlops.catalog import load_model
from admlops.core.errors import EnvError
from admlops.core.paths import Layout, find_layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.environments import Environment, ensure_model, ensure_official

if TYPE_CHECKING:
    from pytest_timeout import Settings  # type: ignore[import-untyped]
    from tests.conda_channel.channel import CondaChannel
    from tests.noisy_runs import NoisyRuns

    from admlops.synthetic.openlane_writer import OpenLaneOptions

__all__ = ["s3", "s3_python"]  # fixtures

Admlops = Callable[..., "subprocess.CompletedProcess[str]"]
OpenLaneScenes = Callable[["OpenLaneOptions"], Path]

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of a thousand processes compiles the modules it imports

# A busy machine is slow, and no test judges time.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

LONG_MODULES = (
    "test_readme.py",
    "environments/test_conda_build.py",
    "environments/test_pack_commands.py",
    "environments/test_ops_build.py",
    "environments/test_ops_toolchain.py",
    "environments/test_conda_faults.py",
    "models/test_scores.py",
    "pipeline/test_run.py",
    "pipeline/test_compare.py",
    "execution/test_failure_classes.py",
    "datasets/test_synthetic.py",
    "datasets/test_synthetic_openlane.py",
)
"""What takes longest begins first, so that no worker is left alone with it at the end."""


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> Iterator[ForkServer]:
    """What tests start as `python -m admlops` is forked from an interpreter that has imported it."""
    with forked_starts() as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Start processes for real in tests marked `real_start`, and in what those set up."""
    with started_for_real() if item.get_closest_marker("real_start") else nullcontext():
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Settings) -> bool | None:
    """Let a test's limit know the machine."""
    return set_patient_timer(item, settings)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long modules first; all others, and the tests within a module, stay in order."""
    here = Path(__file__).parent
    ranks = {here / name: rank for rank, name in enumerate(LONG_MODULES)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever tests and their programs put into the temporary folder goes with the folders of this test run."""
    folder = tmp_path_factory.mktemp("tmp", numbered=False)
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    yield
    tempfile.tempdir = None
    if before is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all parallel workers of this test run share."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "shared"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session")
def synthetic_root(shared_tmp: Path) -> Path:
    """A synthetic data set: the two scenes of mini_val, 4 samples each, 400 x 225 pixel images. Read only, please."""
    from admlops.synthetic import SynthesisOptions, synthesize

    root = shared_tmp / "nuscenes"
    with FileLock(shared_tmp / "nuscenes.lock"):
        if not root.is_dir():
            synthesize(root, SynthesisOptions(scenes=2, samples=4, seed=7, scale=0.25))
    return root


@pytest.fixture(scope="session")
def synthetic_data(synthetic_root: Path) -> NuScenes:
    return NuScenes(synthetic_root, "v1.0-mini")


@pytest.fixture(scope="session")
def openlane(shared_tmp: Path) -> OpenLaneScenes:
    """Gives the OpenLane-V2 root that the options ask for: written once, however many tests ask. Read only, please."""
    from admlops.synthetic.openlane_writer import synthesize_openlane

    def find(options: OpenLaneOptions) -> Path:
        named = "-".join(str(value) for value in asdict(options).values())
        root = shared_tmp / f"openlane-{named}"
        with FileLock(f"{root}.lock"):
            if not root.is_dir():
                synthesize_openlane(root, options)
        return root

    return find


@pytest.fixture(scope="session")
def noisy_runs(tmp_path_factory: pytest.TempPathFactory) -> NoisyRuns:
    """Two evaluated runs, `near` and `far`, of models that do not exist, over the same samples. Read only, please."""
    from tests.noisy_runs import write_noisy_runs

    return write_noisy_runs(tmp_path_factory.mktemp("noisy"))


@pytest.fixture(scope="session")
def conda_channel(shared_tmp: Path) -> Iterator[CondaChannel]:
    """Real conda channels, built from this machine's interpreters and served over loopback for the canonical host."""
    from tests.conda_channel.channel import open_channel

    with open_channel(shared_tmp) as channel:
        yield channel


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The checkout's layout with a repository folder of the test's own; environments are the checkout's."""
    return replace(find_layout(), repository=tmp_path / "repository")


@pytest.fixture(scope="session")
def groundplane_environment() -> Environment:
    """GroundPlane's environment, built if it must be."""
    return _build_or_skip(lambda layout: ensure_model(layout, load_model(layout, "GroundPlane"), say=print))


@pytest.fixture(scope="session")
def official_environment() -> Environment:
    """The environment of the official nuScenes evaluator, built if it must be."""
    return _build_or_skip(lambda layout: ensure_official(layout, "nuscenes", say=print))


def _build_or_skip(build: Callable[[Layout], Environment]) -> Environment:
    try:
        return build(find_layout())
    except EnvError as error:
        if "cannot be reached" in error.message:
            pytest.skip(f"needs the package index once, to build an environment: {error.message.splitlines()[0]}")
        raise


@pytest.fixture
def admlops(tmp_path: Path) -> Admlops:
    """Run the real command in a process: `admlops("models", "list", check=True)`."""

    def run(
        *arguments: str | Path, check: bool = True, variables: dict[str, str] | None = None, timeout_s: float = 240
    ) -> subprocess.CompletedProcess[str]:
        defaults = {"ADMLOPS_REP_PATH": str(tmp_path / "repository"), "COLUMNS": "200"}
        completed = run_patiently(
            [sys.executable, "-m", "admlops", *arguments],
            timeout_s=timeout_s,
            env={**os.environ, **defaults, **(variables or {})},
        )
        if check:
            assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed

    return run
