"""NanoDet's adapter: boxes of COCO's 80 classes in every camera's picture of a sample."""

import os
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "runners")]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import PIL  # noqa: E402
from nanodet.boxes import Boxes, decode  # noqa: E402
from nanodet.classes import CLASSES  # noqa: E402
from nanodet.config import Config, read_config  # noqa: E402
from nanodet.conversion import to_onnx  # noqa: E402
from nanodet.pictures import Picture, read_picture  # noqa: E402
from nanodet.weights import read_graph_model  # noqa: E402

from worker.adapter import Adapter, DataError, Settings  # noqa: E402
from worker.main import main  # noqa: E402


class CameraBoxes(NamedTuple):
    """What the network gave for one camera: scores and distances for each stride."""

    camera: str
    picture: Picture
    scores: List[np.ndarray]
    distances: List[np.ndarray]


class NanoDet(Adapter):
    """Each camera by itself; all of a sample, and of a batch of samples, in one call of the network."""

    name = "NanoDet"

    def load(self, settings: Settings) -> List[str]:
        """Make an ONNX model of the published graph and load it."""
        if settings.checkpoint is None or settings.config is None:
            raise ValueError("NanoDet runs with weights and a configuration: admlops checkpoints fetch NanoDet")
        self._config = read_config(Path(settings.config))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0") or 0)
        graph = to_onnx(read_graph_model(Path(settings.checkpoint)))
        self._network = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._network.get_inputs()[0].name
        return []

    def read(self, described: Dict[str, Any]) -> Dict[str, Picture]:
        """Read every camera's picture."""
        if not described["cameras"]:
            raise DataError("sample {} has no camera".format(described["sample_token"]))
        return {name: _read(entry["path"], self._config) for name, entry in described["cameras"].items()}

    def forward(self, inputs: Dict[str, Picture]) -> List[CameraBoxes]:
        """Run the network on the pictures of one sample."""
        return self.forward_batch([inputs])[0]

    def forward_batch(self, inputs: List[Dict[str, Picture]]) -> List[List[CameraBoxes]]:
        """Run the network on the pictures of several samples at once; each picture's result is as it is alone."""
        pixels = np.stack([picture.pixels for sample in inputs for picture in sample.values()])
        given = self._network.run([*self._config.scores, *self._config.distances], {self._input: pixels})
        levels, results, place = len(self._config.strides), [], 0
        for sample in inputs:
            cameras = []
            for name, picture in sample.items():
                own = [output[place] for output in given]
                cameras.append(CameraBoxes(name, picture, own[:levels], own[levels:]))
                place += 1
            results.append(cameras)
        return results

    def convert(self, raw: List[CameraBoxes], sample: Dict[str, Any]) -> Dict[str, Any]:
        """Boxes in the original's pixels, camera by camera, the best first."""
        found = [
            box
            for one in raw
            for box in _as_records(one.camera, one.picture, decode(one.scores, one.distances, self._config))
        ]
        return {"detections_2d": [{"id": number, **box} for number, box in enumerate(found)]}

    def libraries(self) -> Dict[str, str]:
        """The network's arithmetic is ONNX Runtime's, the pictures' Pillow's."""
        return {
            "numpy": np.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "pillow": PIL.__version__,
        }


def _read(path: str, config: Config) -> Picture:
    try:
        return read_picture(path, config)
    except OSError as error:
        raise DataError(f"the image {path} cannot be read: {error.strerror or error}") from error


def _as_records(camera: str, picture: Picture, boxes: Boxes) -> List[Dict[str, Any]]:
    corners = picture.placement.to_original(boxes.corners).tolist()
    found = zip(corners, boxes.confidences.tolist(), boxes.classes.tolist())
    return [
        {"camera": camera, "class_name": CLASSES[number], "bbox_xyxy": box, "confidence": confidence}
        for box, confidence, number in found
    ]


if __name__ == "__main__":
    sys.exit(main(NanoDet))
