"""Ground-truth vectors of the nuScenes map expansion v1.3, cut out around a pose as MapTR cuts them.

Patch frame: origin at the LiDAR's position, x along the LiDAR's x axis (to the right of the vehicle), y along its y
axis (forward), metres, seen from above. A patch of 60 × 30 m therefore covers x in [-15, 15] and y in [-30, 30].

What a class is made of follows `VectorizedLocalMap` in MapTR (projects/mmdet3d_plugin/datasets/
nuscenes_map_dataset.py): a divider is the part of a road or lane divider in the patch; a pedestrian crossing is an
outline of the union of crossings; a boundary is an outline of the union of road segments and lanes, cut to the patch
less 0.2 m, so that the patch's own border does not count. Geometry comes from shapely, the file is read here: the
devkit is not needed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely import LineString, MultiLineString, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import linemerge

from admlops.core.errors import DataError
from admlops.core.nuscenes_classes import CENTERLINE
from admlops.datasets.nuscenes.centerlines import ArcLine, LaneLine, Neighbours, find_paths, sample_lane
from admlops.datasets.nuscenes.map_file import (
    UNPACK_AGAIN,
    LaneRecord,
    LineRecord,
    MapFile,
    PolygonRecord,
    PolygonRow,
    missing_map,
    read_map_file,
)
from admlops.datasets.nuscenes.tables import rotation_matrix

DIVIDER_LAYERS = ("road_divider", "lane_divider")
CROSSING_LAYERS = ("ped_crossing",)
BOUNDARY_LAYERS = ("road_segment", "lane")
LANE_LAYERS = ("lane_connector", "lane")
PATCH_SIZE_M = (60.0, 30.0)
"""Length along y and width along x of the patch that MapTR evaluates."""

BORDER_M = 0.2
MAPS_IN_MEMORY = 4
"""nuScenes has four locations; a large one takes some 100 MB as geometry."""

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MapVector:
    """One element of the ground truth: `type` is one of MAP_CLASSES or CENTERLINE, `points` (N, 2) [m], N ≥ 2."""

    type: str
    points: Points


@dataclass(frozen=True, kw_only=True)
class PatchPose:
    """Where a patch lies: its origin in the global frame [m], and the angle from global x to patch x [rad]."""

    translation: tuple[float, float]
    yaw: float


def patch_pose(sample: Mapping[str, Any]) -> PatchPose:
    """The pose of the key frame's LiDAR seen from above; `sample` has the shape of docs/architecture.md."""
    lidar, ego = sample["lidar"]["sensor2ego"], sample["lidar"]["ego2global"]
    ego_rotation = rotation_matrix(ego["rotation_wxyz"])
    translation = ego_rotation @ np.asarray(lidar["translation"]) + np.asarray(ego["translation"])
    return PatchPose(
        translation=(float(translation[0]), float(translation[1])),
        yaw=_yaw(ego_rotation @ rotation_matrix(lidar["rotation_wxyz"])),
    )


def ego_pose(sample: Mapping[str, Any]) -> PatchPose:
    """The pose of the record's ego frame seen from above."""
    pose = sample["ego2global"]
    x, y = pose["translation"][:2]
    return PatchPose(translation=(float(x), float(y)), yaw=_yaw(rotation_matrix(pose["rotation_wxyz"])))


def ego_to_patch(points: ArrayLike, sample: Mapping[str, Any]) -> Points:
    """Points (N, 2) [m] of the ego frame in the patch frame: a rigid motion in the plane, the inverse of the other."""
    return _to_local(_to_global(points, ego_pose(sample)), patch_pose(sample))


def patch_to_ego(points: ArrayLike, sample: Mapping[str, Any]) -> Points:
    """Points (N, 2) [m] of the patch frame in the ego frame, for drawing and for adapters whose output is LiDAR's."""
    return _to_local(_to_global(points, patch_pose(sample)), ego_pose(sample))


def local_vectors(
    maps_root: Path,
    location: str,
    *,
    translation: Sequence[float],
    yaw: float,
    patch_size: tuple[float, float] = PATCH_SIZE_M,
    centerlines: bool = False,
) -> list[MapVector]:
    """The ground truth around a pose, in the patch frame; dividers, then crossings, then boundaries, then centrelines.

    Args:
        maps_root: the data set's `maps` folder; the map is `expansion/<location>.json` in it.
        translation: the LiDAR's position in the global frame [m]; x and y are used.
        yaw: angle from the global x axis to the LiDAR's x axis [rad].
        patch_size: extent along the patch's y and x axes [m].
        centerlines: whether to add MapTRv2's fourth class.

    Raises:
        DataError: the map is missing, older than version 1.3 or not whole.
    """
    map_ = load_map(maps_root / "expansion" / f"{location}.json")
    pose = PatchPose(translation=(float(translation[0]), float(translation[1])), yaw=yaw)
    patch = _patch(pose, patch_size)

    def cut(layers: Iterable[str]) -> list[BaseGeometry]:
        pieces = (piece for layer in layers for piece in map_.layers[layer].cut(patch))
        return [shapely.transform(piece, lambda xy: _to_local(xy, pose)) for piece in pieces]

    half_width, half_length = patch_size[1] / 2, patch_size[0] / 2
    inner = shapely.box(-half_width + BORDER_M, -half_length + BORDER_M, half_width - BORDER_M, half_length - BORDER_M)
    outer = shapely.box(-half_width - BORDER_M, -half_length - BORDER_M, half_width + BORDER_M, half_length + BORDER_M)
    roads, lanes = (shapely.union_all(cut([layer])) for layer in BOUNDARY_LAYERS)
    lines: list[tuple[str, Iterable[LineString]]] = [
        ("divider", (line for piece in cut(DIVIDER_LAYERS) for line in _lines(piece))),
        ("ped_crossing", _outlines(shapely.union_all(cut(CROSSING_LAYERS)), outer)),
        ("boundary", _outlines(shapely.union_all([roads, lanes]), inner)),
    ]
    found = [MapVector(type=name, points=shapely.get_coordinates(line)) for name, group in lines for line in group]
    return found + (_centerlines(map_, patch, pose) if centerlines else [])


def _centerlines(map_: VectorMap, patch: Polygon, pose: PatchPose) -> list[MapVector]:
    """The paths through the lanes whose area reaches into the patch."""
    lanes = [map_.lanes[index] for index in np.sort(map_.lane_tree.query(patch, predicate="intersects")).tolist()]
    cut = {lane.token: shapely.intersection(shapely.linestrings(lane.points), patch) for lane in lanes}
    local = {
        token: shapely.transform(line, lambda xy: _to_local(xy, pose))
        for token, line in cut.items()
        if not line.is_empty
    }
    return [MapVector(type=CENTERLINE, points=points) for points in find_paths(local, map_.neighbours)]


def sample_vectors(
    maps_root: Path, location: str, sample: Mapping[str, Any], *, centerlines: bool = False
) -> list[MapVector]:
    """`local_vectors` around the sample's LiDAR with the default patch."""
    pose = patch_pose(sample)
    return local_vectors(maps_root, location, translation=pose.translation, yaw=pose.yaw, centerlines=centerlines)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The geometries of one layer in file order, with an index over their bounds."""

    geometries: NDArray[np.object_]
    tree: shapely.STRtree

    def cut(self, patch: Polygon) -> list[BaseGeometry]:
        """Return what of each geometry lies in the patch, in file order, without the empty ones."""
        near = np.sort(self.tree.query(patch))
        pieces = shapely.intersection(self.geometries[near], patch)
        return [piece for piece in pieces if not piece.is_empty]


@dataclass(frozen=True, kw_only=True)
class VectorMap:
    """The layers of one location, in the global frame."""

    layers: Mapping[str, Layer]
    lane_areas: tuple[tuple[str, Polygon], ...]
    arc_lines: Mapping[str, list[ArcLine]]
    neighbours: Mapping[str, Neighbours]

    @functools.cached_property
    def lanes(self) -> list[LaneLine]:
        """Lane connectors, then lanes, with their centrelines; those without one are left out."""
        sampled = ((token, area, sample_lane(self.arc_lines.get(token, ()))) for token, area in self.lane_areas)
        return [LaneLine(token=token, area=area, points=points) for token, area, points in sampled if len(points) > 1]

    @functools.cached_property
    def lane_tree(self) -> shapely.STRtree:
        """An index over the areas of `lanes`."""
        return shapely.STRtree([lane.area for lane in self.lanes])


def load_map(path: Path) -> VectorMap:
    """The map in a file; kept in memory and read anew when the file changes.

    Raises:
        DataError: the file is missing, older than version 1.3 or not whole.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise missing_map(path) from error
    return _load_map(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=MAPS_IN_MEMORY)
def _load_map(path: Path, _modified_ns: int, _size_bytes: int) -> VectorMap:
    content = read_map_file(path)
    again = UNPACK_AGAIN.format(folder=path.parents[1])
    try:
        return VectorMap(
            layers=_build_layers(content),
            lane_areas=tuple(_build_lanes(content)),
            arc_lines=content.arcline_path_3,
            neighbours=content.connectivity,
        )
    except KeyError as error:
        raise DataError(f"{path}: a record names the token {error}, which is not there", hint=again) from error
    except shapely.errors.ShapelyError as error:
        raise DataError(f"{path} holds a broken geometry: {error}", hint=again) from error


def _build_layers(content: MapFile) -> dict[str, Layer]:
    nodes = {node.token: (node.x, node.y) for node in content.node}
    lines = {line.token: line for line in content.line}
    polygons = {polygon.token: polygon for polygon in content.polygon}
    layers = {}
    for name in DIVIDER_LAYERS:
        records: list[LineRecord] = getattr(content, name)
        rows = (lines[record.line_token].node_tokens for record in records)
        layers[name] = _layer([LineString([nodes[token] for token in row]) for row in rows if row])
    for name in (*CROSSING_LAYERS, *BOUNDARY_LAYERS):
        areas: list[PolygonRecord | LaneRecord] = getattr(content, name)
        shapes = [make_polygon(polygons[record.polygon_token], nodes) for record in areas if record.polygon_token]
        layers[name] = _layer([shape for shape in shapes if shape.is_valid])
    return layers


def _build_lanes(content: MapFile) -> Iterator[tuple[str, Polygon]]:
    nodes = {node.token: (node.x, node.y) for node in content.node}
    polygons = {polygon.token: polygon for polygon in content.polygon}
    for name in LANE_LAYERS:
        records: list[LaneRecord] = getattr(content, name)
        for record in records:
            if record.polygon_token is not None:
                area = make_polygon(polygons[record.polygon_token], nodes)
                if area.is_valid:
                    yield record.token, area


def make_polygon(polygon: PolygonRow, nodes: Mapping[str, tuple[float, float]]) -> Polygon:
    """Return the area of a row, holes included; `nodes` are positions by token. Raises KeyError for a missing one."""
    holes = [[nodes[token] for token in hole.node_tokens] for hole in polygon.holes if hole.node_tokens]
    return Polygon([nodes[token] for token in polygon.exterior_node_tokens], holes)


def _layer(geometries: Sequence[BaseGeometry]) -> Layer:
    array = np.empty(len(geometries), dtype=np.object_)
    array[:] = geometries
    return Layer(geometries=array, tree=shapely.STRtree(array))


def _patch(pose: PatchPose, patch_size: tuple[float, float]) -> Polygon:
    length, width = patch_size
    corners = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]) * (width / 2, length / 2)
    return Polygon(_to_global(corners, pose))


def _outlines(area: BaseGeometry, window: Polygon) -> Iterator[LineString]:
    """The exteriors (clockwise), then the holes (counter-clockwise) of an area, as far as they lie in the window."""
    polygons = [part for part in _parts(area) if isinstance(part, Polygon)]
    exteriors = [polygon.exterior for polygon in polygons]
    holes = [hole for polygon in polygons for hole in polygon.interiors]
    for ring, clockwise in [*((ring, True) for ring in exteriors), *((ring, False) for ring in holes)]:
        coordinates = shapely.get_coordinates(ring)
        if ring.is_ccw == clockwise:
            coordinates = coordinates[::-1]
        inside = LineString(coordinates).intersection(window)
        if isinstance(inside, MultiLineString):
            inside = linemerge(inside)
        yield from _lines(inside)


def _lines(geometry: BaseGeometry) -> Iterator[LineString]:
    """The line strings in a geometry. Points, where a line only touches the border, are no map element."""
    return (part for part in _parts(geometry) if isinstance(part, LineString) and not part.is_empty)


def _parts(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    if isinstance(geometry, MultiPolygon | MultiLineString) or geometry.geom_type == "GeometryCollection":
        for part in geometry.geoms:
            yield from _parts(part)
    elif not geometry.is_empty:
        yield geometry


def _to_global(points: ArrayLike, pose: PatchPose) -> Points:
    cosine, sine = math.cos(pose.yaw), math.sin(pose.yaw)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    moved: Points = np.asarray(points, dtype=np.float64) @ rotation.T + pose.translation
    return moved


def _to_local(points: ArrayLike, pose: PatchPose) -> Points:
    cosine, sine = math.cos(pose.yaw), math.sin(pose.yaw)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    local: Points = (np.asarray(points, dtype=np.float64) - pose.translation) @ rotation
    return local


def _yaw(rotation: NDArray[np.float64]) -> float:
    """The angle of the rotated x axis seen from above [rad]."""
    return math.atan2(rotation[1, 0], rotation[0, 0])
