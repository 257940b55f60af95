"""What of YOLOv8 leaves PyTorch: the whole network with its decoding, up to boxes and scores before suppression.

Outside: the library's own padding of the picture, and its non-maximum suppression. Whatever is the library's is called
by the adapter in demo.py: this file imports nothing of it. The file that it exports holds the library's network: it is
under AGPL-3.0, as the weights are.
"""

from types import MappingProxyType
from typing import Any, Sequence

from worker.mmlab.common.libraries import load_library
from worker.network import PIXELS, Arrays, TensorSpec
from worker.pictures.coco import CLASSES
from worker.pictures.network import PictureNetwork, make_module


class Heads(PictureNetwork):
    """image (B, 3, H, W) → boxes (B, 4, N): x, y of the centre, width, height; scores (B, 80, N) of the classes."""

    # The longer side has 640 pixels, the shorter what the picture's shape needs, in steps of 32.
    lengths = MappingProxyType({"batch": (1, 1, 8), "height": (32, 384, 640), "width": (32, 640, 640)})

    def inputs(self) -> Sequence[TensorSpec]:
        return (TensorSpec("image", "float32", ("batch", 3, "height", "width"), "RGB, 0 to 1", "padded picture"),)

    def outputs(self) -> Sequence[TensorSpec]:
        return (
            TensorSpec("boxes", "float32", ("batch", 4, "anchors"), PIXELS, "centre and size in the padded picture"),
            TensorSpec("scores", "float32", ("batch", len(CLASSES), "anchors"), "0 to 1"),
        )

    def build(self) -> Any:
        network = self.adapter._predictor.model.backend.model
        # The anchors follow from the picture's size, and not from that of the trace.
        network.model[-1].dynamic = True

        def call(image: Any) -> Any:
            predictions = network(image)[0]
            return predictions[:, :4], predictions[:, 4:]

        return make_module(call, network)

    def feed(self, given: Any) -> Arrays:
        return {"image": given[0].cpu().numpy()}

    def answer(self, call: Arrays, given: Any) -> Any:
        predictions = load_library("torch").cat([self.tensor(call["boxes"]), self.tensor(call["scores"])], dim=1)
        return self.adapter.suppress(predictions, [given])[0]


NETWORKS = {"default": Heads}
