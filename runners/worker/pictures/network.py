"""What the networks of single pictures share that leave PyTorch: one call for each camera's picture.

The picture's scaling and padding stay outside the file, and so does non-maximum suppression of the boxes that a
detector ends with: both are the authors' own code, and the same for every engine.
"""

from typing import Any, Dict, List, Sequence

from ..mmlab.common.libraries import load_library
from ..network import Arrays, Network


class PictureNetwork(Network):
    """A network that a `PictureAdapter` calls, one call a camera."""

    def feed(self, given: Any) -> Arrays:
        """Return the arrays of one picture; `given` is what the adapter's `make_input` makes of it."""
        raise NotImplementedError

    def answer(self, call: Arrays, given: Any) -> Any:
        """Return what the adapter's `call` would for this picture, of the outputs of its call."""
        raise NotImplementedError

    def feeds(self, inputs: Dict[str, Any]) -> List[Arrays]:
        """One call for each camera."""
        return [self.feed(given) for given in inputs.values()]

    def decode(self, calls: Sequence[Arrays], inputs: Dict[str, Any]) -> Dict[str, Any]:
        """The answers by camera."""
        with load_library("torch").inference_mode():
            return {name: self.answer(call, given) for call, (name, given) in zip(calls, inputs.items())}

    def tensor(self, array: Any) -> Any:
        """Return an array as a tensor on the adapter's device."""
        return load_library("torch").from_numpy(array).to(self.adapter._device)


def make_module(call: Any, holds: Any) -> Any:
    """Return a module in eval mode whose forward is `call` (tensors in, a tuple of tensors out).

    `holds` is the network whose weights `call` uses.
    """
    torch = load_library("torch")

    class Called(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = holds

        def forward(self, *inputs: Any) -> Any:
            return call(*inputs)

    return Called().eval()
