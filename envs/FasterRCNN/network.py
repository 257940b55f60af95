"""What of FasterRCNN leaves PyTorch: both stages, up to the boxes' scores and shifts, before the last suppression.

Inside: padding to whole cells of the pyramid, ResNet-50 with FPN, the first stage with its own suppression (ONNX's
NonMaxSuppression), RoIAlign and the heads of the second stage. Outside: the scaling of the picture, and what
`postprocess_detections` of the library makes of the answer: boxes, thresholds, suppression within classes.
"""

from types import MappingProxyType
from typing import Any, Sequence

from worker.mmlab.common.libraries import load_library
from worker.network import PIXELS, Arrays, Paired, TensorSpec
from worker.pictures.network import PictureNetwork, make_module
from worker.rows import pair_rows

LABELS = 91
OUTPUTS = ("proposals", "class_logits", "box_regression")


class TwoStages(PictureNetwork):
    """image (3, H, W) → proposals (N, 4), class_logits (N, 91), box_regression (N, 364)."""

    lengths = MappingProxyType({"height": (320, 750, 1344), "width": (320, 1333, 1344)})

    def inputs(self) -> Sequence[TensorSpec]:
        return (TensorSpec("image", "float32", (3, "height", "width"), "RGB, normalized, scaled", "picture"),)

    def outputs(self) -> Sequence[TensorSpec]:
        return (
            TensorSpec("proposals", "float32", ("proposals", 4), PIXELS, "x1 y1 x2 y2 of the scaled picture"),
            TensorSpec("class_logits", "float32", ("proposals", LABELS), "COCO's ids, 0 the background"),
            TensorSpec("box_regression", "float32", ("proposals", 4 * LABELS), "shifts of each class's box"),
        )

    def build(self) -> Any:
        network = self.adapter._network
        image_list = load_library("torchvision.models.detection.image_list").ImageList
        heads = network.roi_heads

        def call(image: Any) -> Any:
            images = image_list(network.transform.batch_images([image]), [tuple(image.shape[-2:])])
            features = network.backbone(images.tensors)
            proposals, _ = network.rpn(images, features)
            pooled = heads.box_roi_pool(features, proposals, images.image_sizes)
            return (proposals[0], *heads.box_predictor(heads.box_head(pooled)))

        return make_module(call, network)

    def pair(self, ours: Arrays, theirs: Arrays) -> Paired:
        """The first stage gives its boxes from the best to the worst score."""
        return pair_rows(OUTPUTS, "proposals", ours, theirs)

    def feed(self, given: Any) -> Arrays:
        transform = self.adapter._network.transform
        scaled, _ = transform.resize(transform.normalize(given))
        return {"image": scaled.cpu().numpy()}

    def answer(self, call: Arrays, given: Any) -> Any:
        network = self.adapter._network
        logits, shifts, proposals = (
            self.tensor(call[name]) for name in ("class_logits", "box_regression", "proposals")
        )
        # A tensor without content is scaled for its size alone.
        size = tuple(network.transform.resize(given.to("meta"))[0].shape[-2:])
        boxes, scores, labels = network.roi_heads.postprocess_detections(logits, shifts, [proposals], [size])
        found = [{"boxes": boxes[0], "scores": scores[0], "labels": labels[0]}]
        return network.transform.postprocess(found, [size], [tuple(given.shape[-2:])])[0]


NETWORKS = {"default": TwoStages}
