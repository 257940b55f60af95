"""From one sample's info to the network's input, by the model's own data set class and test pipeline."""

import os
from typing import Any, Callable, Dict, List, Mapping

from ...samples.nuscenes import DataError
from ...samples.openlane import jpeg_size
from .libraries import load_library

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_TAIL_BYTES = 4096
"""How far before a JPEG's end its last marker may stand: some cameras write a few bytes after it."""

Info = Dict[str, Any]


class SamplePipeline:
    """The model's data set class for one sample at a time.

    The class's constructor, which reads the info file and map tables for minutes, is not called: the object gets the
    few attributes that `get_data_info` reads.

    Args:
        config: the configuration, whose test data set and pipeline these are.
        attributes: what else `get_data_info` reads of the object.
        pictures: the files of the pictures that the pipeline reads for an info.
    """

    def __init__(self, config: Any, attributes: Mapping[str, Any], pictures: Callable[[Info], List[str]]) -> None:
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
        self._pictures = pictures
        self._compose = load_library("mmdet3d.datasets.pipelines").Compose(settings.pipeline)

    def __call__(self, info: Info) -> Dict[str, Any]:
        """The network's keyword arguments for a batch of one, on the CPU. Raises as `make_batch`."""
        self._dataset.data_infos = [info]
        described = self._dataset.get_data_info(0)
        self._dataset.pre_pipeline(described)
        return make_batch(self._compose, described, self._pictures(info))


def make_batch(compose: Callable[[Any], Any], described: Any, pictures: List[str]) -> Dict[str, Any]:
    """A batch of one, on the CPU, by a data set's pipeline and mmcv's collation.

    Args:
        compose: the pipeline.
        described: what goes into it.
        pictures: the files that it reads.

    Raises:
        DataError: a picture is missing or damaged.
    """
    check_pictures(pictures)
    try:
        example = compose(described)
    except Exception as error:  # transforms raise anything over a picture that cannot be decoded
        raise_for_pictures(pictures, error)
        raise
    batch = load_library("mmcv.parallel").collate([example], samples_per_gpu=1)
    return {key: unwrap(value) for key, value in batch.items()}


def unwrap(value: Any) -> Any:
    """Return what mmcv's data containers hold for the first GPU, through lists."""
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


def check_pictures(paths: List[str]) -> None:
    """Raise DataError for a file that cannot be read, and for a JPEG that ends too early.

    Older OpenCV fills the missing part of such a picture with grey and goes on. Between a JPEG's pixels its last marker
    cannot occur: there a zero or the number of a restart follows every 0xFF.
    """
    for path in paths:
        try:
            with open(path, "rb") as file:
                start = file.read(len(JPEG_START))
                file.seek(max(0, file.seek(0, os.SEEK_END) - JPEG_TAIL_BYTES))
                tail = file.read()
        except OSError as error:
            raise DataError("the image {} cannot be read: {}".format(path, error.strerror)) from error
        if start == JPEG_START and JPEG_END not in tail:
            raise _not_whole(path)


def check_sizes(cameras: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise DataError for a JPEG of another size than its camera is calibrated for: pictures that somebody scaled.

    The network would see every object at another range, and say nothing.
    """
    for camera in cameras.values():
        stated = (camera["width"], camera["height"])
        size = jpeg_size(camera["path"]) if all(stated) else None
        if size is not None and size != stated:
            text = "the image {} is {}x{}, but its calibration is for {}x{}"
            raise DataError(text.format(camera["path"], *size, *stated))


def raise_for_pictures(paths: List[str], cause: BaseException) -> None:
    """Raise DataError if one of the pictures is why a pipeline failed: the first that cannot be decoded."""
    cv2 = load_library("cv2")
    for path in paths:
        if cv2.imread(path) is None:
            raise _not_whole(path) from cause


def _not_whole(path: str) -> DataError:
    return DataError("the image {} is not a whole picture".format(path))
