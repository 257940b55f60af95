"""`admlops env probe`: an environment's imports, its kernels and its operations, tried on this machine."""

from __future__ import annotations

import json

import pytest
from tests.conftest import Admlops

from admlops.environments import Environment
from admlops.health.gpus import Gpu, runs_on
from admlops.worker import smoke


def test_a_ready_environment_passes(admlops: Admlops, groundplane_environment: Environment) -> None:
    name = groundplane_environment.prefix.name
    said = admlops("env", "probe", name).stdout
    assert f"{name}: 2 checks passed" in said
    assert "import cv2" in said
    (row,) = json.loads(admlops("env", "probe", name, "--json").stdout)
    assert [check["check"] for check in row["checks"]] == ["import numpy", "import cv2"]
    assert all(check["ok"] for check in row["checks"])


def test_one_that_is_not_there_is_an_error_that_says_what_to_type(admlops: Admlops) -> None:
    done = admlops("env", "probe", "Nowhere", check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "→" in done.stderr


@pytest.mark.parametrize("capability", [(7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0)])
@pytest.mark.parametrize("flag", ["sm_70", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_90"])
def test_inside_and_host_agree_on_which_kernels_run_where(flag: str, capability: tuple[int, int]) -> None:
    gpu = Gpu(name="a GPU", compute_capability=capability, driver=None, memory_mb=None)
    assert smoke._runs(flag, capability) == runs_on([flag], gpu)
