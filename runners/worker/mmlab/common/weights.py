"""A model's weights: read from a checkpoint without running what it may hold, or drawn at random from a seed.

A checkpoint that does not fit is refused, were it by one tensor: mmcv's loader only logs keys that are missing, and a
network with some of its weights drawn at random answers as fast, and as confidently, as the right one.
"""

import collections
import random
import re
import zlib
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from ...samples.nuscenes import DataError
from ..state_dict import StateError, find_state, fit_keys
from .checkpoint_file import CheckpointFileError, read_checkpoint
from .libraries import load_library

MAX_UNEXPECTED_SHARE = 0.05
"""Of the checkpoint's tensors, how many the model may not know: what only training used. They are named."""
SHOWN_KEYS = 5
CONSTANTS = {
    "num_batches_tracked": "counts batches in training; no inference reads it",
    "relative_position_index": "made of the window's size, of which it is a table",
    "relative_coords_table": "made of the window's size, of which it is a table",
    "position_ids": "the numbers 0, 1, 2, …",
}
"""Endings of keys that a checkpoint may lack, or have and the model not, with the reason why that is of no account."""

Change = Callable[[Any, Mapping[str, Any]], List[str]]
"""Changes a state, under the network's own keys, to what its layers take; `own` is the network's. Returns notes."""
INITIAL_SEED = 0
_RANDOM = re.compile(r"random:(\d{1,9})")


class WeightsError(DataError):
    """The weights do not fit the model, or cannot be read. The message names keys and counts."""


class KeyReport(NamedTuple):
    """How a checkpoint's tensors and a model's compare, by key. `tolerated` are known to be of no account.

    `shapes` are, of every mismatched key, the checkpoint's and the model's.
    """

    model_tensors: int
    checkpoint_tensors: int
    missing: Tuple[str, ...]
    unexpected: Tuple[str, ...]
    mismatched: Tuple[str, ...]
    tolerated: Tuple[str, ...]
    shapes: Tuple[Tuple[Tuple[int, ...], Tuple[int, ...]], ...] = ()
    foreign: Tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether every tensor of the model gets a value, and nothing says that the checkpoint is of another model."""
        share = len(self.unexpected) / max(1, self.checkpoint_tensors)
        return not (self.missing or self.mismatched or self.foreign or share > MAX_UNEXPECTED_SHARE)

    def summary(self) -> str:
        """One line for the log."""
        absent = len(self.missing) + len(self.mismatched)
        parts = ["{} of {} tensors loaded".format(self.model_tensors - absent, self.model_tensors)]
        spelt = {
            "missing": self.missing,
            "mismatched": tuple(
                "{} {} for {}".format(key, list(given), list(wanted))
                for key, (given, wanted) in zip(self.mismatched, self.shapes)
            )
            or self.mismatched,
            "unexpected": self.unexpected,
            "tolerated": self.tolerated,
        }
        for name, keys in spelt.items():
            if keys:
                parts.append("{} {} ({})".format(len(keys), name, _abbreviate(keys)))
        return "; ".join(parts)

    def check(self, name: str, *, fitting: Optional[str] = None) -> None:
        """Raises WeightsError unless all fits; `name` is the checkpoint, `fitting` says which config does."""
        if self.fits:
            return
        if self.foreign:
            why = "The network has no {}".format(_abbreviate(self.foreign))
        elif self.missing or self.mismatched:
            why = "Every tensor of the network must come from the checkpoint"
        else:
            why = "At most {:.0%} of a checkpoint's tensors may be unknown".format(MAX_UNEXPECTED_SHARE)
        raise WeightsError(
            "{} does not fit the model: {}. {}. {}".format(
                name, self.summary(), why, fitting or "Is it for another configuration? Pass --config"
            )
        )


class Loaded(NamedTuple):
    """What was loaded. `notes` name choices and conversions that the run's records are to say."""

    report: KeyReport
    notes: Tuple[str, ...]

    def summary(self) -> str:
        """One line for the log."""
        return "; ".join((self.report.summary(), *self.notes))


def compare_keys(
    model_shapes: Mapping[str, Tuple[int, ...]],
    checkpoint_shapes: Mapping[str, Tuple[int, ...]],
    *,
    tolerated: Iterable[str] = (),
) -> KeyReport:
    """Compare tensors by key and shape. Keys that end in one of `tolerated` or CONSTANTS count neither way."""
    endings = (*CONSTANTS, *tolerated)
    missing = [key for key in model_shapes if key not in checkpoint_shapes]
    unexpected = [key for key in checkpoint_shapes if key not in model_shapes]
    shared = [key for key in model_shapes if key in checkpoint_shapes]
    mismatched = [key for key in shared if not _same_shape(checkpoint_shapes[key], model_shapes[key])]
    parts = {key.partition(".")[0] for key in model_shapes}
    counted = [key for key in unexpected if not key.endswith(endings)]
    return KeyReport(
        model_tensors=len(model_shapes),
        checkpoint_tensors=len(checkpoint_shapes),
        missing=tuple(key for key in missing if not key.endswith(endings)),
        unexpected=tuple(counted),
        mismatched=tuple(mismatched),
        tolerated=tuple(key for key in (*missing, *unexpected) if key.endswith(endings)),
        shapes=tuple((checkpoint_shapes[key], model_shapes[key]) for key in mismatched),
        foreign=tuple(sorted({key.partition(".")[0] for key in counted if "." in key} - parts)),
    )


def _same_shape(given: Tuple[int, ...], wanted: Tuple[int, ...]) -> bool:
    """Tell whether torch takes it: it also takes one number for a scalar, as torch before 0.4 wrote it."""
    return given == wanted or (wanted == () and given == (1,))


def seed_initial_values(seed: int = INITIAL_SEED) -> None:
    """Let a network's constructors draw the same numbers in every run, whatever of them stays."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  the generator that constructors use
    load_library("torch").manual_seed(seed)


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
    own = model.state_dict()
    state: "collections.OrderedDict[str, Any]" = collections.OrderedDict()
    state._metadata = own._metadata  # type: ignore[attr-defined]  # without versions mmdet takes keys for old ones
    for key, tensor in own.items():
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


def load_into(
    model: Any,
    path: str,
    *,
    tolerated: Iterable[str] = (),
    ema: Optional[bool] = None,
    fitting: Any = None,
    change: Optional[Change] = None,
) -> Loaded:
    """Load the checkpoint at `path` into `model`.

    `ema` asks for the moving average in it (True) or for the trained weights (False); else the average is taken where
    there are no others. `fitting`, called with the state where it does not fit, says which configuration it fits.
    `change` turns tensors that another library wrote in another layout.

    Raises:
        WeightsError: it cannot be read, or a tensor of the model is not in it; the model is then not to be used.
    """
    state, notes = read_state(path, ema=ema)
    own = model.state_dict()
    renamed = _rename(state, own)
    if change is not None:
        notes.extend(change(renamed, own))
    _fill_modules(model, renamed, own)
    report = compare_keys(_shapes(own), _shapes(renamed), tolerated=tolerated)
    if not report.fits:
        report.check(path, fitting=fitting(state) if fitting is not None else None)
    notes.extend(_check_values(path, model, renamed))
    if report.unexpected:
        notes.append("weights-unused")
    return Loaded(report, tuple(notes))


def fits(
    model: Any, state: Mapping[str, Any], *, tolerated: Iterable[str] = (), change: Optional[Change] = None
) -> bool:
    """Tell whether a state, as `read_state` gives it, is of this network, by its keys and shapes."""
    own = model.state_dict()
    keys = fit_keys(state, own)
    renamed = {keys[key]: value for key, value in state.items()}
    if change is not None:
        change(renamed, own)
    return compare_keys(_shapes(own), _shapes(renamed), tolerated=tolerated).fits


def read_state(path: str, *, ema: Optional[bool] = None) -> Tuple[Any, List[str]]:
    """The tensors of a checkpoint by key, and notes on which were chosen.

    Raises:
        WeightsError: the file is none of a checkpoint.
    """
    torch = load_library("torch")
    content = read_content(path)
    try:
        found = find_state(content, lambda value: isinstance(value, torch.Tensor), ema=ema)
    except StateError as error:
        raise WeightsError("{} cannot be read as a checkpoint: {}".format(path, error)) from error
    state = collections.OrderedDict(found.tensors)
    state._metadata = getattr(_at(content, found.path), "_metadata", None)  # type: ignore[attr-defined]
    notes = ["ema-weights"] if found.ema else []
    if found.left and not found.ema:
        notes.append("ema-left-aside")
    return state, notes


def read_content(path: str) -> Any:
    """What a checkpoint's file holds, with stand-ins for all that is neither a tensor nor plain data.

    Raises:
        WeightsError: the file is none of a checkpoint.
    """
    try:
        return read_checkpoint(path)
    except CheckpointFileError as error:
        raise WeightsError("{} cannot be read as a checkpoint: {}".format(path, error)) from error


def _at(content: Any, path: Iterable[str]) -> Any:
    for key in path:
        content = content[key]
    return content


def _rename(state: Any, own: Mapping[str, Any]) -> Any:
    """The state under the network's own keys, with torch's versions of its modules."""
    keys = fit_keys(state, own)
    renamed = collections.OrderedDict((keys[key], value) for key, value in state.items())
    metadata = getattr(state, "_metadata", None)
    if isinstance(metadata, dict):
        prefix = next((key[: -len(keys[key])] for key in keys if keys[key] and key.endswith(keys[key])), "")
        known = {str(name) + ".": value for name, value in metadata.items() if isinstance(value, dict)}
        renamed._metadata = {  # type: ignore[attr-defined]
            name[len(prefix) :].rstrip("."): value for name, value in known.items() if name.startswith(prefix)
        }
    return renamed


def _fill_modules(model: Any, state: Any, own: Iterable[str]) -> None:
    """Fill every module as torch and mmcv do; hooks of theirs rename keys of older versions in `state`.

    A tensor that is missing or of another shape does not raise here: the report names them all at once.
    """
    metadata = getattr(state, "_metadata", None) or {}
    keys = list(own)

    def fill(module: Any, prefix: str) -> None:
        facts = metadata.get(prefix[:-1]) or _guess_version(module, prefix, state, keys)
        module._load_from_state_dict(state, prefix, facts, False, [], [], [])
        for name, child in module._modules.items():
            if child is not None:
                fill(child, prefix + name + ".")

    fill(model, "")


def _guess_version(module: Any, prefix: str, state: Mapping[str, Any], own: Iterable[str]) -> Dict[str, Any]:
    """The version of a module's keys where the file does not say it, as safetensors and plain dictionaries do not.

    It is the present one if all keys are there under their present names. Hooks take no version for a very old one, and
    would rename them: mmdet's `AnchorFreeHead`, every key of a head that ends in `cls` or `reg`. A child's constants
    may be absent; the module's own may not, because a hook fills them in.
    """
    parts = (key for key in own if key.startswith(prefix))
    wanted = (key for key in parts if "." not in key[len(prefix) :] or not key.endswith(tuple(CONSTANTS)))
    return {"version": module._version} if all(key in state for key in wanted) else {}


def _check_values(path: str, model: Any, state: Mapping[str, Any]) -> List[str]:
    """The conversions that loading made. Raises WeightsError for values that no network computes with."""
    own = model.state_dict()
    shared = [(key, own[key], value) for key, value in state.items() if key in own]
    kinds = set()
    for key, wanted, given in shared:
        if wanted.dtype.is_floating_point and not given.dtype.is_floating_point:
            raise WeightsError("{}: {} is of {}, and the network takes floats".format(path, key, given.dtype))
        if wanted.dtype.is_floating_point and given.dtype != wanted.dtype:
            kinds.add(str(given.dtype).rpartition(".")[2])
    trained = {name for name, _ in model.named_parameters()}
    broken = [key for key, wanted, _ in shared if key in trained and bool((wanted != wanted).any())]
    if broken:
        raise WeightsError("{}: {} tensors hold NaN ({})".format(path, len(broken), _abbreviate(broken)))
    return ["weights-from-" + kind for kind in sorted(kinds)]


def _shapes(state: Mapping[str, Any]) -> Dict[str, Tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _abbreviate(keys: Iterable[str]) -> str:
    listed: List[str] = list(keys)
    rest = len(listed) - SHOWN_KEYS
    return ", ".join(listed[:SHOWN_KEYS]) + (" and {} more".format(rest) if rest > 0 else "")
