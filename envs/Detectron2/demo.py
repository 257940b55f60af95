"""The adapter of Detectron2's Faster R-CNN: boxes in single pictures, by the source in submodules/Detectron2.

The source tree is imported as it is. `detectron2._C`, which an installation compiles, serves rotated boxes, deformable
convolutions and a faster evaluation; this network never calls it.
"""

import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, List, Tuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "runners"))

from worker.adapter import Settings  # noqa: E402
from worker.main import main  # noqa: E402
from worker.mmlab.common.libraries import load_library  # noqa: E402
from worker.pictures.adapter import MIN_CONFIDENCE, PictureAdapter  # noqa: E402
from worker.pictures.coco import CLASSES  # noqa: E402
from worker.pictures.records import detection_records  # noqa: E402

SOURCE = ROOT / "submodules" / "Detectron2"
NMS_IOU = 0.5
MAX_DETECTIONS = 100
PIXELS = ("pixel_mean", "pixel_std")


class Detectron2(PictureAdapter):
    """Faster R-CNN as `DefaultPredictor` runs it: the shorter side to 800 pixels, the longer to at most 1333."""

    name = "Detectron2"
    default_config = str(SOURCE / "configs" / "COCO-Detection" / "faster_rcnn_R_50_FPN_3x.yaml")
    graph_modules = ("backbone",)
    library_names = ("torch", "torchvision", "numpy", "PIL", "detectron2")
    # Numbers of the configuration that older checkpoints hold as buffers: the pixels' mean, and the anchors' corners.
    tolerated_keys = (*PIXELS, *(f"cell_anchors.{level}" for level in range(5)))
    # The configuration divides pixels by 1, so that trained weights of the first layer are small in their place: drawn
    # as large as the others they would make every number of the network 60 times as large, and with it what float32
    # rounds away. 64 is a power of two near the spread of ImageNet's pixels, 57 to 58.
    drawn_scales = MappingProxyType({r"\.bottom_up\.stem\.conv1\.weight$": 1 / 64})

    def build(self, config: str) -> Any:
        """The network of one of the source tree's configurations."""
        sys.path.insert(0, str(SOURCE))
        self._config = load_library("detectron2.config").get_cfg()
        self._config.merge_from_file(config)
        self._config.MODEL.DEVICE = "cpu"
        self._config.MODEL.WEIGHTS = ""
        self._config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = MIN_CONFIDENCE
        self._config.MODEL.ROI_HEADS.NMS_THRESH_TEST = NMS_IOU
        self._config.TEST.DETECTIONS_PER_IMAGE = MAX_DETECTIONS
        return load_library("detectron2.modeling").build_model(self._config)

    def begin(self, network: Any, settings: Settings) -> Any:
        """Make the scaling of `DefaultPredictor`."""
        shrink = max(0, settings.shrink)
        shorter, longer = (
            side >> shrink for side in (self._config.INPUT.MIN_SIZE_TEST, self._config.INPUT.MAX_SIZE_TEST)
        )
        transforms = load_library("detectron2.data.transforms")
        self._scaling = transforms.ResizeShortestEdge([shorter, shorter], longer)
        return super().begin(network, settings)

    def make_input(self, picture: Any) -> Any:
        """The scaled picture as a float tensor (3, height, width), BGR, and the original's size."""
        torch = load_library("torch")
        pixels = load_library("numpy").asarray(picture)[..., ::-1]
        height, width = pixels.shape[:2]
        scaled = self._scaling.get_transform(pixels).apply_image(pixels)
        tensor = torch.as_tensor(scaled.astype("float32").transpose(2, 0, 1))
        return {"image": tensor, "height": height, "width": width}

    def place_input(self, given: Any) -> Any:
        """The same with the tensor on the device."""
        return {**given, "image": given["image"].to(self._device)}

    def size_of(self, given: Any) -> Tuple[int, ...]:
        """Height and width of the scaled picture, and of the original."""
        return (*given["image"].shape[1:], given["height"], given["width"])

    def call_together(self, given: List[Any]) -> List[Any]:
        """The network, its two stages and non-maximum suppression."""
        return [one["instances"] for one in self._network(given)]

    def convert(self, raw: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        """Boxes in pixels of the original pictures."""
        found = {}
        for name, instances in raw.items():
            rows = zip(instances.pred_boxes.tensor.tolist(), instances.scores.tolist(), instances.pred_classes.tolist())
            found[name] = [(corners, score, CLASSES[label]) for corners, score, label in rows]
        return {"detections_2d": detection_records(found)}


if __name__ == "__main__":
    sys.exit(main(Detectron2))
