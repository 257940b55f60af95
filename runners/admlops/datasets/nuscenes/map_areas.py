"""How far positions are from intersections and pedestrian crossings of the map expansion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon

from admlops.core.errors import DataError
from admlops.datasets.nuscenes.map_file import UNPACK_AGAIN, read_map_file
from admlops.datasets.nuscenes.vector_map import make_polygon

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class AreaDistances:
    """(N,) distances [m] of positions to the nearest area; 0 inside of one, infinite on a map without any."""

    intersection: Floats
    crossing: Floats


def measure_areas(path: Path, positions: Floats) -> AreaDistances:
    """Return the distances of `positions` (N, 2) [m, global frame] to the areas of the map in `path`.

    An intersection is a road segment that the map calls one.

    Raises:
        DataError: the file is missing, older than version 1.3 or not whole.
    """
    content = read_map_file(path)
    nodes = {node.token: (node.x, node.y) for node in content.node}
    polygons = {polygon.token: polygon for polygon in content.polygon}
    junctions = [row.polygon_token for row in content.road_segment if row.is_intersection]
    crossings = [row.polygon_token for row in content.ped_crossing]
    try:
        areas = [[make_polygon(polygons[token], nodes) for token in group] for group in (junctions, crossings)]
    except (KeyError, shapely.errors.ShapelyError) as error:
        raise DataError(
            f"{path}: an area cannot be made: {error}", hint=UNPACK_AGAIN.format(folder=path.parents[1])
        ) from error
    points = shapely.points(positions)
    intersection, crossing = (_distances([area for area in group if area.is_valid], points) for group in areas)
    return AreaDistances(intersection=intersection, crossing=crossing)


def _distances(areas: Sequence[Polygon], points: NDArray[np.object_]) -> Floats:
    found = np.full(len(points), np.inf)
    if not areas:
        return found
    (rows, _), distances = shapely.STRtree(list(areas)).query_nearest(points, return_distance=True, all_matches=False)
    found[rows] = distances
    return found
