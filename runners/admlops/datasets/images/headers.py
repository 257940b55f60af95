"""What a picture's header says: its size and orientation; and copies turned upright.

A camera that was held upright or upside down writes the pixels as its sensor has them, and in EXIF's tag 0x0112 how
they are to be turned (CIPA DC-008-2019, 4.6.4). Whether a library turns them on reading differs, so such a picture is
turned here once: adapters get a copy without the tag.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from admlops.core.errors import DataError
from admlops.core.storage import file_sha256, write_atomically
from admlops.datasets.images.cache import cache_folder
from admlops.datasets.images.contents import Size

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112
UPRIGHT = 1
SIDEWAYS = frozenset((5, 6, 7, 8))
"""Orientations that exchange width and height."""
LOSSLESS = frozenset(("1", "L", "LA", "P", "RGB", "RGBA", "I;16"))
"""Pillow's modes that PNG holds; others are converted to RGB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """`stored` is the size of the pixels as they lie in the file, `orientation` EXIF's, 1 to 8."""

    stored: Size
    orientation: int = UPRIGHT

    @property
    def upright(self) -> Size:
        """The size of the picture turned upright."""
        return (self.stored[1], self.stored[0]) if self.orientation in SIDEWAYS else self.stored


def read_header(path: Path) -> Header | None:
    """Return what a picture's header says, without decoding it; None if it is not there or not a picture."""
    from PIL import Image, UnidentifiedImageError  # commands on other kinds of data do without Pillow

    try:
        with Image.open(path) as picture:
            return Header(stored=picture.size, orientation=_orientation(picture))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def turn_upright(path: Path) -> Path:
    """Return a copy of a picture, turned as EXIF says and without the tag: the same pixels, as PNG in the cache.

    Raises:
        DataError: the picture cannot be read.
        StorageError: the cache cannot be written.
    """
    target = cache_folder() / "upright" / f"{_digest(path)}.png"
    if target.is_file():
        return target
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            turned = ImageOps.exif_transpose(picture)
            content = io.BytesIO()
            turned = turned if turned.mode in LOSSLESS else turned.convert("RGB")
            turned.save(content, format="PNG", compress_level=1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"the picture {path} cannot be turned upright: {error}", hint=f"file {path}") from error
    write_atomically(target, content.getvalue(), sync=False)
    return target


def turn_box(
    box: tuple[float, float, float, float], orientation: int, stored: Size
) -> tuple[float, float, float, float]:
    """Return where a box x1, y1, x2, y2 of the stored pixels lies in the picture turned upright."""
    corners = [_turn_point(box[i], box[j], orientation, stored) for i, j in ((0, 1), (2, 3))]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return (min(xs), min(ys), max(xs), max(ys))


def _turn_point(x: float, y: float, orientation: int, stored: Size) -> tuple[float, float]:
    width, height = stored
    return {
        1: (x, y),
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }[orientation]


def _orientation(picture: Image.Image) -> int:
    from PIL import Image

    if picture.format == "PNG":  # Pillow decodes the whole picture to look for the tag behind it
        exif = Image.Exif()
        exif.load(picture.info.get("exif", b""))
    else:
        exif = picture.getexif()
    value = exif.get(ORIENTATION, UPRIGHT)
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise DataError(f"the picture {path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
