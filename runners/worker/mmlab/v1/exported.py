"""What the exported networks of mmdetection3d's camera detectors share: pictures and rig in, boxes out.

The authors' own layers and forward run. Where these read the rig from meta data or invert a matrix, a subclass of the
head's class takes a tensor instead; `with_class` puts it over a shallow copy, so that the adapter's network stays as
it is.
"""

import copy
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Type

import numpy as np

from ...network import Arrays, Network, TensorSpec, refuse_export
from ..common.libraries import load_library

CAMERAS = 6
IMAGE, IMG2LIDAR = "img", "img2lidar"
SCORES, CODES = "cls_scores", "bbox_preds"
RESIZING = ("ResizeCropFlipImage", "ResizeCropFlipRotImage")
PADDING = "PadMultiViewImage"
OPERATORS = {
    "DeformableFeatureAggregationCuda": "MultiScaleDeformableAttnFunction of mmcv",
    "FlashMHA": "flash_attn of flash-attn",
    "ModulatedDeformConv2dPack": "ModulatedDeformConv2d (DCNv2) of mmcv",
}
"""Layers that cannot leave PyTorch, and the operator of each that ONNX lacks."""


class ExportedDetector(Network):
    """A detector whose head gives scores and box codes of its queries."""

    frames = 1
    """How many pictures of each camera one sample has."""
    heads: Tuple[str, ...] = ()
    """The classes of heads that are known."""

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        require_operators(adapter.name, self.detector)
        kind = type(self.head).__name__
        if kind not in self.heads:
            known = ", ".join(self.heads)
            raise refuse_export(adapter.name, "its head is {}, and known are {}".format(kind, known))

    @property
    def detector(self) -> Any:
        """The adapter's network."""
        return self.adapter._model

    @property
    def head(self) -> Any:
        """The head that gives the boxes."""
        return self.detector.pts_bbox_head

    @property
    def cameras(self) -> int:
        """The pictures of one sample."""
        return CAMERAS * self.frames

    def pictures(self) -> Tuple[TensorSpec, ...]:
        """The pictures as the adapter's pipeline normalises them, and the rig."""
        height, width = self.picture_sizes()[1]
        return (
            TensorSpec(
                IMAGE, "float32", (1, self.cameras, 3, height, width), "as the configuration normalises", "camera"
            ),
            TensorSpec(IMG2LIDAR, "float32", (1, self.cameras, 4, 4), "m", "(u d, v d, d, 1) of a picture to LiDAR"),
        )

    def boxes(self) -> Tuple[TensorSpec, ...]:
        """The last decoder layer's scores and codes; the authors' coder chooses and decodes boxes of them."""
        queries = self.head.num_query + getattr(self.head, "num_propagated", 0)
        return (
            TensorSpec(SCORES, "float32", (1, queries, self.head.cls_out_channels), "logit"),
            TensorSpec(CODES, "float32", (1, queries, self.head.code_size), "m, log m, sine and cosine, m/s", "LiDAR"),
        )

    def picture_sizes(self) -> Tuple[Tuple[int, int], Tuple[int, int]]:
        """(height, width) of a picture [pixels] as the test pipeline resizes it, and as it is padded."""
        steps = {step["type"]: step for step in self.adapter._config.data.test.pipeline}
        resizing = next(steps[name] for name in RESIZING if name in steps)
        height, width = resizing["data_aug_conf"]["final_dim"]
        divisor = steps[PADDING]["size_divisor"] if PADDING in steps else 1
        return (height, width), (_round_up(height, divisor), _round_up(width, divisor))

    def metas(self) -> List[Dict[str, Any]]:
        """The meta data of a sample as far as the network reads them when it is traced: sizes, the same for all."""
        own, padded = self.picture_sizes()
        return [{"pad_shape": [(*padded, 3)] * self.cameras, "img_shape": [(*own, 3)] * self.cameras}]

    def meta(self, inputs: Any) -> Dict[str, Any]:
        """The meta data of a prepared sample."""
        return dict(inputs["img_metas"][0][0])

    def array(self, inputs: Any, key: str) -> Any:
        """A tensor of a prepared sample as an array, with one dimension for the batch."""
        stacked = inputs[key][0]
        return stacked[0][None].cpu().numpy() if isinstance(stacked, list) else stacked.cpu().numpy()

    def picture_feeds(self, inputs: Any, lidar2img: Any) -> Arrays:
        """The pictures, and the rig of LiDAR-to-picture matrices (N, 4, 4), inverted in float64."""
        inverse = np.linalg.inv(np.asarray(lidar2img, np.float64)).astype(np.float32)
        return {IMAGE: self.array(inputs, IMAGE), IMG2LIDAR: inverse.reshape(1, self.cameras, 4, 4)}

    def decode(self, calls: Sequence[Arrays], inputs: Any) -> Any:
        """By the authors' own coder: what their detector returns of a sample."""
        torch = load_library("torch")
        raw = {
            "all_cls_scores": torch.from_numpy(calls[0][SCORES])[None],
            "all_bbox_preds": torch.from_numpy(calls[0][CODES])[None],
        }
        to_result = load_library("mmdet3d.core").bbox3d2result
        boxes = self.head.get_bboxes(raw, [self.meta(inputs)], rescale=True)
        return [{"pts_bbox": to_result(*one)} for one in boxes]

    def example(self, axes: Mapping[str, int]) -> Arrays:
        """Pictures of noise, and six pinhole cameras around the vehicle."""
        height, width = self.picture_sizes()[1]
        rig = np.stack([_pinhole(height, width, index % CAMERAS) for index in range(self.cameras)])
        own = super().example(axes)
        return {**own, IMG2LIDAR: np.linalg.inv(rig)[None].astype(np.float32)}


def require_operators(name: str, detector: Any) -> None:
    """Raise NetworkError for a layer whose operator ONNX does not have: the text names both."""
    for place, layer in detector.named_modules():
        operator = OPERATORS.get(type(layer).__name__)
        if operator is not None:
            text = "{} ({}) needs the operator {}, which ONNX lacks"
            raise refuse_export(name, text.format(place, type(layer).__name__, operator))


class Given:
    """Stands where a tensor of LiDAR-to-picture matrices stood whose inverse alone is asked for: it is given."""

    def __init__(self, inverse: Any) -> None:
        self._inverse = inverse

    def inverse(self) -> Any:
        return self._inverse


def with_class(head: Any, kind: Type[Any], **attributes: Any) -> Any:
    """Return a shallow copy of a head, with the methods of `kind` over its own. Layers and weights are the same."""
    own = copy.copy(head)
    own.__class__ = type(kind.__name__, (kind, type(head)), {})
    vars(own).update(attributes)
    return own


def _round_up(length: int, divisor: int) -> int:
    return -(-length // divisor) * divisor


def _pinhole(height: int, width: int, index: int) -> Any:
    """LiDAR to picture of a camera that looks along an azimuth of 60 degrees times `index`, 1.5 m off the LiDAR."""
    azimuth = np.deg2rad(60.0 * index)
    forward = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    rotation = np.stack([np.cross(down, forward), down, forward])
    to_camera = np.eye(4)
    to_camera[:3, :3] = rotation
    to_camera[:3, 3] = -rotation @ (1.5 * forward)
    intrinsic = np.eye(4)
    intrinsic[0, 0] = intrinsic[1, 1] = 0.8 * width
    intrinsic[0, 2], intrinsic[1, 2] = width / 2, height / 2
    return intrinsic @ to_camera
