"""What every network's input is checked for before it is made, and how it goes to a device."""

import os
from typing import Any, List, Mapping

from ...samples.nuscenes import DataError
from ...samples.openlane import jpeg_size
from .libraries import load_library

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_TAIL_BYTES = 4096
"""How far before a JPEG's end its last marker may stand: some cameras write a few bytes after it."""


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
