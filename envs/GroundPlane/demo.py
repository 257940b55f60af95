"""GroundPlane's adapter: reads the six images of a sample and gives boxes and map elements by classical vision."""

import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "runners")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from groundplane.geometry import Camera, read_camera  # noqa: E402
from groundplane.outlines import outlines  # noqa: E402
from groundplane.perception import Memory, Perception, View, perceive  # noqa: E402
from groundplane.records import box_record, detection_record, element_record  # noqa: E402

from worker.adapter import Adapter, DataError, Settings  # noqa: E402
from worker.main import main  # noqa: E402

STANDING = {"translation": [0.0, 0.0, 0.0], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}
"""The pose of a sample that states none: single pictures, each by itself."""
WORKING_WIDTH = 800  # pixels; wider images are reduced to it, which halves the cost of nuScenes' 1600


class Inputs(NamedTuple):
    """What `perceive` needs of one sample."""

    views: List[View]
    lidar_position: np.ndarray
    ego2global: Dict[str, Any]
    timestamp_s: float


class GroundPlane(Adapter):
    """The classical baseline: no weights, no randomness, the CPU alone."""

    name = "GroundPlane"

    def load(self, settings: Settings) -> List[str]:
        """Nothing to load: one thread, so that the result does not depend on the machine's load."""
        cv2.setNumThreads(1)
        cv2.setUseOptimized(True)
        self._working_width = WORKING_WIDTH >> max(0, settings.shrink)
        self._memory = Memory()
        return []

    def start_scene(self, scene: str) -> None:
        """Forget the objects of the scene before."""
        self._memory = Memory()

    def read(self, described: Dict[str, Any]) -> Inputs:
        """Read the images and the calibration of the cameras that the sample has."""
        if not described["cameras"]:
            raise DataError("sample {} has no camera".format(described["sample_token"]))
        pose = described.get("ego2global") or STANDING
        views = [self._read_view(name, entry, pose) for name, entry in described["cameras"].items()]
        lidar = described["lidar"]["sensor2ego"]["translation"] if described.get("lidar") else (0.0, 0.0)
        return Inputs(views, np.array(lidar[:2], dtype=float), pose, 1e-6 * described["timestamp_us"])

    def place(self, read: Inputs, sample: Dict[str, Any]) -> Inputs:
        """Forget the sample before a single picture: nobody says how the vehicle moved since."""
        if not sample.get("lidar"):
            self._memory = Memory()
        return read

    def forward(self, inputs: Inputs) -> Perception:
        """Find objects and map elements."""
        return perceive(inputs.views, inputs.lidar_position, inputs.ego2global, inputs.timestamp_s, self._memory)

    def convert(self, raw: Perception, sample: Dict[str, Any]) -> Dict[str, Any]:
        """Standard records; the baseline works in their frame, so nothing is turned or shifted."""
        cameras = sample["cameras"]
        sizes = {name: (int(entry["width"]), int(entry["height"])) for name, entry in cameras.items()}
        boxes = [box for sight in raw.sights for box in outlines(sight, sizes[sight.camera.name])]
        return {
            "detections_3d": [detection_record(index, item) for index, item in enumerate(raw.objects)],
            "detections_2d": [box_record(index, item) for index, item in enumerate(boxes)],
            "map_elements": [element_record(index, item) for index, item in enumerate(raw.elements)],
        }

    def libraries(self) -> Dict[str, str]:
        """NumPy and OpenCV decide the last digits of the result."""
        return {"numpy": np.__version__, "opencv": cv2.__version__}

    def _read_view(self, name: str, entry: Dict[str, Any], pose: Dict[str, Any]) -> View:
        """One image at the working width, with its camera."""
        lacking = [key for key in ("intrinsic", "sensor2ego") if not entry.get(key)]
        if lacking:
            text = "the camera {} has no {}: without calibration GroundPlane cannot tell where the ground is"
            raise DataError(text.format(name, " and no ".join(lacking)))
        try:
            camera = read_camera(name, {"ego2global": pose, **entry}, pose)
        except ValueError as error:
            raise DataError(str(error)) from error
        image = _read_image(entry["path"])
        camera = camera._replace(size=_stated_size(camera, image, entry["path"]))
        width = min(self._working_width, image.shape[1])
        height = round(image.shape[0] * width / image.shape[1])
        if width != image.shape[1]:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return View(camera.scaled(width, height), image)


def _read_image(path: str) -> np.ndarray:
    """BGR, height x width x 3, 8 bits. Raises DataError naming the file."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"the image {path} cannot be read: {error.strerror or error}") from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    if image is None:
        raise DataError(f"the image {path} is not a whole picture")
    return np.asarray(image)


def _stated_size(camera: Camera, image: np.ndarray, path: str) -> "tuple[int, int]":
    """The image's size, which must be the one that its calibration is for."""
    size = (image.shape[1], image.shape[0])
    if size != camera.size:
        text = "the image {} is {}x{}, but its calibration is for {}x{}"
        raise DataError(text.format(path, *size, *camera.size))
    return size


if __name__ == "__main__":
    sys.exit(main(GroundPlane))
