"""Stand-ins: an absent package imports, everything of it can be named, and a call says which package is missing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.mmlab.common import stand_ins

RUNNERS = Path(stand_ins.__file__).parents[3]


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    modules, finders, paths = dict(sys.modules), list(sys.meta_path), list(sys.path)
    yield
    sys.modules.clear()
    sys.modules.update(modules)
    sys.meta_path[:], sys.path[:] = finders, paths


def test_an_absent_package_imports_and_a_call_names_it() -> None:
    assert stand_ins.stand_in_for({"routing_absent": "", "json": ""}) == ["routing_absent"]
    assert importlib.import_module("json").loads("1") == 1
    module = importlib.import_module("routing_absent.linear.solver")
    solver = module.Solver
    with pytest.raises(ImportError, match=r"routing_absent\.linear\.solver\.Solver was called.*package routing_absent"):
        solver(3)
    with pytest.raises(stand_ins.AbsentPackageError, match=r"Solver\.create was called"):
        solver.create("SCIP")


def test_what_is_absent_can_be_inherited_from_and_looked_for() -> None:
    stand_ins.stand_in_for({"routing_absent": ""})
    module = importlib.import_module("routing_absent")

    class Own(module.Base):  # type: ignore[name-defined, misc]
        def answer(self) -> int:
            return 42

    assert Own.answer(None) == 42  # type: ignore[arg-type]
    assert not isinstance(3, module.Base)
    with pytest.raises(ImportError, match=r"routing_absent\.Base was called"):
        Own()
    assert not hasattr(module, "__wrapped__")


def test_a_package_without_its_compiled_part_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tkinter on a Python that was built without Tk."""
    (tmp_path / "windows").mkdir()
    (tmp_path / "windows" / "__init__.py").write_text("import _windows_absent\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert stand_ins.stand_in_for({"windows": "_windows_absent"}) == ["windows"]
    assert importlib.import_module("windows.messagebox").NO.__name__ == "NO"


def test_a_package_that_is_here_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "really_here.py").write_text("KIND = 'own'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert stand_ins.stand_in_for({"really_here": ""}) == []
    assert importlib.import_module("really_here").KIND == "own"


def test_matplotlib_draws_beside_a_stand_in_for_ipython() -> None:
    """It asks a module of that name whether an IPython is running."""
    program = (
        "import sys; sys.modules.pop('IPython', None)\n"
        "from worker.mmlab.common.stand_ins import _Finder\n"
        "sys.meta_path.insert(0, _Finder(frozenset(['IPython'])))\n"
        "from IPython import embed, get_ipython; assert get_ipython() is None\n"
        "import matplotlib; matplotlib.use('agg'); import matplotlib.pyplot as plt\n"
        "plt.ion(); plt.figure(); plt.plot([1, 2])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=RUNNERS, check=False)
    assert done.returncode == 0, done.stderr


def test_a_part_of_a_source_gives_way_to_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source's other parts stay themselves, one whose name begins alike too; a call says what to choose instead."""
    plugin = tmp_path / "source_of_tests" / "plugin"
    for folder in ("second_head", "second_headers"):
        (plugin / folder).mkdir(parents=True)
        (plugin / folder / "__init__.py").write_text(
            "import no_such_package\n" if folder == "second_head" else "A = 1\n"
        )
    (plugin / "__init__.py").write_text("from .second_head import *\nfrom .second_head.layers import Head\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(stand_ins, "ADVICE", {})
    for _ in range(2):
        stand_ins.take_place_of("source_of_tests.plugin.second_head", "choose another configuration")
    module = importlib.import_module("source_of_tests.plugin")
    assert importlib.import_module("source_of_tests.plugin.second_headers").A == 1
    with pytest.raises(
        stand_ins.AbsentPackageError, match=r"layers\.Head was called, .*: choose another configuration"
    ):
        module.Head()
