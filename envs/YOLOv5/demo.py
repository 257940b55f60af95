"""The adapter of YOLOv5: boxes in single pictures, by the source in submodules/YOLOv5.

This file alone of its folder imports YOLOv5 and ultralytics, which are under AGPL-3.0. The file is under Apache-2.0,
which AGPL-3.0 is compatible with, runs in a process and an environment of its own, and nothing of admlops imports it:
whoever leaves this folder out has nothing of them.
"""

import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "runners"))

from worker.adapter import Settings  # noqa: E402
from worker.main import main  # noqa: E402
from worker.mmlab.common.libraries import load_library  # noqa: E402
from worker.pictures.adapter import MIN_CONFIDENCE, PictureAdapter  # noqa: E402
from worker.pictures.records import records_of_rows  # noqa: E402
from worker.pictures.ultralytics_switches import NmsLimit, keep_settings, set_switches  # noqa: E402

SOURCE = ROOT / "submodules" / "YOLOv5"
NMS_IOU = 0.45
MAX_DETECTIONS = 1000
INPUT_SIZE = 640  # pixels: the longer side of the network's input


class YOLOv5(PictureAdapter):
    """YOLOv5 through AutoShape, the repository's own way for single pictures.

    `ultralytics.YOLO("yolov5s.pt")` is not used: it gives yolov5su, another network. Here the network is built of the
    repository's configuration, with anchors, and the tensors of the checkpoint are put into it.
    """

    name = "YOLOv5"
    default_config = str(SOURCE / "models" / "yolov5s.yaml")
    graph_modules = ("model",)
    graph_forms = 1  # the head keeps its grid of cells by the last picture's size
    library_names = ("torch", "torchvision", "numpy", "PIL", "cv2", "ultralytics")
    prefers_average = True
    # The biases of the head are the prior that an anchor shows an object: drawn at random, every anchor would be a box.
    kept_keys = (r"\.m\.\d+\.bias$",)

    def libraries(self) -> Dict[str, str]:
        """The libraries that decide the result; the worker asks for them before it loads the network."""
        set_switches()
        with keep_settings():
            return super().libraries()

    def build(self, config: str) -> Any:
        """The network of one of the repository's configurations."""
        set_switches()
        sys.path.insert(0, str(SOURCE))
        with keep_settings():
            return load_library("models.yolo").DetectionModel(config)

    def begin(self, network: Any, settings: Settings) -> Any:
        """Fuse convolutions and normalizations, as the repository's loader does, and let AutoShape call the network."""
        with keep_settings():
            shaped = load_library("models.common").AutoShape(network.fuse().eval(), verbose=False)
        shaped.conf, shaped.iou, shaped.max_det = MIN_CONFIDENCE, NMS_IOU, MAX_DETECTIONS
        self._size = INPUT_SIZE >> max(0, settings.shrink)
        self._limit = NmsLimit(load_library("utils.general").LOGGER)
        return shaped.to(settings.device)

    def make_input(self, picture: Any) -> Any:
        """The picture as an array (height, width, 3), RGB: AutoShape pads it and moves it to the device."""
        return load_library("numpy").asarray(picture)

    def size_of(self, given: Any) -> Tuple[int, ...]:
        """Height and width of the original."""
        return tuple(given.shape[:2])

    def call_together(self, given: List[Any]) -> List[Any]:
        """Padding, network, non-maximum suppression: for each picture (n, 6) of x1, y1, x2, y2, confidence, class."""
        found = self._network(list(given), size=self._size).xyxy
        self._limit.check()
        return list(found)

    def convert(self, raw: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        """Boxes in pixels of the original pictures."""
        return {"detections_2d": records_of_rows(raw)}


if __name__ == "__main__":
    sys.exit(main(YOLOv5))
