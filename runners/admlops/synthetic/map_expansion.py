"""The map expansion (version 1.3): a world's roads as the vector layers that nuScenes' map API reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from admlops.synthetic.course import STRAIGHT, Course
from admlops.synthetic.randomness import make_token
from admlops.synthetic.world import KERB_WIDTH, Lane, World

Array = NDArray[np.float64]
Record = dict[str, Any]

VERSION = "1.3"
LAYERS = (
    "polygon", "line", "node", "drivable_area", "road_segment", "road_block", "lane", "ped_crossing", "walkway",
    "stop_line", "carpark_area", "road_divider", "lane_divider", "traffic_light", "lane_connector",
)  # fmt: skip


class _Layers:
    """The layers under construction; nodes are shared by position, as neighbours share their borders."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.records: dict[str, list[Record]] = {name: [] for name in LAYERS}
        self._nodes: dict[tuple[float, float], str] = {}

    def token(self, layer: str) -> str:
        return make_token("map", self.seed, self.world.location, layer, len(self.records[layer]))

    def add(self, layer: str, **fields: Any) -> str:
        token = self.token(layer)
        self.records[layer].append({"token": token, **fields})
        return token

    def node(self, x: float, y: float) -> str:
        key = round(float(x), 4), round(float(y), 4)
        if key not in self._nodes:
            self._nodes[key] = self.add("node", x=key[0], y=key[1])
        return self._nodes[key]

    def line(self, points: Array) -> str:
        return self.add("line", node_tokens=[self.node(x, y) for x, y in points])

    def polygon(self, area: Polygon) -> str:
        exterior = [self.node(x, y) for x, y in np.asarray(area.exterior.coords)[:-1]]
        holes = [{"node_tokens": [self.node(x, y) for x, y in np.asarray(ring.coords)[:-1]]} for ring in area.interiors]
        return self.add("polygon", exterior_node_tokens=exterior, holes=holes)


def make_map_expansion(world: World, seed: int) -> Record:
    """The JSON object of `maps/expansion/<location>.json`."""
    layers = _Layers(world, seed)
    drivable = layers.add("drivable_area", polygon_tokens=[layers.polygon(part) for part in _parts(_drivable(world))])
    segments = _add_segments(layers, drivable)
    blocks = _add_blocks(layers, segments)
    lanes = {id(lane): _add_lane(layers, lane) for lane in world.lanes}
    crossings = _add_crossings(layers, segments)
    lights = _add_traffic_lights(layers, blocks)
    _add_stop_lines(layers, crossings, lights, blocks)
    for part in _parts(world.paved.difference(world.kerb)):
        layers.add("walkway", polygon_token=layers.polygon(part))
    heading = world.arms["main_out"].course.poses(30.0)[0, 2]
    layers.add(
        "carpark_area",
        polygon_token=layers.polygon(world.carpark),
        orientation=float(heading),
        road_block_token=blocks["main_out", 1],
    )
    _add_dividers(layers, segments)
    return _with_paths(layers, lanes)


def _drivable(world: World) -> Polygon | MultiPolygon:
    return world.road.union(world.carpark)


def _add_segments(layers: _Layers, drivable: str) -> dict[str, str]:
    areas = {"junction": layers.world.junction, **{name: layers.world.arm_area(name) for name in layers.world.arms}}
    return {
        name: layers.add(
            "road_segment",
            polygon_token=layers.polygon(area),
            is_intersection=name == "junction",
            drivable_area_token=drivable,
        )
        for name, area in areas.items()
    }


def _add_blocks(layers: _Layers, segments: dict[str, str]) -> dict[tuple[str, int], str]:
    """One block per arm and direction: the lanes that run the same way."""
    blocks = {}
    for arm in layers.world.arms.values():
        for direction in (1, -1):
            side = layers.world.drive_side * direction
            right, left = sorted((0.0, side * arm.lanes_per_direction * arm.lane_width))
            area = arm.strip(0.0, arm.course.length, right, left)
            ends = [
                arm.course.points(at, at + 1e-3, offset=o)[0] for at in (0.0, arm.course.length) for o in (right, left)
            ]
            edges = [layers.line(np.round(ends[:2], 4)), layers.line(np.round(ends[2:], 4))]
            blocks[arm.name, direction] = layers.add(
                "road_block",
                polygon_token=layers.polygon(area),
                from_edge_line_token=edges[0 if direction > 0 else 1],
                to_edge_line_token=edges[1 if direction > 0 else 0],
                road_segment_token=segments[arm.name],
            )
    return blocks


def _add_lane(layers: _Layers, lane: Lane) -> str:
    course, half = lane.course, lane.width / 2
    edges = [
        layers.line(np.round([course.poses(at)[0, :2] + o * _left(course.poses(at)[0, 2]) for o in (-half, half)], 4))
        for at in (0.0, course.length)
    ]
    outermost = lane.index == layers.world.arms[lane.arm].lanes_per_direction - 1
    inner_kind = "DOUBLE_SOLID_YELLOW" if lane.index == 0 else "SINGLE_ZIGZAG_WHITE"
    inner_kind = inner_kind if lane.index == 0 else "DOUBLE_DASHED_WHITE"
    kinds = {"inner": inner_kind, "outer": "NIL" if outermost else "DOUBLE_DASHED_WHITE"}
    # On the left of the centre line (drive_side +1) the centre is on a lane's right.
    right, left = ("inner", "outer") if layers.world.drive_side > 0 else ("outer", "inner")
    return layers.add(
        "lane",
        polygon_token=layers.polygon(layers.world.lane_area(lane)),
        lane_type="CAR",
        from_edge_line_token=edges[0],
        to_edge_line_token=edges[1],
        left_lane_divider_segments=_segments_of(layers, course, half, kinds[left]),
        right_lane_divider_segments=_segments_of(layers, course, -half, kinds[right]),
    )


def _segments_of(layers: _Layers, course: Course, offset: float, kind: str) -> list[Record]:
    points = course.points(0.0, course.length, offset=offset)
    return [{"node_token": layers.node(x, y), "segment_type": kind} for x, y in np.round(points, 4)]


def _add_crossings(layers: _Layers, segments: dict[str, str]) -> dict[str, list[str]]:
    return {
        arm.name: [
            layers.add("ped_crossing", polygon_token=layers.polygon(area), road_segment_token=segments[arm.name])
            for area in arm.crossings()
        ]
        for arm in layers.world.arms.values()
    }


def _add_traffic_lights(layers: _Layers, blocks: dict[tuple[str, int], str]) -> dict[str, str]:
    """A light per arm, drawn as a short line from the light in the direction it faces."""
    lights = {}
    for arm in layers.world.arms.values():
        direction = 1 if arm.junction_at_end else -1
        offset = layers.world.drive_side * direction * (arm.half_width + KERB_WIDTH + 0.5)
        at = arm.at(arm.stop_distance)
        x, y, heading = arm.course.shifted(offset).poses(min(max(at, 0.0), arm.course.length))[0]
        facing = heading + (np.pi if direction > 0 else 0.0)
        start = np.array([x, y])
        colours = ("RED", "YELLOW", "GREEN")
        items = [
            {
                "color": colour,
                "shape": "CIRCLE",
                "rel_pos": {"tx": 0.0, "ty": 0.0, "tz": 0.3 * (1 - k), "rx": 0.0, "ry": 0.0, "rz": 0.0},
                "to_road_block_tokens": [],
            }
            for k, colour in enumerate(colours)
        ]
        pose = {"tx": float(x), "ty": float(y), "tz": 3.0, "rx": 0.0, "ry": 0.0, "rz": float(facing)}
        lights[arm.name] = layers.add(
            "traffic_light",
            line_token=layers.line(np.stack([start, start + np.array([np.cos(facing), np.sin(facing)])])),
            traffic_light_type="VERTICAL",
            from_road_block_token=blocks[arm.name, direction],
            items=items,
            pose=pose,
        )
    return lights


def _add_stop_lines(
    layers: _Layers, crossings: dict[str, list[str]], lights: dict[str, str], blocks: dict[tuple[str, int], str]
) -> None:
    for arm, area in layers.world.stop_lines():
        layers.add(
            "stop_line",
            polygon_token=layers.polygon(area),
            stop_line_type="TRAFFIC_LIGHT",
            ped_crossing_tokens=crossings[arm.name][:1],
            traffic_light_tokens=[lights[arm.name]],
            road_block_token=blocks[arm.name, 1 if arm.junction_at_end else -1],
        )


def _add_dividers(layers: _Layers, segments: dict[str, str]) -> None:
    """Centre lines as road dividers, lines between lanes of one direction as lane dividers."""
    for arm in layers.world.arms.values():
        for start, end in arm.divider_spans():
            line = layers.line(np.round(arm.course.points(start, end), 4))
            layers.add("road_divider", line_token=line, road_segment_token=segments[arm.name])
            for index in range(1, arm.lanes_per_direction):
                for side in (-1, 1):
                    points = np.round(arm.course.points(start, end, offset=side * index * arm.lane_width), 4)
                    segment = [
                        {"node_token": layers.node(x, y), "segment_type": "DOUBLE_DASHED_WHITE"} for x, y in points
                    ]
                    layers.add("lane_divider", line_token=layers.line(points), lane_divider_segments=segment)


def _with_paths(layers: _Layers, lanes: dict[int, str]) -> Record:
    """Add the lane connectors, the lanes' centre paths and how lanes follow each other."""
    world = layers.world
    paths = {lanes[id(lane)]: _arcline(lane.course) for lane in world.lanes}
    connectivity: dict[str, dict[str, list[str]]] = {token: {"incoming": [], "outgoing": []} for token in paths}
    for connector in world.connectors:
        course, half = connector.course, connector.width / 2
        sides = [course.points(0, course.length, offset=o, step=0.5) for o in (-half, half)]
        area = Polygon(np.round(np.concatenate([sides[0], sides[1][::-1]]), 4))
        token = layers.add("lane_connector", polygon_token=layers.polygon(area))
        paths[token] = _arcline(course)
        start, end = lanes[id(connector.start)], lanes[id(connector.end)]
        connectivity[token] = {"incoming": [start], "outgoing": [end]}
        connectivity[start]["outgoing"].append(token)
        connectivity[end]["incoming"].append(token)
    return {
        "version": VERSION,
        "canvas_edge": list(world.canvas),
        **layers.records,
        "arcline_path_3": paths,
        "connectivity": connectivity,
    }


def _arcline(course: Course) -> list[Record]:
    """A course as Dubins paths, one for each straight or arc."""
    paths = []
    arc = 0.0
    for piece in course.pieces:
        start, end = course.poses(arc)[0], course.poses(arc + piece.length)[0]
        arc += piece.length
        straight = abs(piece.curvature) < STRAIGHT
        shape = "LSR" if straight else ("LSL" if piece.curvature > 0 else "RSR")
        paths.append(
            {
                "start_pose": _pose(start),
                "end_pose": _pose(end),
                "shape": shape,
                "radius": 999.999 if straight else 1 / abs(piece.curvature),
                "segment_length": [0.0, piece.length, 0.0] if straight else [piece.length, 0.0, 0.0],
            }
        )
    return paths


def _pose(pose: Array) -> list[float]:
    return [float(pose[0]), float(pose[1]), float((pose[2] + np.pi) % (2 * np.pi) - np.pi)]


def _left(heading: float) -> Array:
    return np.array([-np.sin(heading), np.cos(heading)])


def _parts(area: Polygon | MultiPolygon) -> list[Polygon]:
    return list(area.geoms) if isinstance(area, MultiPolygon) else [area]
