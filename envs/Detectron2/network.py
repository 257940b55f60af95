"""What of Detectron2's Faster R-CNN leaves PyTorch: both stages, up to the scores and shifts of boxes.

Inside: normalization, padding, ResNet-50 with FPN, the first stage with its own suppression (ONNX's
NonMaxSuppression), RoIAlign and the heads of the second stage. Outside: the scaling of the picture, and what
`box_predictor.inference` of the source makes of the answer: boxes, thresholds, suppression within classes.
"""

from types import MappingProxyType
from typing import Any, Sequence

from worker.mmlab.common.libraries import load_library
from worker.network import PIXELS, Arrays, Paired, TensorSpec
from worker.pictures.coco import CLASSES
from worker.pictures.network import PictureNetwork, make_module
from worker.rows import pair_rows

OUTPUTS = ("proposals", "class_logits", "box_regression")


class TwoStages(PictureNetwork):
    """image (3, H, W) → proposals (N, 4), class_logits (N, 81), box_regression (N, 320)."""

    lengths = MappingProxyType({"height": (320, 750, 1344), "width": (320, 1333, 1344)})

    def inputs(self) -> Sequence[TensorSpec]:
        return (TensorSpec("image", "float32", (3, "height", "width"), "BGR, 0 to 255", "scaled picture"),)

    def outputs(self) -> Sequence[TensorSpec]:
        return (
            TensorSpec("proposals", "float32", ("proposals", 4), PIXELS, "x1 y1 x2 y2 of the scaled picture"),
            TensorSpec("class_logits", "float32", ("proposals", len(CLASSES) + 1), "the background is the last"),
            TensorSpec("box_regression", "float32", ("proposals", 4 * len(CLASSES)), "shifts of each class's box"),
        )

    def build(self) -> Any:
        network = self.adapter._network
        heads = network.roi_heads

        def call(image: Any) -> Any:
            images = network.preprocess_image([{"image": image}])
            features = network.backbone(images.tensor)
            proposals, _ = network.proposal_generator(images, features, None)
            boxes = [one.proposal_boxes for one in proposals]
            pooled = heads.box_pooler([features[name] for name in heads.box_in_features], boxes)
            return (boxes[0].tensor, *heads.box_predictor(heads.box_head(pooled)))

        return make_module(call, network)

    def pair(self, ours: Arrays, theirs: Arrays) -> Paired:
        """The first stage gives its boxes from the best to the worst score."""
        return pair_rows(OUTPUTS, "proposals", ours, theirs)

    def feed(self, given: Any) -> Arrays:
        return {"image": given["image"].cpu().numpy()}

    def answer(self, call: Arrays, given: Any) -> Any:
        structures = load_library("detectron2.structures")
        proposals, logits, shifts = (self.tensor(call[name]) for name in OUTPUTS)
        size = tuple(given["image"].shape[-2:])
        boxes = structures.Instances(size, proposal_boxes=structures.Boxes(proposals))
        network = self.adapter._network
        found, _ = network.roi_heads.box_predictor.inference((logits, shifts), [boxes])
        return network._postprocess(found, [given], [size])[0]["instances"]


NETWORKS = {"default": TwoStages}
