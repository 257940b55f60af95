"""The sample index: any sample of a nuScenes data set in milliseconds, without reading its tables.

`admlops data index ROOT` writes it once, beside the tables; this reader maps it into memory and decodes the samples
that are asked for. It runs in model environments: Python 3.8, standard library.

The file: the magic, a header's length and the header (JSON), then sections at the header's offsets, aligned to 8:

    tokens    N x width      the sample tokens, sorted, filled up with zero bytes
    places    N x 4 x 8      where each sample's two texts lie: offset, length, offset, length (little-endian, unsigned)
    order     N x 4          positions in `tokens`, scene by scene, in time order
    texts                    zlib-compressed JSON: the sample as an adapter gets it, and its context
"""

import hashlib
import json
import mmap
import os
import struct
import zlib
from typing import Any, Dict, List, Union

from .errors import DataError
from .form import make_paths_absolute
from .nuscenes import Tables

MAGIC = b"ADMLIDX1"
SCHEMA = 2
FILE_NAME = "admlops-index.bin"
PLACE = struct.Struct("<QQQQ")
ORDER = struct.Struct("<I")
LENGTH = struct.Struct("<Q")
HASH_BLOCK_BYTES = 1 << 20

Row = Dict[str, Any]


def index_path(dataroot: str, version: str) -> str:
    """Return the path of a version's index: it lies in the folder of the tables."""
    return os.path.join(os.path.abspath(dataroot), version, FILE_NAME)


def has_index(dataroot: str, version: str) -> bool:
    return os.path.isfile(index_path(dataroot, version))


class SampleIndex:
    """An open index. Answers what `worker.samples.nuscenes.Tables` answers, and gives each sample's context besides.

    Raises:
        DataError: there is no index, it is not whole, or the content of a table has changed since it was made.
    """

    def __init__(self, dataroot: str, version: str) -> None:
        self.dataroot = os.path.abspath(dataroot)
        self.version = version
        self.folder = os.path.join(self.dataroot, version)
        self.path = index_path(dataroot, version)
        try:
            with open(self.path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError("the index {} cannot be read: {}".format(self.path, error)) from error
        self.header = self._read_header()
        self._check_tables()
        sections = self.header["sections"]
        self._tokens, self._places, self._order = sections["tokens"], sections["places"], sections["order"]
        self._width = int(self.header["token_bytes"])
        self._count = int(self.header["samples"])
        self._scenes = {scene["name"]: scene for scene in self.header["scenes"]}

    def close(self) -> None:
        self._map.close()

    def scene_names(self) -> List[str]:
        """The scenes' names, in table order."""
        return list(self._scenes)

    def scene(self, name: str) -> Row:
        """The scene's name, token and location. Raises DataError for an unknown name."""
        if name not in self._scenes:
            raise DataError("{} has no scene {!r}".format(self.folder, name))
        return dict(self._scenes[name])

    def samples_of_scene(self, name: str) -> List[str]:
        """The sample tokens of a scene in time order. Raises DataError for an unknown name."""
        return [self._token(position).rstrip(b"\0").decode() for position in self._positions(name)]

    def location(self, scene_name: str) -> str:
        """The map a scene lies on, e.g. `singapore-onenorth`."""
        return str(self.scene(scene_name)["location"])

    def sample(self, token: str) -> Row:
        """Return one sample as an adapter gets it; docs/architecture.md shows the shape."""
        return make_paths_absolute(self._decode(self._find(token), 0), self.dataroot)

    def context(self, token: str) -> Row:
        """Return what lies around a sample, for models that look back.

        `prev` and `next` are sample tokens or empty; `location` is the map; `lidar_sweeps` and `camera_sweeps`
        (by camera) hold earlier frames of the scene, the newest first, in the form of the sample's own sensors;
        `can_bus` is null without the expansion, else `last_pose` and `pose`, the CAN pose messages at or before the
        sample and after it (the last one at the end), and `steering`, the nearest steering angle message.

        `driven` says where the LiDAR is (`timestamp_us`, `sensor2ego`, `ego2global`) at up to two key frames `before`
        and up to six `after`, the nearest first. What comes after is the truth that plans are measured against.
        """
        return make_paths_absolute(self._decode(self._find(token), 1), self.dataroot)

    def _read_header(self) -> Row:
        size = len(self._map)
        begin = len(MAGIC) + LENGTH.size
        if size < begin or self._map[: len(MAGIC)] != MAGIC:
            raise DataError("{} is not an index of this admlops".format(self.path))
        (length,) = LENGTH.unpack_from(self._map, len(MAGIC))
        try:
            header = json.loads(self._map[begin : begin + length].decode())  # type: Row
        except ValueError as error:
            raise DataError("{} is damaged: {}".format(self.path, error)) from error
        if header["schema"] != SCHEMA:
            raise DataError("{} is not an index of this admlops: schema {}".format(self.path, header["schema"]))
        if header["size_bytes"] != size:
            raise DataError("{} is damaged: {} bytes instead of {}".format(self.path, size, header["size_bytes"]))
        return dict(header)

    def _check_tables(self) -> None:
        """Compare every table with what the index was made from: size and time of change, else size and content.

        A copied or unpacked data set has other times and the same tables; it costs one reading of them to see so.
        """
        for name, made_from in self.header["tables"].items():
            path = os.path.join(self.folder, name)
            try:
                status = os.stat(path)
                same = status.st_size == made_from["size_bytes"] and (
                    status.st_mtime_ns == made_from["mtime_ns"] or _sha256(path) == made_from.get("sha256")
                )
            except OSError as error:
                raise DataError("{} is missing: {} was made from it".format(path, self.path)) from error
            if not same:
                raise DataError("{} has changed since {} was made".format(path, self.path))

    def _positions(self, name: str) -> List[int]:
        scene = self.scene(name)
        begin = self._order + ORDER.size * int(scene["first"])
        return [ORDER.unpack_from(self._map, begin + ORDER.size * i)[0] for i in range(int(scene["samples"]))]

    def _find(self, token: str) -> int:
        """The position of a token, by bisection. Raises DataError if there is none."""
        wanted = token.encode().ljust(self._width, b"\0")
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            if self._token(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        if low == self._count or self._token(low) != wanted:
            raise DataError("{} has no sample {!r}".format(self.folder, token))
        return low

    def _token(self, position: int) -> bytes:
        begin = self._tokens + self._width * position
        return self._map[begin : begin + self._width]

    def _decode(self, position: int, part: int) -> Row:
        place = PLACE.unpack_from(self._map, self._places + PLACE.size * position)
        offset, length = place[2 * part], place[2 * part + 1]
        try:
            return dict(json.loads(zlib.decompress(self._map[offset : offset + length])))
        except (ValueError, zlib.error) as error:
            raise DataError("{} is damaged: {}".format(self.path, error)) from error


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(HASH_BLOCK_BYTES), b""):
            digest.update(block)
    return digest.hexdigest()


def open_samples(dataroot: str, version: str) -> Union[SampleIndex, Tables]:
    """The index where there is one, else the tables: they answer the same, only later."""
    return SampleIndex(dataroot, version) if has_index(dataroot, version) else Tables(dataroot, version)
