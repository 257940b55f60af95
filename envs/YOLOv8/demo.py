"""The adapter of YOLOv8: boxes in single pictures, by ultralytics of the package index.

This file alone of its folder imports ultralytics, which is under AGPL-3.0. The file is under Apache-2.0, which AGPL-3.0
is compatible with, runs in a process and an environment of its own, and nothing of admlops imports it: whoever leaves
this folder out has nothing of ultralytics.
"""

import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

from worker.adapter import Settings
from worker.main import main
from worker.mmlab.common.libraries import load_library
from worker.pictures.adapter import MIN_CONFIDENCE, PictureAdapter
from worker.pictures.coco import CLASSES
from worker.pictures.records import records_of_rows
from worker.pictures.ultralytics_switches import NmsLimit, keep_settings, set_switches

NMS_IOU = 0.7
MAX_DETECTIONS = 300
INPUT_SIZE = 640  # pixels: the longer side of the network's input


class YOLOv8(PictureAdapter):
    """YOLOv8 through the library's own predictor, step by step: the same boxes as `predict` of one picture.

    `ultralytics.YOLO` is not used: it fetches weights by name, gives another network for some names, and loads pickled
    classes. Here the network is built of its configuration, and the tensors of the checkpoint are put into it.
    """

    name = "YOLOv8"
    default_config = "yolov8s.yaml"
    graph_modules = ("model",)
    graph_forms = 1  # the head keeps its grid of cells by the last picture's size
    library_names = ("torch", "torchvision", "numpy", "PIL", "cv2", "ultralytics")
    prefers_average = True
    # The integral over the bins of a distance is a constant. The bias of a class is the prior that an anchor shows it:
    # drawn at random, every anchor would be a box.
    kept_keys = (r"\.dfl\.conv\.weight$", r"\.cv3\.\d+\.2\.bias$")

    def libraries(self) -> Dict[str, str]:
        """The libraries that decide the result; the worker asks for them before it loads the network."""
        set_switches()
        with keep_settings():
            return super().libraries()

    def build(self, config: str) -> Any:
        """The network of a configuration that the library brings, by its file's name."""
        set_switches()
        with keep_settings():
            return load_library("ultralytics.nn.tasks").DetectionModel(Path(config).name, verbose=False)

    def begin(self, network: Any, settings: Settings) -> Any:
        """Hand the network to the predictor, which fuses convolutions and normalizations as `predict` does."""
        device = "cpu" if settings.device == "cpu" else settings.device.partition(":")[2] or "0"
        chosen = {
            "task": "detect",
            "mode": "predict",
            "conf": MIN_CONFIDENCE,
            "iou": NMS_IOU,
            "max_det": MAX_DETECTIONS,
            "imgsz": INPUT_SIZE >> max(0, settings.shrink),
            "device": device,
            "rect": True,
            "batch": 1,
            "save": False,
            "verbose": False,
        }
        with keep_settings():
            network.names = dict(enumerate(CLASSES))
            self._predictor = load_library("ultralytics.models.yolo.detect").DetectionPredictor(overrides=chosen)
            self._predictor.setup_model(network.eval(), verbose=False)
            checks = load_library("ultralytics.utils.checks")
            self._predictor.imgsz = checks.check_imgsz(chosen["imgsz"], stride=self._predictor.model.stride, min_dim=2)
            # As the library does before its first picture: non-maximum suppression is then torchvision's, not its own.
            self._predictor.model.warmup(imgsz=(1, 3, INPUT_SIZE, INPUT_SIZE))
        self._limit = NmsLimit(load_library("ultralytics.utils").LOGGER)
        return self._predictor.model

    def make_input(self, picture: Any) -> Any:
        """The picture as BGR, which the library takes arrays for."""
        return load_library("numpy").ascontiguousarray(load_library("numpy").asarray(picture)[..., ::-1])

    def place_input(self, given: Any) -> Any:
        """The padded tensor that the library makes of the picture alone, and the picture."""
        return self._predictor.preprocess([given]), given

    def size_of(self, given: Any) -> Tuple[int, ...]:
        """Height and width of the original."""
        return tuple(given[1].shape[:2])

    def call_together(self, given: List[Any]) -> List[Any]:
        """The network and non-maximum suppression: (n, 6) of x1, y1, x2, y2, confidence, class for each picture."""
        tensor = load_library("torch").cat([one for one, _ in given]) if len(given) > 1 else given[0][0]
        return self.suppress(self._predictor.model(tensor), given)

    def suppress(self, raw: Any, given: List[Any]) -> List[Any]:
        """Non-maximum suppression of what the network, or an exported file of it, says of pictures."""
        pictures = [pixels for _, pixels in given]
        self._predictor.batch = [""] * len(given), pictures, [""] * len(given)
        found = self._predictor.postprocess(raw, given[0][0], pictures)
        self._limit.check()
        return [one.boxes.data for one in found]

    def convert(self, raw: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        """Boxes in pixels of the original pictures."""
        return {"detections_2d": records_of_rows(raw)}


if __name__ == "__main__":
    sys.exit(main(YOLOv8))
