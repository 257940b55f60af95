"""The adapter of a network that looks at single pictures: everything but what is the network's own."""

import os
import re
import tempfile
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..adapter import Adapter, Settings
from ..graphs import find_modules
from ..mmlab.common.inputs import to_device
from ..mmlab.common.libraries import load_library, versions
from ..mmlab.common.log import say
from ..mmlab.common.precision import read_tf32, set_tf32
from ..mmlab.common.weights import (
    WeightsError,
    load_into,
    parse_random,
    random_state,
    read_content,
    seed_initial_values,
)
from ..mmlab.state_dict import StateError, find_state
from ..precision import InForce
from .reading import read_picture
from .records import require_cameras

MIN_CONFIDENCE = 0.001
"""From which confidence on detectors give boxes: a curve of precision over recall that begins at 0.05 is cut."""


class PictureAdapter(Adapter):
    """A network that sees one picture at a time: each camera of a sample alone, so that none depends on another."""

    default_config = ""
    """The catalogue's configuration that holds where the host names none."""
    tolerated_keys: Tuple[str, ...] = ()
    """Endings of buffers that a checkpoint may lack, or have and the network not; say why beside them."""
    kept_keys: Tuple[str, ...] = ()
    """Patterns of tensors that random weights leave as the network's constructor made them; say why beside them."""
    drawn_scales: Mapping[str, float] = MappingProxyType({})
    """Pattern of tensors → what random weights of theirs are multiplied by; say why beside it."""
    prefers_average = False
    """Whether the authors' own loader takes the moving average of a checkpoint that has one."""
    graph_modules: Tuple[str, ...] = ()
    """The modules that `--graphs` records, by their dotted names in the network; `""` is the whole of it."""
    library_names: Sequence[str] = ("torch", "torchvision", "numpy", "PIL")

    def build(self, config: str) -> Any:
        """Return the network of a configuration, on the CPU, with the weights that its constructor drew."""
        raise NotImplementedError

    def begin(self, network: Any, settings: Settings) -> Any:
        """Return the network as it is called: on its device, ready to answer. `shrink` may lower its input's size."""
        return network.to(settings.device).eval()

    def make_input(self, picture: Any) -> Any:
        """Return a picture (RGB, a pillow image) as the network takes it, still on the host."""
        raise NotImplementedError

    def place_input(self, given: Any) -> Any:
        """Return a picture's input on the network's device."""
        return to_device(given, self._device)

    def call(self, given: Any) -> Any:
        """Call the network on one picture's input."""
        return self.call_together([given])[0]

    def size_of(self, given: Any) -> Tuple[int, ...]:
        """The size of a picture's input: only pictures of one size are looked at together."""
        raise NotImplementedError

    def call_together(self, given: List[Any]) -> List[Any]:
        """Call the network once on the inputs of several pictures of one size."""
        raise NotImplementedError

    def load(self, settings: Settings) -> List[str]:
        """Build and fill the network."""
        config = os.path.abspath(settings.config) if settings.config else self.default_config
        checkpoint = os.path.abspath(settings.checkpoint) if settings.checkpoint else ""
        self._device = settings.device
        set_tf32(settings.precision)
        seed_initial_values()
        network = self.build(config)
        notes = self._fill(network, checkpoint, settings) if settings.engine is None else []
        self._network = self.begin(network, settings)
        return notes

    def read(self, described: Dict[str, Any]) -> Dict[str, Any]:
        """The network's input of every camera, on the host. Raises DataError for a picture that cannot be read."""
        require_cameras(described)
        return {name: self.make_input(read_picture(name, camera)) for name, camera in described["cameras"].items()}

    def place(self, read: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        """The network's input of every camera, on its device."""
        return {name: self.place_input(given) for name, given in read.items()}

    def forward(self, inputs: Dict[str, Any]) -> Dict[str, Any]:
        """What the network says of every camera's picture."""
        with load_library("torch").inference_mode():
            return {name: self.call(given) for name, given in inputs.items()}

    def forward_batch(self, inputs: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """What the network says of every camera's picture of several samples.

        Libraries pad the pictures of a batch to one another, which moves boxes: so those of one size go together. Those
        whose batch took longer than the library allows are looked at one by one, each with a limit of its own.
        """
        groups = group_sizes([{name: self.size_of(given) for name, given in sample.items()} for sample in inputs])
        found: List[Dict[str, Any]] = [dict.fromkeys(sample) for sample in inputs]
        with load_library("torch").inference_mode():
            for places in groups:
                answers = self._call_within_limits([inputs[number][name] for number, name in places])
                for (number, name), answer in zip(places, answers):
                    found[number][name] = answer
        return found

    def _call_within_limits(self, given: List[Any]) -> List[Any]:
        try:
            return self.call_together(given)
        except TimeoutError:
            if len(given) == 1:
                raise
            return [self.call(one) for one in given]

    def graph_parts(self) -> Dict[str, Any]:
        """Those of `graph_modules` that the network has."""
        return find_modules(self._network, self.graph_modules)

    def synchronize(self) -> None:
        """Wait for the GPU."""
        if self._device != "cpu":
            load_library("torch").cuda.synchronize(self._device)

    def precision(self) -> InForce:
        """Return the arithmetic in force: single precision, with or without TF32 on a GPU."""
        return read_tf32(self._device)

    def libraries(self) -> Dict[str, str]:
        """The libraries that decide the result."""
        return versions(self.library_names)

    def _fill(self, network: Any, checkpoint: str, settings: Settings) -> List[str]:
        """Load the checkpoint, or draw one: random weights take the same way in, through a file. Returns its notes."""
        weights = str(settings.options.get("weights") or "")
        if weights:
            with tempfile.TemporaryDirectory(prefix="admlops-weights-") as folder:
                path = os.path.join(folder, "random.pth")
                self.save_random(network, parse_random(weights), path)
                loaded = load_into(network, path, tolerated=self.tolerated_keys)
            say("{}: RANDOM WEIGHTS ({}); {}".format(self.name, weights, loaded.summary()))
        elif checkpoint:
            ema = {"use": True, "leave": False}.get(str(settings.options.get("ema")))
            if ema is None and self.prefers_average:
                ema = has_average(checkpoint)
            loaded = load_into(network, checkpoint, tolerated=self.tolerated_keys, ema=ema)
            say("{}: {}; {}".format(self.name, checkpoint, loaded.summary()))
        else:
            raise WeightsError("{} needs weights: --checkpoint FILE, or --weights random:SEED".format(self.name))
        return list(loaded.notes)

    def save_random(self, network: Any, seed: int, path: str) -> None:
        """Write a checkpoint of random weights, as `kept_keys` and `drawn_scales` say."""
        own, state = network.state_dict(), random_state(network, seed)
        for key in state:
            if any(re.search(pattern, key) for pattern in self.kept_keys):
                state[key] = own[key].detach().clone()
            for pattern, factor in self.drawn_scales.items():
                if re.search(pattern, key):
                    state[key] = state[key] * factor
        load_library("torch").save({"state_dict": state}, path)


def group_sizes(sizes: List[Dict[str, Tuple[int, ...]]]) -> List[List[Tuple[int, str]]]:
    """Group pictures by their size. They are named by sample and camera; the order of each group is theirs."""
    groups: Dict[Tuple[int, ...], List[Tuple[int, str]]] = {}
    for number, cameras in enumerate(sizes):
        for name, size in cameras.items():
            groups.setdefault(size, []).append((number, name))
    return list(groups.values())


def has_average(path: str) -> Optional[bool]:
    """Tell whether a checkpoint holds a moving average: True, or None, which leaves the choice to the reader."""
    tensor = load_library("torch").Tensor
    try:
        find_state(read_content(path), lambda value: isinstance(value, tensor), ema=True)
    except StateError:
        return None
    return True
