"""The adapter of YOLOX: boxes in single pictures, by mmdetection 3 of the package index."""

import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

from worker.adapter import Settings
from worker.main import main
from worker.mmlab.common.libraries import load_library
from worker.mmlab.common.source import drop_pretrained
from worker.pictures.adapter import MIN_CONFIDENCE, PictureAdapter
from worker.pictures.records import records_of_rows

MAX_DETECTIONS = 300
NMS_IOU = 0.65
CONFIGS = Path(".mim") / "configs" / "yolox"
"""Where mmdet's wheel keeps the configurations."""
FROM_FILE = ("LoadImageFromFile", "LoadAnnotations")
"""Steps of the test pipeline whose work is done: pictures are read already, and labels are not there."""


class YOLOX(PictureAdapter):
    """YOLOX by the library's own test pipeline, preprocessing and head, with the threshold of its test phase."""

    name = "YOLOX"
    default_config = "yolox_s_8xb8-300e_coco.py"
    graph_modules = ("backbone", "neck", "bbox_head")
    library_names = ("torch", "torchvision", "mmengine", "mmcv", "mmdet", "numpy", "PIL", "cv2")
    # Objectness and classes start at the prior of a rare object: drawn at random, every cell would be one.
    kept_keys = (r"\.multi_level_conv_(obj|cls)\.\d+\.bias$",)

    def build(self, config: str) -> Any:
        """The network of a configuration that the library brings, by its file's name."""
        library = Path(load_library("mmdet").__file__).parent
        self._config = load_library("mmengine.config").Config.fromfile(str(library / CONFIGS / Path(config).name))
        load_library("mmengine.registry").init_default_scope("mmdet")
        drop_pretrained(self._config.model)
        self._config.model.train_cfg = None
        self._config.model.test_cfg.score_thr = MIN_CONFIDENCE
        self._config.model.test_cfg.nms.iou_threshold = NMS_IOU
        network = load_library("mmdet.registry").MODELS.build(self._config.model)
        network.init_weights()  # the head's priors, which its constructor leaves to this
        return network

    def begin(self, network: Any, settings: Settings) -> Any:
        """Halve the input's sides for each time that memory ran out."""
        steps = [dict(step) for step in self._config.test_dataloader.dataset.pipeline if step["type"] not in FROM_FILE]
        for step in steps:
            if step["type"] == "Resize":
                step["scale"] = tuple(side >> max(0, settings.shrink) for side in step["scale"])
        self._compose = load_library("mmengine.dataset").Compose(steps)
        return super().begin(network, settings)

    def make_input(self, picture: Any) -> Any:
        """The picture as BGR, which the library reads pictures as, through its pipeline: a tensor and its meta data."""
        numpy = load_library("numpy")
        pixels = numpy.ascontiguousarray(numpy.asarray(picture)[..., ::-1])
        size = pixels.shape[:2]
        return self._compose({"img": pixels, "img_id": 0, "img_path": "", "ori_shape": size, "img_shape": size})

    def size_of(self, given: Any) -> Tuple[int, ...]:
        """Height and width of the original, which decide those of the input."""
        return tuple(given["data_samples"].ori_shape)

    def call_together(self, given: List[Any]) -> List[Any]:
        """Padding, the network and non-maximum suppression: x1, y1, x2, y2, confidence, label, the best first."""
        answers = self._network(**self.preprocess(given), mode="predict")
        return [self.rows_of(answer.pred_instances) for answer in answers]

    def preprocess(self, given: List[Any]) -> Any:
        """The library's own batch of pictures of one size: normalized, padded, on the device."""
        batch = load_library("mmengine.dataset").pseudo_collate(given)
        return self._network.data_preprocessor(batch, False)

    def rows_of(self, instances: Any) -> Any:
        """A picture's boxes as rows x1, y1, x2, y2, confidence, label; `instances` are the library's, best first."""
        found = instances[:MAX_DETECTIONS]
        columns = [found.bboxes, found.scores[:, None], found.labels[:, None].float()]
        return load_library("torch").cat(columns, dim=1)

    def convert(self, raw: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        """Boxes in pixels of the original pictures."""
        return {"detections_2d": records_of_rows(raw)}


if __name__ == "__main__":
    sys.exit(main(YOLOX))
