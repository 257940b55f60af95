"""The adapter of torchvision's Faster R-CNN: boxes in single pictures."""

import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

from worker.adapter import Settings
from worker.main import main
from worker.mmlab.common.libraries import load_library
from worker.pictures.adapter import MIN_CONFIDENCE, PictureAdapter
from worker.pictures.coco import NAME_OF_ID
from worker.pictures.records import detection_records

NMS_IOU = 0.5
MAX_DETECTIONS = 100
LABELS = 91  # background, and COCO's ids, of which ten are in no picture


class FasterRCNN(PictureAdapter):
    """`fasterrcnn_resnet50_fpn` as the library builds it for its weights trained on COCO.

    The library builds another network where it is not asked to fetch weights: plain batch normalization in place of a
    frozen one. So its parts are put together here, as `weights=COCO_V1` does.
    """

    name = "FasterRCNN"

    def build(self, config: str) -> Any:
        """The network with frozen batch normalization, and its epsilon of 0, which the weights were trained with."""
        layers = load_library("torchvision.ops.misc").FrozenBatchNorm2d
        backbone = load_library("torchvision.models").resnet50(weights=None, norm_layer=layers)
        detection = load_library("torchvision.models.detection")
        network = detection.FasterRCNN(
            load_library("torchvision.models.detection.backbone_utils")._resnet_fpn_extractor(backbone, 3),
            LABELS,
            box_score_thresh=MIN_CONFIDENCE,
            box_nms_thresh=NMS_IOU,
            box_detections_per_img=MAX_DETECTIONS,
        )
        load_library("torchvision.models.detection._utils").overwrite_eps(network, 0.0)
        return network

    def begin(self, network: Any, settings: Settings) -> Any:
        """Halve the scaled picture's sides for each time that memory ran out."""
        scaling = network.transform
        shrink = max(0, settings.shrink)
        scaling.min_size = tuple(side >> shrink for side in scaling.min_size)
        scaling.max_size >>= shrink
        return super().begin(network, settings)

    def make_input(self, picture: Any) -> Any:
        """The picture as a float tensor (3, height, width), RGB, 0 to 1."""
        return load_library("torchvision.transforms.functional").to_tensor(picture)

    def size_of(self, given: Any) -> Tuple[int, ...]:
        """Height and width."""
        return tuple(given.shape[1:])

    def call_together(self, given: List[Any]) -> List[Any]:
        """Scaling, the network, its two stages and non-maximum suppression."""
        return list(self._network(given))

    def convert(self, raw: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        """Boxes in pixels of the original pictures; those of an id that COCO does not use are none of its classes."""
        found = {}
        for name, given in raw.items():
            rows = zip(given["boxes"].tolist(), given["scores"].tolist(), given["labels"].tolist())
            found[name] = [(box, score, NAME_OF_ID[label]) for box, score, label in rows if label in NAME_OF_ID]
        return {"detections_2d": detection_records(found)}


if __name__ == "__main__":
    sys.exit(main(FasterRCNN))
