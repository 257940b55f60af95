"""nuScenes detection files beside nuscenes-devkit, which reads the very same file in a process of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.detection_files import REFUSED, TAKEN, Results, predict, write_file
from tests.evaluation.devkit_process import Oracle
from tests.evaluation.taken_files import measure, take, values_of

from admlops.core.errors import AdmlopsError
from admlops.core.paths import Layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.environments import Environment
from admlops.evaluation.detection_3d.official import summary_values

PROTOCOL = "nuscenes.detection_cvpr_2019"


@pytest.fixture(scope="module")
def devkit(official_environment: Environment, data: NuScenes) -> Iterator[Oracle]:
    program = Path(__file__).with_name("submission_oracle.py")
    with Oracle(official_environment.python, program, data.root, data.version) as oracle:
        yield oracle


def ask(devkit: Oracle, path: Path) -> dict[str, Any]:
    return devkit.answer(str(path))  # type: ignore[arg-type]  # a path is a whole request


def largest_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Over mAP, NDS, the mean errors, and every AP and error of every class."""
    values = values_of(ours, PROTOCOL)
    pairs: list[tuple[Any, Any]] = [(values[name], value) for name, value in summary_values(theirs).items()]
    for name, entry in ours["details"]["detection"]["classes"].items():
        pairs += [(value, theirs["label_aps"][name][key]) for key, value in entry["ap"].items()]
        pairs += [(value, theirs["label_tp_errors"][name][key]) for key, value in entry["errors"].items()]
    assert len(pairs) == 7 + 10 * (4 + 5)
    numbers = [(math.nan if a is None else a, b) for a, b in pairs]
    assert all(math.isnan(a) == math.isnan(b) for a, b in numbers)
    return float(max(abs(a - b) for a, b in numbers if not math.isnan(a)))


def make_results(data: NuScenes, name: str) -> tuple[Results, np.random.Generator]:
    rng = np.random.default_rng([11, *name.encode()])
    return predict(data, rng), rng


@pytest.mark.parametrize("name", TAKEN)
def test_what_the_devkit_takes_has_its_numbers(
    name: str, data: NuScenes, devkit: Oracle, layout: Layout, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "results.json", *_with(data, name))
    theirs = ask(devkit, path)
    assert "refused" not in theirs, theirs
    ours = measure(layout, take(layout, path, data), data)
    assert largest_difference(ours, theirs) <= 1e-12
    assert theirs["mean_ap"] > 0


def _with(data: NuScenes, name: str) -> tuple[Any, ...]:
    results, rng = make_results(data, name)
    return results, {**TAKEN, **REFUSED}[name], rng


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_devkit_refuses_is_refused(
    name: str, data: NuScenes, devkit: Oracle, layout: Layout, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "results.json", *_with(data, name))
    assert "refused" in ask(devkit, path)
    with pytest.raises(AdmlopsError) as refused:
        measure(layout, take(layout, path, data), data)
    assert "results" in refused.value.message
    assert refused.value.exit_code == 2


def test_the_devkit_stands_beside_ours(
    data: NuScenes, official_environment: Environment, layout: Layout, tmp_path: Path
) -> None:
    """`--official` on a run of a file whose order, velocities and attributes matter."""
    results, rng = make_results(data, "beside")
    for name in ("half a velocity", "no attribute", "rounded and shuffled"):
        TAKEN[name](results, rng)
    run = take(layout, write_file(tmp_path / "results.json", results, TAKEN["plain"], rng), data)
    (official,) = measure(layout, run, data, official=True)["official"]
    assert official["max_abs_difference"] <= 1e-9
