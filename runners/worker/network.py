"""What of a model leaves PyTorch: subclass `Network` in `envs/<Model>/network.py`, and name it in `NETWORKS` there.

    from worker.network import Network, TensorSpec

    class Classifier(Network):
        def inputs(self):
            return (TensorSpec("image", "float32", ("batch", 3, 224, 224), unit="0 to 255"),)
        ...

    NETWORKS = {"default": Classifier}

The adapter keeps `prepare` and `convert`, whatever executes the network. Only the call between them changes:

    feeds  = network.feeds(adapter.prepare(sample))   arrays by name, one dictionary a call
    calls  = session.run({**feed, **state})           PyTorch's module, ONNX Runtime, TensorRT
    output = adapter.convert(network.decode(calls, inputs), sample)

What a scene carries from sample to sample is no secret of the network: it is inputs and outputs, as `carried` names
them. The rig and poses are inputs too; a matrix that the trace bakes in is right for one vehicle alone.

This file needs Python 3.8 and its standard library; numpy and torch come from the model's environment.
"""

import os
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from types import MappingProxyType
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple, Type, Union

from .adapter import Adapter

FILE_NAME = "network.py"
DEFAULT_FORM = "default"
CAMERA_AXES = ("camera_height", "camera_width")
"""What an export may say beside the axes of tensors: the size of the cameras' pictures [pixels]."""
PIXELS = "pixels"
"""The unit of outputs that are places and lengths in a picture: what they may differ by grows with the picture."""
Arrays = Dict[str, Any]
"""NumPy arrays by the names of inputs or outputs."""


class NetworkError(ValueError):
    """A network cannot be exported or fed as asked. The text names the model, the tensor or the file.

    `hint` is the command that helps, where whoever asked can do something about it.
    """

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__("{}: {}".format(text, hint) if hint else text)
        self.text, self.hint = text, hint


def refuse_export(name: str, reason: str) -> NetworkError:
    """Return the error for a model whose configuration cannot be exported."""
    hint = "admlops models show {}   # lists its other configurations".format(name)
    return NetworkError("{} cannot be exported: {}".format(name, reason), hint=hint)


class Paired(NamedTuple):
    """The outputs of two engines with their rows in one order.

    `unpaired` is the share of rows that were left out for want of a counterpart, by output; outputs whose rows come in
    a fixed order are not in it.
    """

    ours: Arrays
    theirs: Arrays
    unpaired: Mapping[str, float]


class TensorSpec(NamedTuple):
    """One input or output.

    `dtype` is NumPy's name of it. An axis is a length, or the name of one that may vary: ("batch", 5, 96, 160).
    `unit` and `frame` say what the numbers are: "m", "lidar"; empty where they mean nothing outside the network.
    What is in PIXELS is an output of its own, so that nothing else is held to its bound.
    """

    name: str
    dtype: str
    shape: Tuple[Union[int, str], ...]
    unit: str = ""
    frame: str = ""

    @property
    def dynamic_axes(self) -> Dict[int, str]:
        """The axes that may vary, with their names."""
        return {index: axis for index, axis in enumerate(self.shape) if isinstance(axis, str)}

    def concrete(self, axes: Mapping[str, int]) -> Tuple[int, ...]:
        """Return the shape with a length for every axis; 1 for those that `axes` does not name."""
        return tuple(axes.get(axis, 1) if isinstance(axis, str) else axis for axis in self.shape)


class Network:
    """The network of a model that its adapter has loaded.

    With `Settings.engine` set the adapter has loaded no weights: then everything but `build` works.
    """

    departs = ""
    """In what the exported form computes otherwise than the adapter's own forward; empty where it computes the same."""
    carried: Mapping[str, str] = MappingProxyType({})
    """Output → the input that it is at the next sample of the scene."""
    fixed_axes: Mapping[str, int] = MappingProxyType({})
    """Named axes that an export fixes, such as the pictures' height, and their lengths where nobody says others."""
    lengths: Mapping[str, Tuple[int, int, int]] = MappingProxyType({})
    """Axis that may vary → its least, usual and largest length: traces take the usual, engines are built for all."""

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter

    def inputs(self) -> Sequence[TensorSpec]:
        """Return the inputs in the order of the module's arguments, carried ones included."""
        raise NotImplementedError

    def outputs(self) -> Sequence[TensorSpec]:
        """Return the outputs in the order of what the module returns, carried ones included."""
        raise NotImplementedError

    def build(self) -> Any:
        """Return a `torch.nn.Module` in eval mode on the adapter's device: tensors in, a tuple of tensors out."""
        raise NotImplementedError

    def feeds(self, inputs: Any) -> List[Arrays]:
        """Return the calls that one prepared sample takes, each as arrays by input, without the carried ones.

        Raises DataError where the sample is at fault.
        """
        raise NotImplementedError

    def decode(self, calls: Sequence[Arrays], inputs: Any) -> Any:
        """Return what the adapter's `forward` would, of the outputs of each call; `inputs` is what `prepare` gave."""
        raise NotImplementedError

    def pair(self, ours: Arrays, theirs: Arrays) -> Paired:
        """Return the outputs of two engines for one input with their rows in one order, ready to be compared.

        Override it where rows come in the order of scores: those that are equal but for rounding change places, and
        the last chosen ones are chosen by one side alone. `worker.rows` has what is needed. Rows without a counterpart
        are left out and counted. Without such outputs nothing is to do.
        """
        return Paired(ours, theirs, {})

    def fix_axes(self, given: Mapping[str, int]) -> Dict[str, int]:
        """Return the lengths to trace with: `fixed_axes`, as far as `given` does not say others.

        `given` has lengths by axis, and `camera_height` and `camera_width` [pixels] for models whose model.toml says
        `camera_sized`.
        """
        return {**self.fixed_axes, **given}

    def require_axes(self, names: Iterable[str]) -> None:
        """Raise NetworkError for an axis that no input has, nor the cameras' pictures."""
        known = sorted({axis for one in self.inputs() for axis in one.dynamic_axes.values()})
        for name in names:
            if name not in known and name not in CAMERA_AXES:
                has = ", ".join(known) or "none that varies"
                text = "{} has no axis called {}; it has {}".format(self.adapter.name, name, has)
                raise NetworkError(text, hint="leave --axis {}=… out".format(name))

    def start_scene(self) -> None:
        """Forget what `feeds` remembers of the scene before, such as the last pose. Nothing to do for most."""

    def first_state(self) -> Arrays:
        """Return the carried inputs at a scene's first sample: zeros, unless the network says otherwise."""
        numpy = import_module("numpy")
        wanted = set(self.carried.values())
        return {one.name: numpy.zeros(one.concrete({}), dtype=one.dtype) for one in self.inputs() if one.name in wanted}

    def example(self, axes: Mapping[str, int]) -> Arrays:
        """Return inputs to trace with, of these lengths of dynamic axes; drawn from a seed, or the first state.

        Axes that are not named have their usual length, or 1. Override it where the numbers must make sense, such as a
        rig's matrices.
        """
        numpy = import_module("numpy")
        random = numpy.random.default_rng(0)
        usual = {name: own[1] for name, own in self.lengths.items()}
        drawn = {
            one.name: random.standard_normal(one.concrete({**usual, **axes})).astype(one.dtype)
            for one in self.inputs()
            if one.name not in set(self.carried.values())
        }
        return {**drawn, **self.first_state()}


def load_network(adapter: Adapter, form: str = DEFAULT_FORM) -> Network:
    """Return a form of the network of a loaded adapter, from `network.py` beside the adapter's own file.

    Raises:
        NetworkError: there is no such file, or no such form in it.
    """
    forms = network_forms(adapter)
    if form not in forms:
        text = "{} has no network called {}; it has {}".format(adapter.name, form, ", ".join(forms))
        raise NetworkError(text, hint="admlops export {} --form {}".format(adapter.name, next(iter(forms))))
    return forms[form](adapter)


def network_forms(adapter: Adapter) -> Mapping[str, Type[Network]]:
    """Return `NETWORKS` of the model: form → class. Raises NetworkError where it has none."""
    own = sys.modules[type(adapter).__module__]
    file = os.path.join(os.path.dirname(os.path.abspath(str(own.__file__))), FILE_NAME)
    if not os.path.isfile(file):
        raise NetworkError("{} cannot leave PyTorch: it has no {}".format(adapter.name, FILE_NAME))
    name = "{}_network".format(adapter.name)
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise NetworkError("{} is not a Python file".format(file))
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    forms: Mapping[str, Type[Network]] = getattr(module, "NETWORKS", {})
    if not forms:
        raise NetworkError("{} names no class in NETWORKS".format(file))
    return forms


def check_feed(feed: Mapping[str, Any], specs: Sequence[TensorSpec], *, what: str) -> None:
    """Raise NetworkError for an array that is missing, unknown, or not of its type or shape."""
    wanted = {one.name: one for one in specs}
    for name in feed:
        if name not in wanted:
            raise NetworkError("{}: there is no tensor called {}; there are {}".format(what, name, ", ".join(wanted)))
    lengths: Dict[str, int] = {}
    for name, spec in wanted.items():
        if name not in feed:
            raise NetworkError("{}: {} is missing".format(what, name))
        array = feed[name]
        if str(array.dtype) != spec.dtype:
            raise NetworkError("{}: {} is {}, not {}".format(what, name, array.dtype, spec.dtype))
        fits = len(array.shape) == len(spec.shape) and all(
            length == (lengths.setdefault(axis, length) if isinstance(axis, str) else axis)
            for length, axis in zip(array.shape, spec.shape)
        )
        if not fits:
            raise NetworkError("{}: {} has shape {}, not {}".format(what, name, tuple(array.shape), spec.shape))
