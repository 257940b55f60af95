"""What of YOLOX leaves PyTorch: backbone, neck and head with its decoding, up to boxes and scores before suppression.

Outside: the library's test pipeline and preprocessing, which scale and pad the picture, and its suppression.
"""

from types import MappingProxyType
from typing import Any, Sequence

from worker.mmlab.common.libraries import load_library
from worker.network import PIXELS, Arrays, TensorSpec
from worker.pictures.coco import CLASSES
from worker.pictures.network import PictureNetwork, make_module


class Heads(PictureNetwork):
    """image (B, 3, H, W) → boxes (B, N, 4): x1, y1, x2, y2; scores (B, N, 81): the object's and the classes'."""

    # The test pipeline pads to a square: 416 pixels of yolox-tiny, 640 of all others, half of it where memory ran out.
    lengths = MappingProxyType({"batch": (1, 1, 8), "height": (32, 640, 640), "width": (32, 640, 640)})

    def inputs(self) -> Sequence[TensorSpec]:
        return (TensorSpec("image", "float32", ("batch", 3, "height", "width"), "BGR, 0 to 255", "padded picture"),)

    def outputs(self) -> Sequence[TensorSpec]:
        return (
            TensorSpec("boxes", "float32", ("batch", "anchors", 4), PIXELS, "x1 y1 x2 y2 of the padded picture"),
            TensorSpec("scores", "float32", ("batch", "anchors", 1 + len(CLASSES)), "0 to 1, object and classes"),
        )

    def build(self) -> Any:
        torch = load_library("torch")
        network = self.adapter._network
        head = network.bbox_head

        def rows(levels: Any) -> Any:
            """(B, C, H, W) of each level → (B, N, C)."""
            return torch.cat([one.flatten(2).transpose(1, 2) for one in levels], dim=1)

        def call(image: Any) -> Any:
            classes, shifts, objects = head(network.extract_feat(image))
            points = head.prior_generator.grid_priors(
                [one.shape[-2:] for one in classes], dtype=image.dtype, device=image.device, with_stride=True
            )
            boxes = head._bbox_decode(torch.cat(points), rows(shifts))
            return boxes, torch.cat([rows(objects), rows(classes)], dim=2).sigmoid()

        return make_module(call, network)

    def feed(self, given: Any) -> Arrays:
        return {"image": self.adapter.preprocess([given])["inputs"].cpu().numpy()}

    def answer(self, call: Arrays, given: Any) -> Any:
        head = self.adapter._network.bbox_head
        boxes, scores = (self.tensor(call[name])[0] for name in ("boxes", "scores"))
        best, labels = scores[:, 1:].max(dim=1)
        confidences = best * scores[:, 0]
        found = load_library("mmengine.structures").InstanceData(bboxes=boxes, scores=confidences, labels=labels)
        return self.adapter.rows_of(
            head._bbox_post_process(
                results=found[confidences >= head.test_cfg.score_thr],
                cfg=head.test_cfg,
                rescale=True,
                with_nms=True,
                img_meta=given["data_samples"].metainfo,
            )
        )


NETWORKS = {"default": Heads}
"""The network of each form."""
