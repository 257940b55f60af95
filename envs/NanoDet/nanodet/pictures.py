"""Pictures as the network takes them, and the way back to the original's pixels.

The rule is that of nanodet-g.yml (`keep_ratio: True`) and of `get_resize_matrix` of its authors: the picture keeps its
shape, is scaled until it fits the square, lies in the middle, and black fills the rest. Samples are bilinear without a
filter for smaller sizes, as in OpenCV's warpPerspective: the network was trained with them.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from .config import Config


class Placement(NamedTuple):
    """Where the picture lies in the network's input: input pixel = scale · original pixel + (left, top)."""

    scale: float
    left: float
    top: float
    width: int
    height: int

    def to_original(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (n, 4) x1, y1, x2, y2 [input pixels] in pixels of the original, cut at its edges."""
        offset = np.array([self.left, self.top, self.left, self.top], np.float32)
        limit = np.array([self.width, self.height, self.width, self.height], np.float32)
        return np.clip((boxes - offset) / np.float32(self.scale), 0, limit)


class Picture(NamedTuple):
    """The network's input (3, size, size), float32, BGR and normalised; and where the picture lies in it."""

    pixels: np.ndarray
    placement: Placement


def read_picture(path: str, config: Config) -> Picture:
    """Read a file. An orientation among its EXIF data is not applied: boxes are in pixels as they are stored.

    Raises:
        OSError: it cannot be read, or is no whole picture.
    """
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except UnidentifiedImageError as error:
        raise OSError("not a picture") from error
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(str(error)) from error
    return place(rgb, config)


def place(rgb: Image.Image, config: Config) -> Picture:
    """Scale, centre and normalise a picture."""
    size, (width, height) = config.input_size, rgb.size
    scale = min(size / width, size / height)
    placement = Placement(scale, (size - scale * width) / 2, (size - scale * height) / 2, width, height)
    # OpenCV counts from the middle of the first pixel, Pillow from its corner: half a pixel on either side.
    step = 1 / scale
    begin = [-offset * step + 0.5 - 0.5 * step for offset in (placement.left, placement.top)]
    matrix = (step, 0.0, begin[0], 0.0, step, begin[1])
    warped = rgb.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    mean, deviation = np.array(config.mean_bgr, np.float32), np.array(config.std_bgr, np.float32)
    bgr = np.asarray(warped, np.float32)[:, :, ::-1]
    return Picture(np.ascontiguousarray(((bgr - mean) / deviation).transpose(2, 0, 1)), placement)
