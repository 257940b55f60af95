"""A file of nuScenes' map expansion as it stands: typed rows, before geometries are made of them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from admlops.core.errors import DataError
from admlops.datasets.json_faults import describe_fault
from admlops.datasets.nuscenes.centerlines import ArcLine, Neighbours

MIN_MAP_VERSION = "1.3"
UNPACK_AGAIN = "unpack the map expansion again into {folder}, or: admlops data synthesize DIR"


class Node(msgspec.Struct, frozen=True):
    token: str
    x: float
    y: float


class Hole(msgspec.Struct, frozen=True):
    node_tokens: list[str]


class Line(msgspec.Struct, frozen=True):
    token: str
    node_tokens: list[str]


class PolygonRow(msgspec.Struct, frozen=True):
    token: str
    exterior_node_tokens: list[str]
    holes: list[Hole] = []


class LineRecord(msgspec.Struct, frozen=True):
    line_token: str


class PolygonRecord(msgspec.Struct, frozen=True):
    polygon_token: str


class SegmentRecord(PolygonRecord, frozen=True):
    """A piece of road; at an intersection it is the area where roads meet."""

    is_intersection: bool = False


class LaneRecord(msgspec.Struct, frozen=True):
    polygon_token: str | None
    token: str = ""


class MapFile(msgspec.Struct, frozen=True):
    """The parts of an expansion file that are used; everything else is skipped while reading."""

    node: list[Node]
    line: list[Line]
    polygon: list[PolygonRow]
    road_divider: list[LineRecord]
    lane_divider: list[LineRecord]
    ped_crossing: list[PolygonRecord]
    road_segment: list[SegmentRecord]
    lane: list[LaneRecord]
    lane_connector: list[LaneRecord] = []
    arcline_path_3: dict[str, list[ArcLine]] = {}
    connectivity: dict[str, Neighbours] = {}
    version: str = "1.0"


def read_map_file(path: Path) -> MapFile:
    """Return what a file of the map expansion holds, without making geometries of it.

    Raises:
        DataError: the file is missing, older than version 1.3 or not whole.
    """
    content = b""
    try:
        content = path.read_bytes()
        map_file = msgspec.json.decode(content, type=MapFile)
    except FileNotFoundError as error:
        raise missing_map(path) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
    except msgspec.DecodeError as error:
        raise DataError(
            f"{path} is not a whole map expansion file: {describe_fault(content, error)}",
            hint=UNPACK_AGAIN.format(folder=path.parents[1]),
        ) from error
    if map_file.version < MIN_MAP_VERSION:
        raise DataError(
            f"{path} has map version {map_file.version}; {MIN_MAP_VERSION} is needed",
            hint=f"unpack nuScenes-map-expansion-v1.3.zip into {path.parents[1]}",
        )
    return map_file


def missing_map(path: Path) -> DataError:
    """Explain that there is no map expansion, or that it was unpacked beside its folder."""
    maps = path.parents[1]
    beside = next((one for one in (maps / path.name, maps.parent / "expansion" / path.name) if one.is_file()), None)
    if beside is None:
        hint = f"unpack nuScenes-map-expansion-v1.3.zip into {maps}, or: admlops data synthesize DIR"
        return DataError(f"{path} is missing: map elements are evaluated against the map expansion", hint=hint)
    source = f"{beside.parent}/*.json" if beside.parent == maps else str(beside.parent)
    target = f"{path.parent}/" if beside.parent == maps else f"{maps}/"
    return DataError(
        f"{path} is missing: the map expansion lies in {beside.parent}, and belongs in {path.parent}",
        hint=f"mkdir -p {target} && mv {source} {target}",
    )
