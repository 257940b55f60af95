"""Corrections applied while a model's source is imported, so that the source itself stays as it is pinned.

Each says what it is for. None changes what a network computes: they concern names that moved, version checks, and
compiled operations that a camera model imports and never calls.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Optional, Sequence

from ..common.libraries import load_library
from ..common.log import say
from ..common.stand_ins import UNCALLED, MissingOperations, exists, stand_in_for
from . import flash_attention

MMDET3D_017_OPS = (
    "assign_score_withk_ext",
    "ball_query_ext",
    "bev_pool_ext",
    "bev_pool_v2_ext",
    "furthest_point_sample_ext",
    "gather_points_ext",
    "group_points_ext",
    "interpolate_ext",
    "iou3d_cuda",
    "knn_ext",
    "roiaware_pool3d_ext",
    "sparse_conv_ext",
    "voxel_layer",
)
"""mmdet3d 0.17's own compiled modules: for point clouds, and BEV pooling."""
NOT_COMPILED = "is a compiled operation that this environment does not have; choose a configuration without it"
MMDET3D_017_LAST_MMCV = "1.4.0"
MMDET3D_1_LAST_MMCV = "1.7.0"
NUMPY_TYPES = {"bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str, "long": int}
"""Aliases of Python's own types that NumPy 1.24 dropped."""
NUMPY_RENAMED = {
    "Inf": "inf",
    "Infinity": "inf",
    "NaN": "nan",
    "PINF": "inf",
    "alltrue": "all",
    "complex_": "complex128",
    "cumproduct": "cumprod",
    "float_": "float64",
    "in1d": "isin",
    "infty": "inf",
    "product": "prod",
    "round_": "round",
    "row_stack": "vstack",
    "sometrue": "any",
    "string_": "bytes_",
    "trapz": "trapezoid",
    "unicode_": "str_",
}
"""Names that NumPy 2 dropped, and those it has for the same things."""
SCIPY_FIRST = ("scipy", "scipy._lib._util", "scipy.special")
"""What of SciPy takes NumPy's `long` for a sign of NumPy 2, and looks once, at its import."""
OLD_STYLE, NEW_STYLE = "seaborn", "seaborn-v0_8"
"""How matplotlib called seaborn's styles before 3.6, and since; 3.8 dropped the old names."""


def import_mmdet3d_017() -> Any:
    """mmdet3d 0.17 (from sys.path), its Python code alone, beside the environment's mmcv.

    Its code, and not 1.0's, is what MapTR, PETR and VAD were trained with: the same box tensor means another box in
    1.0, and nothing says so.
    """
    stub_compiled("mmdet3d.ops", MMDET3D_017_OPS)
    alias_missing("numba.errors", "numba.core.errors")  # numba 0.49 moved it
    prepare_libraries()
    return _import_below("mmdet3d", MMDET3D_017_LAST_MMCV)


def import_mmdet3d_1() -> Any:
    """mmdet3d 1.0 (from sys.path) beside the environment's mmcv, and flash-attn for sources that import it unasked.

    1.0 has no compiled modules: its operations are mmcv's.
    """
    if flash_attention.install():
        say("flash-attn is not installed here: the PyTorch formulation takes its place")
    prepare_libraries()
    return _import_below("mmdet3d", MMDET3D_1_LAST_MMCV)


def _import_below(name: str, last_mmcv: str) -> Any:
    """Import a package that refuses an mmcv later than `last_mmcv`."""
    mmcv = load_library("mmcv")
    load_library("mmdet")
    load_library("mmseg")  # both look at mmcv's version, so before it is bent
    if _number(mmcv.__version__) <= _number(last_mmcv):
        return load_library(name)
    with state_version(mmcv, last_mmcv):
        return load_library(name)


def stub_compiled(package: str, names: Sequence[str]) -> None:
    """Let compiled modules anywhere below `package` be imported where they are not built; a call of one raises.

    The finder stands last, so that a module that was built is always preferred.
    """
    sys.meta_path.append(_StubFinder(package, frozenset(names)))


def alias_missing(name: str, target: str) -> None:
    """Make the module `name` another name of `target`, if it cannot be found and `target` can."""
    if name in sys.modules or exists(name) or not exists(target):
        return
    module = importlib.import_module(target)
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(importlib.import_module(parent), last, module)


def prepare_libraries() -> None:
    """Make later libraries answer to sources of 2021 to 2023. SciPy comes before NumPy's old names: see SCIPY_FIRST."""
    for name in SCIPY_FIRST:
        if exists(name):
            importlib.import_module(name)
    restore_numpy_names()
    restore_plot_styles()
    stand_in_for(UNCALLED)  # sources import them and never call them


def restore_numpy_names() -> None:
    """Give NumPy back what it dropped and sources use: aliases of Python's own types, and second names."""
    numpy = load_library("numpy")
    for name, kind in NUMPY_TYPES.items():
        if name not in vars(numpy):
            setattr(numpy, name, kind)
    for name, now in NUMPY_RENAMED.items():
        if name not in vars(numpy) and now in vars(numpy):
            setattr(numpy, name, vars(numpy)[now])


def restore_plot_styles() -> None:
    """Give matplotlib the old names of seaborn's styles: nuscenes-devkit asks for one when it is imported."""
    if not exists("matplotlib.style"):
        return
    library = importlib.import_module("matplotlib.style").library
    for name in [name for name in library if name.startswith(NEW_STYLE)]:
        library.setdefault(OLD_STYLE + name[len(NEW_STYLE) :], library[name])


@contextmanager
def state_version(module: Any, version: str) -> Iterator[None]:
    """Let `module` state another version while the block runs: for packages that assert an upper bound at import."""
    before = module.__version__
    module.__version__ = version
    try:
        yield
    finally:
        module.__version__ = before


def deformable_attention_anywhere(module: Any) -> None:
    """Let the mmcv operation that a plugin's module calls by name, which has CUDA kernels alone, run on a CPU too.

    There it is mmcv's own formulation in PyTorch, which mmcv's layers take on a CPU.
    """
    compiled = module.MultiScaleDeformableAttnFunction

    def attend(value: Any, shapes: Any, starts: Any, places: Any, weights: Any, step: int) -> Any:
        if value.is_cuda:
            return compiled.apply(value, shapes, starts, places, weights, step)
        plain = load_library("mmcv.ops.multi_scale_deform_attn").multi_scale_deformable_attn_pytorch
        return plain(value, shapes, places, weights)

    module.MultiScaleDeformableAttnFunction = types.SimpleNamespace(apply=attend)


@contextmanager
def last_registration_wins() -> Iterator[List[str]]:
    """Let a class replace one of the same name in an mmcv registry while the block runs; the list fills with names.

    Later mmcv and mmdet brought layers that mmdet3d 0.17 and the models' plugins bring themselves. The plugin's own is
    the one that its weights were trained with.
    """
    registry = load_library("mmcv.utils").Registry
    original: Callable[..., Any] = registry._register_module
    replaced: List[str] = []

    def register(self: Any, *arguments: Any, **keywords: Any) -> Any:
        before = dict(self.module_dict)
        keywords["force"] = True
        result = original(self, *arguments[:2], **keywords)
        replaced.extend(name for name, kind in before.items() if self.module_dict.get(name) is not kind)
        return result

    registry._register_module = register
    try:
        yield replaced
    finally:
        registry._register_module = original


class _StubFinder(importlib.abc.MetaPathFinder):
    def __init__(self, package: str, names: "frozenset[str]") -> None:
        self._prefix = package + "."
        self._names = names

    def find_spec(
        self, fullname: str, path: Optional[Sequence[Any]] = None, target: Optional[types.ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if fullname.startswith(self._prefix) and fullname.rpartition(".")[2] in self._names:
            return importlib.machinery.ModuleSpec(fullname, _StubLoader())
        return None


class _StubLoader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return MissingOperations(spec.name, NOT_COMPILED)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing: a stub has no body."""


def _number(version: str) -> "tuple[int, ...]":
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
