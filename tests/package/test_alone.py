"""The package without a checkout: what it claims, what it can do, and what it says of the rest."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from tests.noisy_runs import write_data, write_noisy_run
from tests.package.wheel import Alone, build_wheel

from admlops.core import paths
from admlops.core.errors import UsageError

IMPORT_ALL = """
import importlib, pkgutil, sys
import admlops
LEFT_OUT = ("__main__", "migrations.env")  # programs: Alembic runs the second, with its context set
for found in pkgutil.walk_packages(admlops.__path__, "admlops."):
    if not found.name.endswith(LEFT_OUT) and "worker.mmlab" not in found.name:
        importlib.import_module(found.name)
import admlops.worker.mmlab.state_dict
print(admlops.__file__)
print(sorted(name for name in sys.modules if name.split(".")[0] == "worker"))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    return Alone.unpack(wheel, tmp_path_factory.mktemp("alone"))


def test_the_wheel_claims_one_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"admlops"}
    assert {"admlops/worker/wire.py", "admlops/py.typed", "admlops/reports/templates/report.html.j2"} <= set(names)


@pytest.mark.full
def test_every_module_imports_and_the_worker_is_there_once(alone: Alone) -> None:
    shown = alone.python(IMPORT_ALL)
    assert shown.returncode == 0, shown.stderr
    place, workers = shown.stdout.splitlines()
    assert Path(place).is_relative_to(alone.site)
    assert workers == "[]"


@pytest.mark.full
def test_a_run_is_evaluated_reported_compared_and_exported(alone: Alone, tmp_path: Path) -> None:
    data = write_data(tmp_path / "nuscenes")
    first = write_noisy_run(tmp_path / "near", data, "Near", noise=0.2).path
    second = write_noisy_run(tmp_path / "far", data, "Far", noise=0.8).path
    rows, page = tmp_path / "rows.csv", tmp_path / "page.html"
    answers = alone.admlops_in_one_process(
        ["evaluate", first],
        ["evaluate", second],
        ["results", "compare", first, second],
        ["report", first, second, "--out", page],
        ["results", "export", first, "--format", "csv", "--out", rows],
        ["results", "verify", first],
        ["results", "list"],
        ["info"],
        ["doctor"],
    )
    assert [one.code for one in answers] == [0] * 9, answers
    assert "NDS" in answers[0].out
    assert "--protocol" in answers[0].err, "what the catalogue would have asked for is said"
    assert "NDS" in answers[2].out
    assert "Near" in page.read_text()
    assert len(rows.read_text().splitlines()) == 10
    caches = alone.home / ".local" / "share" / "admlops"
    assert caches.is_dir(), "what is cached goes to the user's data folder"
    assert [path.name for path in alone.home.iterdir() if not path.name.startswith(".")] == []


def test_what_needs_a_checkout_says_so(alone: Alone) -> None:
    lines = ("models list", "run GroundPlane", "env install MapTR", "env list", "sources list", "check", "check MapTR")
    for answer in alone.admlops_in_one_process(*(line.split() for line in (*lines, "compare --models all"))):
        assert answer.code == 2
        assert "needs a checkout" in answer.err
        assert "export ADMLOPS_PATH=" in answer.err


def test_runs_and_caches_have_a_place_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ADMLOPS_PATH", "ADMLOPS_REP_PATH", "ADMLOPS_ENVIRONMENTS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "site-packages" / "admlops")
    home = tmp_path / ".local" / "share" / "admlops"
    layout = paths.find_layout()
    assert (layout.runs, layout.environments, layout.is_checkout) == (home / "runs", home / "environments", False)
    with pytest.raises(UsageError, match="needs a checkout"):
        _ = layout.submodules
    monkeypatch.setenv("XDG_DATA_HOME", "here")
    assert paths.find_layout().runs == home / "runs", "the specification says that a relative path is ignored"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert paths.find_layout().runs == tmp_path / "data" / "admlops" / "runs"
    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path / "own"))
    assert paths.find_layout().runs == tmp_path / "own" / "runs"


def test_help_and_completion_work(alone: Alone) -> None:
    assert "evaluate" in alone.admlops("--help").stdout
    program = (
        "import os; os.environ.update(_ADMLOPS_COMPLETE='bash_complete', COMP_WORDS='admlops ev', COMP_CWORD='1');"
        "from admlops.cli.main import cli; cli(prog_name='admlops', complete_var='_ADMLOPS_COMPLETE')"
    )
    assert "plain,evaluate" in alone.python(program).stdout
