"""The networks' environments, really built for the CPU from their locks: long, and kept where they are used later."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from admlops.catalog import load_model
from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.core.processes import run
from admlops.environments import Environment, EnvironmentSpec, ensure_model
from admlops.environments.install.ops import smoke_test
from admlops.environments.install.ops.compile import compiled_modules
from admlops.environments.install.options import BuildOptions
from admlops.environments.install.plan import locked_packages
from admlops.environments.integrity.verification import verify
from admlops.environments.prefix import read_state
from admlops.worker import smoke

pytestmark = [pytest.mark.full, pytest.mark.timeout(4 * 3600)]
ENVIRONMENTS = [(model, variant) for model in ("MapTR", "StreamPETR") for variant in ("classic", "modern")]
OPERATIONS = ["nms", "roi_align", "modulated_deform_conv2d", "box_iou_rotated"]
WRONG_OPERATIONS = """
import sys
sys.path.insert(0, {folder!r})
import smoke, mmcv.ops

def spoil(right):
    def wrong(*inputs, **options):
        result = right(*inputs, **options)
        return (result[0], result[1][:-1]) if isinstance(result, tuple) else result * 1.05
    return wrong

for name in {operations!r}:
    right = getattr(mmcv.ops, name)
    setattr(mmcv.ops, name, spoil(right))
    checks = smoke.list_checks([], ["mmcv-full"], "cpu")
    failed = [check for check, function in checks if not smoke.run_check(check, function)["ok"]]
    setattr(mmcv.ops, name, right)
    print(smoke.MARK, name, "fails", *failed)
"""


@pytest.fixture(scope="module", params=ENVIRONMENTS, ids="-".join)
def built(request: pytest.FixtureRequest) -> tuple[EnvironmentSpec, Environment]:
    """A ready environment of a model's variant in the installation's own folders; built by the first run."""
    name, variant = request.param
    layout = find_layout()
    model = load_model(layout, name)
    spec = EnvironmentSpec.of_model(model, variant, device="cpu")
    options = BuildOptions(installer="venv")
    try:
        return spec, ensure_model(layout, model, variant, device="cpu", say=print, options=options)
    except EnvError as error:
        if "no Python" in error.message or "cannot be reached" in error.message:
            pytest.skip(f"needs Python {spec.python} and, once, the package index: {error.message.splitlines()[0]}")
        raise


def test_every_file_is_the_locks(built: tuple[EnvironmentSpec, Environment]) -> None:
    spec, environment = built
    state = read_state(environment.prefix)
    assert state is not None
    report = verify(environment.prefix, full=True, python=locked_packages(spec, state["python"]))
    assert report.differences == ()
    assert report.files_checked > 10_000


def test_it_was_built_with_a_wheel_that_is_kept(built: tuple[EnvironmentSpec, Environment]) -> None:
    _, environment = built
    state = read_state(environment.prefix)
    assert state is not None
    (kept,) = (find_layout().wheels / name for name in state["wheels"])
    described = json.loads((kept / "key.json").read_text())
    assert described["key"]["cuda"] == "cpu"
    assert any(name.startswith("mmcv/_ext.") for name in compiled_modules(kept / described["wheel"]))
    assert (kept.parent / f"{kept.name}.log").is_file()


def test_its_modules_import_and_its_operations_are_right(built: tuple[EnvironmentSpec, Environment]) -> None:
    spec, environment = built
    checks = smoke_test(
        environment.python,
        variables=environment.variables,
        modules=spec.smoke,
        compiled=spec.compiled,
        device="cpu",
        name=spec.name,
    )
    assert [check["check"] for check in checks if check["check"].endswith("on cpu")] == [
        f"{name} on cpu" for name in [*OPERATIONS, "ms_deform_attn"]
    ]


def test_an_operation_that_is_a_little_wrong_is_noticed(built: tuple[EnvironmentSpec, Environment]) -> None:
    _, environment = built
    folder = str(Path(smoke.__file__).parent)
    program = WRONG_OPERATIONS.format(folder=folder, operations=OPERATIONS)
    answer = run([environment.python, "-c", program], timeout_s=900, variables=environment.variables)
    lines = [line for line in answer.stdout.splitlines() if line.startswith(smoke.MARK)]
    assert lines == [f"{smoke.MARK} {name} fails {name} on cpu" for name in OPERATIONS], answer.stderr


def test_installing_it_again_does_nothing(built: tuple[EnvironmentSpec, Environment]) -> None:
    spec, environment = built
    before = (environment.prefix / "admlops-environment.json").stat().st_mtime_ns
    command = [sys.executable, "-m", "admlops", "env", "install", str(spec.model), "--variant", str(spec.variant)]
    done = run(
        [*command, "--device", "cpu", "--installer", "venv"],
        timeout_s=300,
        variables={name: os.environ.get(name) for name in ("ADMLOPS_REP_PATH", "ADMLOPS_ENVIRONMENTS")},
    )
    assert done.returncode == 0, done.stderr
    assert "compiling" not in done.stdout + done.stderr
    assert (environment.prefix / "admlops-environment.json").stat().st_mtime_ns == before
