"""A model's weights: read from a checkpoint without running what it may hold, or drawn at random from a seed.

A checkpoint that does not fit is refused. mmcv's loader only logs keys that are missing, and a network with half its
weights drawn at random answers as fast, and as confidently, as the right one.
"""

import collections
import inspect
import pickle
import re
import types
import zlib
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Tuple

import numpy as np

from worker.mmlab.common.libraries import load_library
from worker.samples.nuscenes import DataError

MAX_ABSENT_SHARE = 0.01
"""Of the model's tensors, how many may be missing from the checkpoint or of another shape there."""
MAX_UNEXPECTED_SHARE = 0.05
"""Of the checkpoint's tensors, how many the model may not know."""
SHOWN_KEYS = 5
BOOKKEEPING = ("num_batches_tracked",)
"""Endings of keys that no inference reads."""

_RANDOM = re.compile(r"random:(\d{1,9})")
_SAFE_GLOBALS = {
    "torch._utils": re.compile(r"_rebuild_(tensor(_v2|_v3)?|parameter|sparse_tensor)"),
    "torch": re.compile(r"\w+Storage|Size|device|(u?int|float|bfloat|complex)\d+|bool"),
    "torch.storage": re.compile(r"(Untyped|Typed|_Untyped|_Typed)?Storage"),
    "torch.nn.parameter": re.compile(r"Parameter"),
    "collections": re.compile(r"OrderedDict"),
    "numpy": re.compile(r"dtype|ndarray"),
    "numpy.core.multiarray": re.compile(r"scalar|_reconstruct"),
    "numpy._core.multiarray": re.compile(r"scalar|_reconstruct"),
    "_codecs": re.compile(r"encode"),
}


class WeightsError(DataError):
    """The weights do not fit the model, or cannot be read. The message names keys and counts."""


class KeyReport(NamedTuple):
    """How a checkpoint's tensors and a model's compare, by key. `tolerated` are known to be of no account."""

    model_tensors: int
    checkpoint_tensors: int
    missing: Tuple[str, ...]
    unexpected: Tuple[str, ...]
    mismatched: Tuple[str, ...]
    tolerated: Tuple[str, ...]

    def summary(self) -> str:
        """One line for the log."""
        parts = ["{} of {} tensors loaded".format(self.model_tensors - self._absent(), self.model_tensors)]
        for name in ("missing", "mismatched", "unexpected", "tolerated"):
            keys = getattr(self, name)
            if keys:
                parts.append("{} {} ({})".format(len(keys), name, _abbreviate(keys)))
        return "; ".join(parts)

    def check(self, name: str) -> None:
        """Raises WeightsError above the shares that are stated at the top of this module; `name` is the checkpoint."""
        absent = self._absent() / max(1, self.model_tensors)
        unexpected = len(self.unexpected) / max(1, self.checkpoint_tensors)
        if absent > MAX_ABSENT_SHARE or unexpected > MAX_UNEXPECTED_SHARE:
            raise WeightsError(
                "{} does not fit the model: {}. At most {:.0%} of the model's tensors may be absent and {:.0%} of the "
                "checkpoint's unknown; is it for another configuration?".format(
                    name, self.summary(), MAX_ABSENT_SHARE, MAX_UNEXPECTED_SHARE
                )
            )

    def _absent(self) -> int:
        return len(self.missing) + len(self.mismatched)


def compare_keys(
    model_shapes: Mapping[str, Tuple[int, ...]],
    checkpoint_shapes: Mapping[str, Tuple[int, ...]],
    *,
    tolerated: Iterable[str] = (),
) -> KeyReport:
    """Compare tensors by key and shape. Keys that end in one of `tolerated` or BOOKKEEPING count neither way."""
    endings = (*BOOKKEEPING, *tolerated)
    missing = [key for key in model_shapes if key not in checkpoint_shapes]
    unexpected = [key for key in checkpoint_shapes if key not in model_shapes]
    shared = [key for key in model_shapes if key in checkpoint_shapes]
    return KeyReport(
        model_tensors=len(model_shapes),
        checkpoint_tensors=len(checkpoint_shapes),
        missing=tuple(key for key in missing if not key.endswith(endings)),
        unexpected=tuple(key for key in unexpected if not key.endswith(endings)),
        mismatched=tuple(key for key in shared if model_shapes[key] != checkpoint_shapes[key]),
        tolerated=tuple(key for key in (*missing, *unexpected) if key.endswith(endings)),
    )


def parse_random(weights: str) -> int:
    """The seed of `random:SEED`. Raises WeightsError for anything else."""
    match = _RANDOM.fullmatch(weights)
    if match is None:
        raise WeightsError("weights {!r} are not random:SEED, such as random:0".format(weights))
    return int(match.group(1))


def random_array(key: str, shape: Tuple[int, ...], seed: int) -> "np.ndarray":
    """Values for the tensor `key`: the same for every library version, because only NumPy's frozen generator is asked.

    Weights are normal with variance 1 / inputs, scales near 1, shifts near 0, running variances within 0.5 to 1.5: the
    signal neither dies nor explodes on its way, so that a comparison of outputs compares the whole network.
    """
    generator = np.random.RandomState(zlib.crc32("{}:{}".format(seed, key).encode()))
    if key.endswith("running_var"):
        return np.asarray(0.5 + generator.random_sample(shape))
    if len(shape) >= 2:
        return np.asarray(generator.standard_normal(shape) / np.sqrt(max(1, int(np.prod(shape[1:])))))
    values = np.asarray(0.05 * generator.standard_normal(shape))
    return values + 1.0 if key.endswith("weight") else values


def random_state(model: Any, seed: int) -> "collections.OrderedDict[str, Any]":
    """A state dict for `model`: every weight and running statistic drawn, constants as they were built.

    Some heads keep constants, such as the range of positions, as parameters that are not trained. Frozen layers are
    drawn, and known by their parameters' names.
    """
    torch = load_library("torch")
    layers = ("weight", "bias", "running_mean", "running_var")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    state: "collections.OrderedDict[str, Any]" = collections.OrderedDict()
    for key, tensor in model.state_dict().items():
        drawn = key in trained or key.endswith(layers)
        if drawn and tensor.dtype.is_floating_point:
            state[key] = torch.as_tensor(random_array(key, tuple(tensor.shape), seed)).to(tensor.dtype)
        else:
            state[key] = tensor.detach().clone()
    return state


def save_random(model: Any, seed: int, path: str) -> None:
    """Write a checkpoint of random weights for `model`, in the form in which mm libraries write theirs."""
    torch = load_library("torch")
    torch.save({"meta": {"weights": "random:{}".format(seed)}, "state_dict": random_state(model, seed)}, path)


def load_into(model: Any, path: str, *, tolerated: Iterable[str] = ()) -> KeyReport:
    """Load the checkpoint at `path` into `model`, and report what did not fit.

    Raises:
        WeightsError: it cannot be read, or too much of it does not fit; the model is then not to be used.
    """
    state = read_state(path)
    own = model.state_dict()
    report = compare_keys(_shapes(own), _shapes(state), tolerated=tolerated)
    report.check(path)
    fitting = collections.OrderedDict((key, value) for key, value in state.items() if key not in report.mismatched)
    if getattr(state, "_metadata", None) is not None:
        fitting._metadata = state._metadata  # type: ignore[attr-defined]  # torch's versions of modules
    model.load_state_dict(fitting, strict=False)
    return report


def read_state(path: str) -> Any:
    """The tensors of a checkpoint by key; prefixes of data-parallel training are taken away.

    Raises:
        WeightsError: the file is none of a checkpoint.
    """
    content = _read(path)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise WeightsError("{} holds a {}, not a checkpoint".format(path, type(content).__name__))
    torch = load_library("torch")
    tensors = collections.OrderedDict(
        (key[len("module.") :] if key.startswith("module.") else key, value)
        for key, value in state.items()
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    )
    if not tensors:
        raise WeightsError("{} holds no tensors".format(path))
    tensors._metadata = getattr(state, "_metadata", None)  # type: ignore[attr-defined]
    return tensors


def _read(path: str) -> Any:
    try:
        if path.endswith(".safetensors"):
            return load_library("safetensors.torch").load_file(path)
        torch = load_library("torch")
        # torch 2.6's own safe reader refuses the metadata of older mm checkpoints, and torch 1.9 has none.
        modern = {"weights_only": False} if "weights_only" in inspect.signature(torch.load).parameters else {}
        return torch.load(path, map_location="cpu", pickle_module=_inert_pickle(), **modern)
    except Exception as error:  # unpickling damaged bytes raises anything
        raise WeightsError("{} cannot be read as a checkpoint: {}".format(path, error)) from error


class _Inert(dict):  # type: ignore[type-arg]
    """Stands in for any object of a checkpoint that is neither a tensor nor plain data; nothing of it is run."""

    def __new__(cls, *_: Any, **__: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        """Forget the state."""

    def append(self, _: Any) -> None:
        """Forget the item."""

    def extend(self, _: Any) -> None:
        """Forget the items."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        pattern = _SAFE_GLOBALS.get(module)
        if pattern is not None and pattern.fullmatch(name):
            return super().find_class(module, name)
        return _Inert


def _inert_pickle() -> types.ModuleType:
    """A module that torch.load takes in place of pickle."""
    module = types.ModuleType("inert_pickle")
    module.Unpickler = _Unpickler  # type: ignore[attr-defined]
    module.load = lambda file, **options: _Unpickler(file, **options).load()  # type: ignore[attr-defined]
    return module


def _shapes(state: Mapping[str, Any]) -> Dict[str, Tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _abbreviate(keys: Iterable[str]) -> str:
    listed: List[str] = list(keys)
    rest = len(listed) - SHOWN_KEYS
    return ", ".join(listed[:SHOWN_KEYS]) + (" and {} more".format(rest) if rest > 0 else "")
