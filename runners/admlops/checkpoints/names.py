"""What a checkpoint's pickle may name, as `module name`, and what of it may be called.

The lists are made from: the functions that `torch.load(weights_only=True)` of torch 2.10 allows for plain tensors and
parameters; NumPy's scalars and arrays, because trainers keep scores; the standard library's classes that only hold
data; and mm libraries' configuration dictionaries. Not on them, although torch writes it in rare cases:
`torch.storage._load_from_bytes`, which unpickles what it is given.
"""

from __future__ import annotations

import re
import sys

_PYTHON = ("builtins", "__builtin__")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_PATHS = ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
_REBUILD = ("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state")

TAKEN_APART = frozenset(
    {
        "torch Size",
        "torch._tensor _rebuild_from_type_v2",
        "copyreg _reconstructor",
        "copy_reg _reconstructor",
        *(f"torch._utils _rebuild_{name}" for name in _REBUILD),
        *(f"{module} getattr" for module in _PYTHON),
    }
)
"""What may be called only with certain arguments, which the machine checks."""

STATEFUL = frozenset(
    {
        "collections OrderedDict",
        "collections defaultdict",
        "collections Counter",
        "argparse Namespace",
        "types SimpleNamespace",
        "uuid UUID",
        "numpy dtype",
        "mmcv.utils.config ConfigDict",
        "addict.addict Dict",
        *(f"{module} _reconstruct" for module in _NUMPY),
    }
)
"""What may be given a state by BUILD, or items; for everything else the effect would be unknown."""

CALLABLE = (
    TAKEN_APART
    | STATEFUL
    | {
        "collections deque",
        "torch device",
        "_codecs encode",  # how protocol 2 spells bytes
        "decimal Decimal",
        "fractions Fraction",
        *(f"datetime {name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        *(f"{module} {name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
        *(f"{module} {name}" for module in _PYTHON for name in ("set", "frozenset", "complex", "bytearray")),
        *(f"{module} {name}" for module in _PYTHON for name in ("slice", "range", "xrange")),
        *(f"{module} scalar" for module in _NUMPY),
        *(f"{module} _frombuffer" for module in _NUMERIC),
    }
)
"""What a checkpoint may call."""

ITEM_BYTES = {
    "torch BoolStorage": 1,
    "torch ByteStorage": 1,
    "torch CharStorage": 1,
    "torch ShortStorage": 2,
    "torch HalfStorage": 2,
    "torch BFloat16Storage": 2,
    "torch IntStorage": 4,
    "torch FloatStorage": 4,
    "torch LongStorage": 8,
    "torch DoubleStorage": 8,
    "torch ComplexFloatStorage": 8,
    "torch ComplexDoubleStorage": 16,
    "torch.storage UntypedStorage": 1,
}
"""Storage classes and the bytes of one item of each."""

KIND_OF_DTYPE = {
    "torch bool": "torch BoolStorage",
    "torch uint8": "torch ByteStorage",
    "torch int8": "torch CharStorage",
    "torch int16": "torch ShortStorage",
    "torch uint16": "torch ShortStorage",
    "torch int32": "torch IntStorage",
    "torch uint32": "torch IntStorage",
    "torch int64": "torch LongStorage",
    "torch uint64": "torch LongStorage",
    "torch float16": "torch HalfStorage",
    "torch bfloat16": "torch BFloat16Storage",
    "torch float32": "torch FloatStorage",
    "torch float64": "torch DoubleStorage",
    "torch complex64": "torch ComplexFloatStorage",
    "torch complex128": "torch ComplexDoubleStorage",
    "torch float8_e4m3fn": "torch CharStorage",
    "torch float8_e5m2": "torch CharStorage",
}
"""dtypes and the storage class whose items have the same size."""

_TYPES = (
    "bool",
    "bytes",
    "bytearray",
    "dict",
    "float",
    "int",
    "list",
    "long",
    "object",
    "str",
    "tuple",
    "type",
    "unicode",
)
VALUES = (
    frozenset(ITEM_BYTES)
    | frozenset(KIND_OF_DTYPE)
    | {"numpy ndarray", "torch strided", "torch Tensor", "torch.nn.parameter Parameter", "typing Any"}
    | {f"{module} {name}" for module in _PYTHON for name in _TYPES}
    | {f"numpy {name}{bits}" for name in ("int", "uint", "float", "complex") for bits in (8, 16, 32, 64, 128)}
    | {"numpy bool_", "numpy bool", "numpy str_", "numpy bytes_"}
)
"""What a checkpoint may name but not call."""

_RUNNERS = """
__builtin__ UserDict UserList commands cPickle copy_reg exceptions popen2 imp distutils asyncore asynchat smtpd imghdr
crypt nis pipes telnetlib test torch torchvision torchaudio functorch numpy scipy pandas sympy numba cffi ctypes dill
cloudpickle joblib pip setuptools pkg_resources wheel _pytest pytest IPython ipykernel jupyter_client pexpect ptyprocess
sh plumbum fabric invoke paramiko psutil jinja2 mako numexpr tensorflow keras jax sklearn dask ray cupy triton yaml
hydra site
"""
_NOT_OWN = frozenset(sys.stdlib_module_names) | frozenset(_RUNNERS.split())
"""Packages whose names must be on the lists above: their functions and classes can run what they are given."""

_OPTIMIZERS = re.compile(r"torch\.optim\.[a-z_.]+ [A-Z]\w*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def is_own(name: str) -> bool:
    """Tell whether `module name` is of somebody's own code: data at most, and never imported."""
    module, _, attribute = name.partition(" ")
    if _OPTIMIZERS.fullmatch(name):
        return True
    if not (_NAME.fullmatch(module) and _NAME.fullmatch(attribute)):
        return False
    inside = attribute.split(".")
    return module.partition(".")[0] not in _NOT_OWN and not any(part.startswith("__") for part in inside)


def is_class_like(name: str) -> bool:
    """Tell whether the name is spelt as classes are; functions are not."""
    return name.rpartition(" ")[2].rpartition(".")[2].lstrip("_")[:1].isupper()


def explain_refused(name: str) -> str:
    """Return what it means that a checkpoint names it, where that is known."""
    if name.startswith(("torch.nn.", "torchvision.models", "torch.jit")):
        return ": a whole network was saved, with its code, not its weights"
    if name.startswith("torch._utils _rebuild_q"):
        return ": its tensors are quantised, and the networks here take floats"
    return ""
