"""Reads a camera's picture as its pixels lie in the file."""

import os
from typing import Any, Dict

from ..mmlab.common.libraries import load_library
from ..samples.errors import DataError


def read_picture(name: str, camera: Dict[str, Any]) -> Any:
    """Return the picture of a sample's camera, RGB, 8 bits, of the size that the sample states: a pillow image.

    The orientation that a camera notes in the file (EXIF) is left alone: the host hands over upright pictures, and a
    second turn would undo the first.

    Raises:
        DataError: the file is missing, is no whole picture, or has another size.
    """
    path = camera["path"]
    try:
        with load_library("PIL.Image").open(path) as image:
            picture = image.convert("RGB")
    except FileNotFoundError as error:
        raise DataError("the picture {} of {} is not there".format(path, name)) from error
    except (OSError, SyntaxError, ValueError) as error:  # pillow raises SyntaxError for a damaged PNG
        reason = getattr(error, "strerror", None) or error
        raise DataError("the picture {} of {} cannot be read: {}".format(path, name, reason)) from error
    stated = (camera["width"], camera["height"])
    if picture.size != stated:
        text = "the picture {} has {}x{} pixels, and the sample says {}x{}"
        raise DataError(text.format(os.path.basename(path), *picture.size, *stated))
    return picture
