"""What of YOLOv5 leaves PyTorch: the whole network with its decoding, up to boxes and scores before suppression.

Outside: the padding of the picture and non-maximum suppression, both by the repository's AutoShape, whose network is
exchanged for one that gives what an exported file gave. This file imports nothing of the repository. The file that it
exports holds the repository's network: it is under AGPL-3.0, as the weights are.
"""

from types import MappingProxyType
from typing import Any, Sequence

import torch

from worker.network import PIXELS, Arrays, TensorSpec
from worker.pictures.coco import CLASSES
from worker.pictures.network import PictureNetwork, make_module


class Padded(Exception):  # noqa: N818  no error: it carries what was asked for
    """Carries the padded picture out of AutoShape, before it calls a network."""

    def __init__(self, picture: Any) -> None:
        super().__init__("padded")
        self.picture = picture


class StandIn(torch.nn.Module):
    """In the network's place: gives the predictions that it was made with, or leaves with the padded picture."""

    def __init__(self, device: str, predictions: Any = None) -> None:
        super().__init__()
        # AutoShape takes device and type from the network's first parameter.
        self.place = torch.nn.Parameter(torch.zeros(1, device=device), requires_grad=False)
        self._predictions = predictions

    def forward(self, picture: Any, augment: bool = False) -> Any:
        if self._predictions is None:
            raise Padded(picture)
        return (self._predictions,)


class Heads(PictureNetwork):
    """image (B, 3, H, W) → boxes (B, N, 4): centre x, y, width, height; scores (B, N, 81): objectness, classes."""

    # The longer side has 640 pixels, the shorter what the picture's shape needs, in steps of 32.
    lengths = MappingProxyType({"batch": (1, 1, 8), "height": (32, 384, 640), "width": (32, 640, 640)})

    def inputs(self) -> Sequence[TensorSpec]:
        return (TensorSpec("image", "float32", ("batch", 3, "height", "width"), "RGB, 0 to 1", "padded picture"),)

    def outputs(self) -> Sequence[TensorSpec]:
        return (
            TensorSpec("boxes", "float32", ("batch", "anchors", 4), PIXELS, "centre and size in the padded picture"),
            TensorSpec("scores", "float32", ("batch", "anchors", 1 + len(CLASSES)), "0 to 1"),
        )

    def build(self) -> Any:
        network = self.adapter._network.model
        # The grid follows from the picture's size, and not from that of the trace.
        network.model[-1].dynamic = True

        def call(image: Any) -> Any:
            predictions = network(image)[0]
            return predictions[..., :4], predictions[..., 4:]

        return make_module(call, network)

    def feed(self, given: Any) -> Arrays:
        try:
            self._call(given, None)
        except Padded as padded:
            return {"image": padded.picture.cpu().numpy()}
        raise AssertionError("AutoShape called no network")

    def answer(self, call: Arrays, given: Any) -> Any:
        return self._call(given, torch.cat([self.tensor(call["boxes"]), self.tensor(call["scores"])], dim=-1))

    def _call(self, given: Any, predictions: Any) -> Any:
        shaped = self.adapter._network
        own = shaped.model
        shaped.model = StandIn(self.adapter._device, predictions)
        try:
            return self.adapter.call(given)
        finally:
            shaped.model = own


NETWORKS = {"default": Heads}
