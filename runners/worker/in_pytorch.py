"""The exported form of a network, executed by PyTorch: what every engine is held against."""

from importlib import import_module
from typing import Any, Callable, Dict, Mapping

from .network import Arrays, Network
from .runtimes.base import Session

EXPORTED_FORM = "exported_form"
"""The option of an adapter's settings by which its exported form runs in place of its own forward."""
Call = Callable[[Arrays], Arrays]


class TorchSession(Session):
    """The network's module, with the interface of an opened file."""

    provider = "PyTorch"

    def __init__(self, network: Network) -> None:
        self.inputs = [one.name for one in network.inputs()]
        self.outputs = [one.name for one in network.outputs()]
        self._call = torch_reference(network)

    def run(self, feed: Mapping[str, Any]) -> Dict[str, Any]:
        """Run the module on arrays of the host."""
        return self._call(dict(feed))


def torch_reference(network: Network) -> Call:
    """Return PyTorch's module as a function of arrays."""
    torch = import_module("torch")
    module = network.build().eval()
    device = getattr(network.adapter, "_device", "cpu")
    names_in = [one.name for one in network.inputs()]
    names_out = [one.name for one in network.outputs()]

    def call(whole: Arrays) -> Arrays:
        # Copies: some networks write into their inputs, and the engine gets the same arrays.
        with torch.no_grad():
            given = module(*[torch.from_numpy(whole[name].copy()).to(device) for name in names_in])
        return {name: one.cpu().numpy() for name, one in zip(names_out, given)}

    return call
