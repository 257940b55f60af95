"""The adapter of a detector of mmdet3d 1.4: everything but what is the model's own."""

import os
from typing import Any, Callable, Dict, List, Mapping

from ...precision import AUTHORS, FLOAT32, TF32, InForce, refuse
from ...samples.errors import DataError
from ..catalogue import read_configs
from ..common.adapter import BaseMmAdapter
from ..common.boxes import MMDET3D_1, detection_records
from ..common.infos import context_of
from ..common.inputs import check_pictures, raise_for_pictures
from ..common.libraries import load_library
from ..common.lidar_files import check_points
from ..common.precision import read_tf32
from .network import build_network, read_config
from .overlay import import_mmdet3d
from .samples import describe_cameras, describe_frame, describe_lidar, describe_sweeps
from .weights import turn_sparse_weights

SWEEPS_STEP = "LoadPointsFromMultiSweeps"
PICTURE_STEPS = ("BEVLoadMultiViewImageFromFiles", "LoadMultiViewImageFromFiles")
IN_PLACE = "in-place"
"""The value of a fix's `sweeps` that places sweeps where they belong; without it they lie where upstream lays them."""

Row = Dict[str, Any]


class MmAdapter(BaseMmAdapter):
    """One detector of the second generation; a subclass says where it differs.

    What it looks at, and how many sweeps, follows from the configuration's test pipeline.
    """

    precisions = (AUTHORS, FLOAT32, TF32)
    libraries_asked = ("torch", "torchvision", "mmengine", "mmcv", "mmdet", "numpy", "cv2")
    registry = "mmdet3d.registry"
    convention = MMDET3D_1

    def __init__(self) -> None:
        self._sweeps_in_place = False

    def import_libraries(self) -> None:
        """Import mmdet3d with the stand-ins for what is not compiled."""
        import_mmdet3d()

    def read_model(self, config_path: str) -> Any:
        """Import the libraries, read the configuration at an absolute path, and import what it asks for."""
        self.import_libraries()
        self.import_extension()
        known = (self.default_config, *read_configs(self).values())
        return read_config(config_path, list(dict.fromkeys(os.path.dirname(path) for path in known)))

    def build(self, config: Any, *, device: str, precision: str, half_positions: bool = False) -> Any:
        """Build the network as mmengine's runner does. Raises as the base's."""
        if precision == TF32 and device == "cpu":
            raise refuse(self.name, precision, "a CPU computes in float32")
        return build_network(config, registry=self.registry)

    def change_state(self, state: Any, own: Mapping[str, Any]) -> List[str]:
        """Weights of sparse convolutions come in two layouts."""
        return turn_sparse_weights(state, own)

    def apply_fix(self, config: Any, settings: Mapping[str, Any]) -> None:
        """`sweeps` and `sweep_choice` say how earlier LiDAR frames are chosen and placed; else as the base's."""
        known = {"sweeps", "sweep_choice"}
        if settings.get("sweeps") == IN_PLACE:
            self._sweeps_in_place = True
        if set(settings) - known:
            super().apply_fix(config, {name: value for name, value in settings.items() if name not in known})

    def make_pipeline(self, config: Any) -> Callable[[Row], Row]:
        """Return what makes a batch of one, on the host, of a sample's info."""
        steps = test_pipeline(config)
        self._compose = load_library("mmengine.dataset").Compose(steps)
        return self._run_pipeline

    def make_info(self, sample: Row) -> Row:
        """What the pipeline's first steps read: LiDAR, sweeps and cameras, as far as it has steps for them."""
        steps = test_pipeline(self._config)
        kinds = {step["type"]: step for step in steps}
        info = describe_frame(sample)
        box_type, box_mode = load_library("mmdet3d.structures").get_box_type("LiDAR")
        info.update(box_type_3d=box_type, box_mode_3d=box_mode)
        if "LoadPointsFromFile" in kinds:
            sweeps = []  # type: List[Row]
            if SWEEPS_STEP in kinds:
                count = kinds[SWEEPS_STEP].get("sweeps_num", 10)
                sweeps = describe_sweeps(sample, context_of(sample), count=count, in_place=self._sweeps_in_place)
            info.update(describe_lidar(sample, sweeps))
        if any(kind in kinds for kind in PICTURE_STEPS):
            info.update(describe_cameras(sample))
        return info

    def pictures(self, info: Row) -> List[str]:
        """The files of the pictures that the pipeline reads for an info."""
        return [image["img_path"] for image in info.get("images", {}).values()]

    def place(self, read: Row, sample: Row) -> Row:
        """The network's input, normalized, padded and voxelized by the model itself on its device."""
        with load_library("torch").no_grad():
            return super().place(dict(self._model.data_preprocessor(read, False)), sample)

    def forward(self, inputs: Row) -> Any:
        """The network's call, as mmengine's test loop makes it."""
        with load_library("torch").no_grad():
            return self._model(**inputs, mode="predict")

    def convert(self, raw: Any, sample: Row) -> Row:
        """The decoded boxes, best first, from the LiDAR's frame to the ego frame."""
        found = raw[0].pred_instances_3d
        decoded = {
            "boxes_3d": found.bboxes_3d.tensor.cpu(),
            "scores_3d": found.scores_3d.cpu(),
            "labels_3d": found.labels_3d.cpu(),
        }
        return {"detections_3d": detection_records(decoded, self._config.class_names, sample, self.convention)}

    def precision(self) -> InForce:
        """Return the arithmetic in force, read from PyTorch."""
        return read_tf32(self._device)

    def _run_pipeline(self, info: Row) -> Row:
        check_points(point_files(info))
        pictures = self.pictures(info)
        check_pictures(pictures)
        try:
            example = self._compose(info)
        except Exception as error:  # transforms raise anything over a picture that cannot be decoded
            raise_for_pictures(pictures, error)
            raise
        if example is None:
            raise DataError("sample {}: the pipeline gave nothing".format(info["token"]))
        return dict(load_library("mmengine.dataset").pseudo_collate([example]))


def test_pipeline(config: Any) -> List[Any]:
    """The steps that a test makes of a sample."""
    return list(config.test_dataloader.dataset.pipeline)


def point_files(info: Mapping[str, Any]) -> List[str]:
    """The LiDAR files that the pipeline reads for an info."""
    if "lidar_path" not in info:
        return []
    return [info["lidar_path"], *(sweep["lidar_points"]["lidar_path"] for sweep in info.get("lidar_sweeps", ()))]
