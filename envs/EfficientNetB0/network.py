"""What of EfficientNetB0 leaves PyTorch: the whole classifier, up to the logits of ImageNet's classes.

Outside: timm's own transform of the picture, the softmax, and the sum over the classes of cars.
"""

from types import MappingProxyType
from typing import Any, Sequence

from worker.network import Arrays, TensorSpec
from worker.pictures.network import PictureNetwork, make_module

SIDE = 224
CLASSES = 1000


class Classifier(PictureNetwork):
    """image (B, 3, 224, 224) → logits (B, 1000)."""

    lengths = MappingProxyType({"batch": (1, 1, 8)})

    def inputs(self) -> Sequence[TensorSpec]:
        return (TensorSpec("image", "float32", ("batch", 3, SIDE, SIDE), "RGB, normalized", "middle of the picture"),)

    def outputs(self) -> Sequence[TensorSpec]:
        return (TensorSpec("logits", "float32", ("batch", CLASSES), "ImageNet's classes"),)

    def build(self) -> Any:
        network = self.adapter._network
        return make_module(lambda image: (network(image),), network)

    def feed(self, given: Any) -> Arrays:
        return {"image": given.cpu().numpy()}

    def answer(self, call: Arrays, given: Any) -> Any:
        return self.tensor(call["logits"])[0].softmax(-1)


NETWORKS = {"default": Classifier}
