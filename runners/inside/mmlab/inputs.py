"""From one sample's info to the network's input, by the model's own data set class and test pipeline."""

from typing import Any, Dict, List, Mapping

from inside.mmlab.libraries import load_library
from inside.nuscenes import DataError


class SamplePipeline:
    """The model's data set class for one sample at a time.

    The class's constructor, which reads the info file and map tables for minutes, is not called: the object gets the
    few attributes that `get_data_info` reads.
    """

    def __init__(self, config: Any, attributes: Mapping[str, Any]) -> None:
        settings = config.data.test
        kind = load_library("mmdet.datasets").DATASETS.get(settings.type)
        if kind is None:
            raise LookupError("the plugin registers no data set class {}".format(settings.type))
        self._dataset = kind.__new__(kind)
        box_type, box_mode = load_library("mmdet3d.core.bbox").get_box_type(settings.get("box_type_3d", "LiDAR"))
        vars(self._dataset).update(
            test_mode=True,
            modality=settings.modality,
            CLASSES=settings.classes,
            box_type_3d=box_type,
            box_mode_3d=box_mode,
            **attributes,
        )
        self._compose = load_library("mmdet3d.datasets.pipelines").Compose(settings.pipeline)

    def __call__(self, info: Dict[str, Any]) -> Dict[str, Any]:
        """The network's keyword arguments for a batch of one, on the CPU.

        Raises:
            DataError: an image is missing or cannot be decoded.
        """
        self._dataset.data_infos = [info]
        described = self._dataset.get_data_info(0)
        self._dataset.pre_pipeline(described)
        try:
            example = self._compose(described)
        except Exception as error:  # transforms raise anything over a picture that cannot be read
            raise_for_images([camera["data_path"] for camera in info["cams"].values()], error)
            raise
        batch = load_library("mmcv.parallel").collate([example], samples_per_gpu=1)
        return {key: unwrap(value) for key, value in batch.items()}


def unwrap(value: Any) -> Any:
    """What mmcv's data containers hold for the first GPU, through lists."""
    if type(value).__name__ == "DataContainer":
        return value.data[0]
    return [unwrap(item) for item in value] if isinstance(value, list) else value


def to_device(value: Any, device: str) -> Any:
    """The same structure with its tensors on `device`. Meta data stay where they are."""
    if type(value).__module__.partition(".")[0] == "torch":
        return value.to(device)
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(item, device) for item in value)
    return value


def raise_for_images(paths: List[str], cause: BaseException) -> None:
    """Raise DataError if one of the images is why a pipeline failed: the first that is not a whole picture."""
    cv2 = load_library("cv2")
    for path in paths:
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise DataError("the image {} cannot be read: {}".format(path, error.strerror)) from cause
        if cv2.imread(path) is None:
            raise DataError("the image {} is not a whole picture".format(path)) from cause
