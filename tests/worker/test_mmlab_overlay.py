"""Corrections at import: what is missing is stubbed, what is there is left alone, and nothing stays bent."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.mmlab.common import source
from worker.mmlab.v1 import network, overlay
from worker.mmlab.v1.inputs import unwrap

FOLDER = Path(overlay.__file__).parent


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    modules, finders, paths = dict(sys.modules), list(sys.meta_path), list(sys.path)
    yield
    sys.modules.clear()
    sys.modules.update(modules)
    sys.meta_path[:], sys.path[:] = finders, paths


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package whose parts import one compiled module that is missing and one that is there."""
    folder = tmp_path / "points3d" / "ops" / "ball"
    folder.mkdir(parents=True)
    (folder.parent.parent / "__init__.py").write_text("")
    (folder.parent / "__init__.py").write_text("from .ball import query\n")
    (folder / "__init__.py").write_text("from . import ball_ext, built_ext\ndef query(): return ball_ext.forward(1)\n")
    (folder / "built_ext.py").write_text("KIND = 'built'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "points3d"


def test_a_missing_operation_imports_and_says_so_when_called(package: str) -> None:
    overlay.stub_compiled(f"{package}.ops", ("ball_ext", "built_ext"))
    ops = importlib.import_module(f"{package}.ops")
    assert importlib.import_module(f"{package}.ops.ball.built_ext").KIND == "built"
    with pytest.raises(RuntimeError, match=r"points3d\.ops\.ball\.ball_ext\.forward is a compiled operation"):
        ops.query()


def test_other_missing_modules_stay_missing(package: str) -> None:
    overlay.stub_compiled(f"{package}.ops", ("built_ext",))
    with pytest.raises(ImportError, match="ball_ext"):
        importlib.import_module(f"{package}.ops")


def test_a_module_that_moved_has_its_old_name_again() -> None:
    overlay.alias_missing("json.old_decoder", "json.decoder")
    assert importlib.import_module("json.old_decoder") is importlib.import_module("json.decoder")
    overlay.alias_missing("json.scanner", "json.decoder")
    assert importlib.import_module("json.scanner").__name__ == "json.scanner"


def test_a_version_is_bent_only_for_a_while() -> None:
    module = types.ModuleType("library")
    module.__version__ = "1.7.2"  # type: ignore[attr-defined]
    seen = []

    def fail() -> None:
        with overlay.state_version(module, "1.4.0"):
            seen.append(module.__version__)
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    assert seen == ["1.4.0"]
    assert module.__version__ == "1.7.2"


def test_deformable_attention_is_mmcvs_own_in_pytorch_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    mmcv = types.ModuleType("mmcv.ops.multi_scale_deform_attn")
    mmcv.multi_scale_deformable_attn_pytorch = lambda *given: ("plain", *given)  # type: ignore[attr-defined]
    for name in ("mmcv", "mmcv.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, mmcv.__name__, mmcv)
    compiled = types.SimpleNamespace(apply=lambda *given: ("compiled", *given))
    plugin = types.SimpleNamespace(MultiScaleDeformableAttnFunction=compiled)
    overlay.deformable_attention_anywhere(plugin)
    apply = plugin.MultiScaleDeformableAttnFunction.apply
    on_gpu, on_cpu = types.SimpleNamespace(is_cuda=True), types.SimpleNamespace(is_cuda=False)
    assert apply(on_gpu, "shapes", "starts", "places", "weights", 64)[0] == "compiled"
    assert apply(on_cpu, "shapes", "starts", "places", "weights", 64) == (
        "plain",
        on_cpu,
        "shapes",
        "places",
        "weights",
    )


class _Registry:
    """As mmcv's: a class registered under a taken name is refused unless forced."""

    def __init__(self) -> None:
        self.module_dict: dict[str, type] = {}

    def _register_module(self, module: type, module_name: str | None = None, force: bool = False) -> None:
        name = module_name or module.__name__
        if name in self.module_dict and not force:
            raise KeyError(name)
        self.module_dict[name] = module


def test_the_models_own_layer_replaces_the_librarys_while_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    utils = types.ModuleType("mmcv.utils")
    utils.Registry = _Registry  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmcv", types.ModuleType("mmcv"))
    monkeypatch.setitem(sys.modules, "mmcv.utils", utils)
    registry, theirs, own = _Registry(), type("Net", (), {}), type("Net", (), {})
    registry._register_module(module=theirs)
    with overlay.last_registration_wins() as replaced:
        registry._register_module(module=own, module_name=None, force=False)
    assert (registry.module_dict["Net"], replaced) == (own, ["Net"])
    with pytest.raises(KeyError):
        registry._register_module(module=theirs)


def test_only_what_inference_needs_is_left_of_a_configuration() -> None:
    config: dict[str, Any] = {
        "pretrained": {"img": "ckpts/resnet.pth"},
        "backbone": {"init_cfg": {"type": "Pretrained", "checkpoint": "x"}, "norm_cfg": {"type": "SyncBN"}},
        "layers": [{"init_cfg": {"type": "Kaiming"}}],
    }
    source.drop_pretrained(config)
    source.plain_batch_norm(config)
    assert config == {
        "pretrained": None,
        "backbone": {"init_cfg": None, "norm_cfg": {"type": "BN"}},
        "layers": [{"init_cfg": {"type": "Kaiming"}}],
    }


def test_the_source_is_entered_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("source/projects", "source/vendored", "library", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    library = str(tmp_path / "library")
    root = source.enter_source(str(tmp_path / "source"), below=("vendored", library))
    assert (Path.cwd(), root) == (tmp_path / "source", str(tmp_path / "source"))
    assert sys.path[:3] == [root, str(tmp_path / "source" / "vendored"), library]
    with pytest.raises(FileNotFoundError, match=r"admlops sources fetch: .*library-2"):
        source.enter_source(root, below=(library + "-2",))
    assert source.enter_source("/nowhere") == root, "the host starts workers in the source"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="admlops sources"):
        source.enter_source(str(tmp_path / "missing"))


@pytest.mark.parametrize("vendored", [False, True], ids=["elsewhere", "in the source"])
def test_a_configuration_finds_its_bases_in_the_librarys_checkout(
    vendored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the configurations of PETR name them: `../../../mmdetection3d/…`, resolved as text, as mmcv does."""
    config = tmp_path / "source" / "projects" / "configs" / "petr" / "petr.py"
    config.parent.mkdir(parents=True)
    config.write_text("own")
    library = tmp_path / "source" / "mmdetection3d" if vendored else tmp_path / "mmdetection3d-0.17.2"
    (library / "mmdet3d").mkdir(parents=True)
    (library / "base.py").write_text("base")
    module = types.ModuleType("mmdet3d")
    module.__file__ = str(library / "mmdet3d" / "__init__.py")
    monkeypatch.setitem(sys.modules, "mmdet3d", module)
    monkeypatch.chdir(tmp_path / "source")
    with network.beside_library(str(config)) as found:
        assert Path(found).read_text() == "own"
        base = os.path.normpath(os.path.join(os.path.dirname(found), "../../../mmdetection3d/base.py"))  # noqa: PTH118, PTH120
        assert Path(base).read_text() == "base"
    assert Path(base).exists() == vendored
    assert (library / "base.py").exists()
    with network.beside_library(str(library / "base.py")) as found:
        assert found == str(library / "base.py"), "a configuration of one's own is read where it lies"


class DataContainer:
    """As mmcv's: what goes to each GPU."""

    def __init__(self, data: list[Any]) -> None:
        self.data = data


def test_containers_are_opened() -> None:
    batch = [DataContainer([[{"token": "a"}]]), [DataContainer(["image"]), 3]]
    assert unwrap(batch) == [[{"token": "a"}], ["image", 3]]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_the_syntax_is_python_38_and_nothing_heavy_is_imported_at_once(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {"worker" if node.level else node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names) | {"worker", "numpy"}


def test_scipy_is_imported_before_numpys_old_names_are_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SciPy 1.13 and later do: `np.long` is a sign of NumPy 2, and then `np.ulong` must be there."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("numpy", "scipy", "matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "numpy.py").write_text("__version__ = '1.26.4'\ninf = float('inf')\n")
    (tmp_path / "scipy" / "_lib").mkdir(parents=True)
    for folder in ("scipy", "scipy/_lib"):
        (tmp_path / folder / "__init__.py").write_text("")
    look = "import numpy as np\nnp_ulong = np.ulong if hasattr(np, 'long') else int\n"
    (tmp_path / "scipy" / "_lib" / "_util.py").write_text(look)
    (tmp_path / "scipy" / "special.py").write_text("from scipy._lib._util import np_ulong\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    overlay.prepare_libraries()
    numpy = importlib.import_module("numpy")
    assert (numpy.long, numpy.bool, numpy.Inf) == (int, bool, float("inf"))
    assert not hasattr(numpy, "product"), "a name whose successor is not there stays away"


def test_names_that_numpy_2_dropped_are_back() -> None:
    program = (
        "import numpy as np, warnings; warnings.simplefilter('error')\n"
        "from worker.mmlab.v1.overlay import restore_numpy_names as restore\n"
        "own = np.long; restore(); restore()\n"
        "assert np.long is own and np.float is float and np.float_ is np.float64 and np.unicode_ is np.str_\n"
        "assert np.Inf == np.inf and np.product([2, 3]) == 6 and np.alltrue([True])\n"
        "assert np.dtype(np.bool) == np.bool_\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=FOLDER.parents[2], check=False
    )
    assert done.returncode == 0, done.stderr


def test_matplotlibs_old_style_names_are_back() -> None:
    program = (
        "from worker.mmlab.v1.overlay import restore_plot_styles\n"
        "import matplotlib.pyplot as plt; restore_plot_styles(); plt.style.use('seaborn-whitegrid')\n"
        "assert plt.rcParams['axes.grid'] is True\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=FOLDER.parents[2],
        env={**os.environ, "MPLBACKEND": "agg"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
