"""A nuScenes data set of tables alone: no images to render, so it takes milliseconds, and every difficulty on purpose.

Ego poses and LiDAR are tilted, objects move and appear late, some boxes have no points, velocities are missing, a bike
stands in a bike rack, attributes are absent. The map has overlapping lanes, a hole, a broken polygon, crossings that
touch, lines that leave the patch and come back.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Row = dict[str, Any]

VERSION = "v1.0-mini"
LOCATION = "singapore-onenorth"
SCENES = {"scene-0103": 5, "scene-0916": 4}
CATEGORIES = {
    "movable_object.barrier": "",
    "vehicle.bicycle": "cycle.without_rider",
    "vehicle.bus.rigid": "vehicle.stopped",
    "vehicle.car": "vehicle.moving",
    "vehicle.construction": "vehicle.parked",
    "vehicle.motorcycle": "cycle.with_rider",
    "human.pedestrian.adult": "pedestrian.moving",
    "movable_object.trafficcone": "",
    "vehicle.trailer": "vehicle.parked",
    "vehicle.truck": "vehicle.moving",
    "static_object.bicycle_rack": "",
    "animal": "",
}
LAYERS = [
    "polygon",
    "line",
    "node",
    "drivable_area",
    "road_segment",
    "road_block",
    "lane",
    "ped_crossing",
    "walkway",
    "stop_line",
    "carpark_area",
    "road_divider",
    "lane_divider",
    "traffic_light",
    "lane_connector",
]


def write_tables(root: Path, *, seed: int = 0, objects: int = 24) -> Path:
    """Write the tables of two scenes below `root`; returns `root`."""
    rng = np.random.default_rng(seed)
    tables: dict[str, list[Row]] = {name: [] for name in ("instance", "sample", "sample_data", "sample_annotation")}
    tables |= {"ego_pose": [], "log": [], "scene": [], "map": []}
    tables["category"] = [{"token": f"c-{name}", "name": name, "description": ""} for name in CATEGORIES]
    attributes = sorted({name for name in CATEGORIES.values() if name})
    tables["attribute"] = [{"token": f"a-{name}", "name": name, "description": ""} for name in attributes]
    tables["visibility"] = [{"token": str(level), "level": f"v{level}", "description": ""} for level in range(1, 5)]
    tables["sensor"] = [{"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"}]
    tables["calibrated_sensor"] = [
        {
            "token": "calibrated-lidar",
            "sensor_token": "lidar",
            "translation": [0.94, 0.0, 1.84],
            "rotation": _quaternion(-math.pi / 2 + 0.01, 0.004, -0.006),
            "camera_intrinsic": [],
        }
    ]
    for name, count in SCENES.items():
        _add_scene(tables, name, count, objects, rng)
    folder = root / VERSION
    folder.mkdir(parents=True)
    for table, rows in tables.items():
        (folder / f"{table}.json").write_text(json.dumps(rows))
    (root / "maps" / "expansion").mkdir(parents=True)
    Image.new("L", (1, 1)).save(root / "maps" / "mask.png")
    return root


def write_map(root: Path, *, seed: int = 0) -> Path:
    """Write a map expansion around the scenes of `write_tables`; returns its file."""
    rng = np.random.default_rng(seed)
    content: Row = {layer: [] for layer in LAYERS}
    content |= {"version": "1.3", "canvas_edge": [3000.0, 3000.0], "arcline_path_3": {}, "connectivity": {}}
    for number, _ in enumerate(SCENES):
        _add_streets(content, _origin(number), rng)
    path = root / "maps" / "expansion" / f"{LOCATION}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def _origin(number: int) -> tuple[float, float, float]:
    """Where a scene begins: x, y [m] and heading [rad] in the global frame."""
    return (600.0 + 700.0 * number, 1600.0 - 500.0 * number, 0.4 + 1.9 * number)


def _add_scene(tables: dict[str, list[Row]], name: str, count: int, objects: int, rng: np.random.Generator) -> None:
    number = len(tables["scene"])
    x, y, heading = _origin(number)
    tokens = [f"{name}-sample-{index}" for index in range(count)]
    times = [1_500_000_000_000_000 + number * 10**9 + 500_000 * index for index in range(count)]
    tables["log"].append(
        {"token": f"log-{name}", "logfile": "", "vehicle": "n015", "date_captured": "", "location": LOCATION}
    )
    tables["map"].append(
        {
            "token": f"map-{name}",
            "category": "semantic_prior",
            "filename": "maps/mask.png",
            "log_tokens": [f"log-{name}"],
        }
    )
    scene = {"token": f"s-{name}", "name": name, "description": "", "log_token": f"log-{name}", "nbr_samples": count}
    tables["scene"].append({**scene, "first_sample_token": tokens[0], "last_sample_token": tokens[-1]})
    for index, (token, time) in enumerate(zip(tokens, times, strict=True)):
        neighbours = {"prev": tokens[index - 1] if index else "", "next": [*tokens, ""][index + 1]}
        tables["sample"].append({"token": token, "timestamp": time, "scene_token": scene["token"], **neighbours})
        forward = 4.0 * index
        position = [x + forward * math.cos(heading), y + forward * math.sin(heading), 0.0]
        rotation = _quaternion(heading + 0.02 * index, *rng.normal(0, 0.01, 2))
        tables["ego_pose"].append(
            {"token": f"pose-{token}", "timestamp": time, "translation": position, "rotation": rotation}
        )
        tables["sample_data"].append(_sweep(token, time))
    for index in range(objects):
        _add_object(tables, f"{name}-{index}", list(zip(tokens, times, strict=True)), (x, y), index, rng)


def _sweep(token: str, time: int) -> Row:
    row: Row = {"token": f"data-{token}", "sample_token": token, "ego_pose_token": f"pose-{token}", "timestamp": time}
    row |= {"calibrated_sensor_token": "calibrated-lidar", "fileformat": "pcd", "is_key_frame": True}
    return row | {"height": 0, "width": 0, "filename": f"samples/{token}.pcd.bin", "prev": "", "next": ""}


def _add_object(
    tables: dict[str, list[Row]],
    name: str,
    samples: list[tuple[str, int]],
    center: tuple[float, float],
    index: int,
    rng: np.random.Generator,
) -> None:
    category = list(CATEGORIES)[index % len(CATEGORIES)]
    size = rng.uniform((0.5, 0.6, 0.8), (2.5, 6.0, 3.0)).tolist()
    start = np.array([*center, 0.0]) + rng.uniform((-35, -35, 0), (45, 35, 1.5))
    if category == "vehicle.bicycle" and index >= len(CATEGORIES):  # into the rack of this scene
        start = np.array([center[0] + 5.0, center[1] + 5.0, 0.5])
    if category == "static_object.bicycle_rack":
        start, size = np.array([center[0] + 5.0, center[1] + 5.0, 0.5]), [4.0, 6.0, 3.0]
    speed = rng.normal(0, 2.0, 3) * (1, 1, 0.02)
    yaw = rng.uniform(-math.pi, math.pi)
    seen = samples[int(rng.integers(0, len(samples))) if index % 5 == 0 else 0 :]
    tokens = [f"ann-{name}-{token}" for token, _ in seen]
    for step, (token, time) in enumerate(seen):
        attribute = CATEGORIES[category]
        tables["sample_annotation"].append(
            {
                "token": tokens[step],
                "sample_token": token,
                "instance_token": f"i-{name}",
                "visibility_token": str(int(rng.integers(1, 5))),
                "attribute_tokens": [f"a-{attribute}"] if attribute and index % 7 else [],
                "translation": (start + speed * (time - seen[0][1]) * 1e-6).tolist(),
                "size": size,
                "rotation": _quaternion(yaw + 0.05 * step, 0.0, 0.0),
                "prev": tokens[step - 1] if step else "",
                "next": [*tokens, ""][step + 1],
                "num_lidar_pts": int(rng.integers(0, 4)) * 3,
                "num_radar_pts": int(rng.integers(0, 2)),
            }
        )
    instance = {"token": f"i-{name}", "category_token": f"c-{category}", "nbr_annotations": len(seen)}
    tables["instance"].append({**instance, "first_annotation_token": tokens[0], "last_annotation_token": tokens[-1]})


def _add_streets(content: Row, origin: tuple[float, float, float], rng: np.random.Generator) -> None:
    """Along a road: four lanes on road segments, an island, side streets, crossings and dividers."""

    def place(points: np.ndarray[Any, Any] | list[Any]) -> np.ndarray[Any, Any]:
        x, y, heading = origin
        turn = np.array([[math.cos(heading), -math.sin(heading)], [math.sin(heading), math.cos(heading)]])
        placed: np.ndarray[Any, Any] = np.asarray(points, dtype=float) @ turn.T + (x, y)
        return placed

    def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray[Any, Any]:
        return place([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])

    island = place([[4, -0.8], [4, 0.9], [11, 0.7], [11, -0.6]])
    _add_area(content, "road_segment", place([[-30, -7.5], [60, -8], [60, 7.2], [-30, 7]]), holes=[island])
    _add_area(content, "road_segment", rectangle(18, 5, 27, 60))
    _add_area(content, "road_segment", rectangle(-80, 12.5, -10, 20))
    _add_area(content, "road_segment", place([[0, 0], [3, 3], [3, 0], [0, 3]]))  # a bow tie: not valid
    for row in range(4):
        bend = rng.uniform(-0.4, 0.4)
        _add_area(content, "lane", rectangle(-25, -7 + 3.5 * row, 55, -3.5 + 3.5 * row + bend))
    _add_area(content, "ped_crossing", rectangle(14, -7, 17, 0))
    _add_area(content, "ped_crossing", rectangle(14, 0, 17, 7))  # shares an edge with the one before
    _add_area(content, "ped_crossing", rectangle(28, -9, 31, 9))
    waves = np.stack([np.linspace(-60, 90, 40), 12.0 + 4.0 * np.sin(np.linspace(0, 9, 40))], axis=1)
    _add_line(content, "road_divider", place(waves))
    for offset in (-3.5, 0.0, 3.5):
        xs = np.linspace(-40, 70, 12)
        wobble = np.stack([xs, offset + rng.normal(0, 0.1, 12)], axis=1)
        _add_line(content, "road_divider" if offset == 0.0 else "lane_divider", place(wobble))
    _add_line(content, "lane_divider", np.zeros((0, 2)))


def _add_nodes(content: Row, points: np.ndarray[Any, Any]) -> list[str]:
    tokens = [f"node-{len(content['node']) + index}" for index in range(len(points))]
    content["node"] += [
        {"token": token, "x": float(x), "y": float(y)} for token, (x, y) in zip(tokens, points, strict=True)
    ]
    return tokens


def _add_area(
    content: Row, layer: str, points: np.ndarray[Any, Any], *, holes: list[np.ndarray[Any, Any]] | None = None
) -> None:
    token = f"polygon-{len(content['polygon'])}"
    rings = [{"node_tokens": _add_nodes(content, hole)} for hole in holes or []]
    content["polygon"].append(
        {"token": token, "exterior_node_tokens": _add_nodes(content, points), "holes": [*rings, {"node_tokens": []}]}
    )
    record: Row = {"token": f"{layer}-{token}", "polygon_token": token}
    if layer == "lane":
        record |= {"left_lane_divider_segments": [], "right_lane_divider_segments": []}
    content[layer].append(record)


def _add_line(content: Row, layer: str, points: np.ndarray[Any, Any]) -> None:
    token = f"line-{len(content['line'])}"
    content["line"].append({"token": token, "node_tokens": _add_nodes(content, points)})
    content[layer].append({"token": f"{layer}-{token}", "line_token": token})


def _quaternion(yaw: float, pitch: float, roll: float) -> list[float]:
    """w x y z of the rotation Rz(yaw) · Ry(pitch) · Rx(roll)."""
    cy, sy, cp, sp = math.cos(yaw / 2), math.sin(yaw / 2), math.cos(pitch / 2), math.sin(pitch / 2)
    cr, sr = math.cos(roll / 2), math.sin(roll / 2)
    return [
        cy * cp * cr + sy * sp * sr,
        cy * cp * sr - sy * sp * cr,
        cy * sp * cr + sy * cp * sr,
        sy * cp * cr - cy * sp * sr,
    ]
