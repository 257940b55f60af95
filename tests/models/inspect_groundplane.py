"""Questions to GroundPlane's own modules, answered as JSON. Runs in the model's environment, not under pytest.

inspect_groundplane.py MODEL_FOLDER QUESTION FOLDER
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [sys.argv[1], str(Path(__file__).resolve().parent)]

import demo  # noqa: E402
import numpy as np  # noqa: E402
import pictures  # noqa: E402
from groundplane import crossings, geometry, lanes, markings, objects, records, road, tracking  # noqa: E402
from groundplane.window import Window, clip_polygon, clip_polyline  # noqa: E402

from worker.adapter import DataError, Settings  # noqa: E402


def round_trip(folder: Path) -> dict[str, float]:
    """The largest way, in metres, from ground points to pixels and back, for every camera."""
    errors = {}
    for name in pictures.CAMERAS:
        camera = geometry.read_camera(name, pictures.camera_entry(name, folder / "x.png"), pictures.POSE)
        ahead = camera.rotation[:2, 2] / np.hypot(*camera.rotation[:2, 2])
        aside = np.array([-ahead[1], ahead[0]])
        places = [camera.position[:2] + d * ahead + s * d * aside for d in (5.0, 12.0, 40.0) for s in (-0.4, 0.0, 0.4)]
        points = np.column_stack([places, np.zeros(len(places))])
        pixels, depth = geometry.project(camera, points)
        back = geometry.ground_points(camera.scaled(400, 225), (pixels + 0.5) / 2 - 0.5)
        errors[name] = float(np.abs(back - points[:, :2]).max()) if depth.min() > 0 else math.inf
    return errors


def moved_ego(folder: Path) -> dict[str, Any]:
    """Where a camera is that fired when the vehicle had gone 2 m on and turned by 90 degrees to the left."""
    entry = pictures.camera_entry("CAM_FRONT", folder / "x.png")
    half = math.sqrt(0.5)
    entry["ego2global"] = {"translation": [2.0, 0.0, 0.0], "rotation_wxyz": [half, 0.0, 0.0, half]}
    camera = geometry.read_camera("CAM_FRONT", entry, pictures.POSE)
    return {"position": camera.position.tolist(), "looks": camera.rotation[:, 2].tolist()}


def clipped(folder: Path) -> dict[str, Any]:
    """Lines and polygons cut to the map's window."""
    window = Window.around(0.0, 0.0)
    line = clip_polyline(np.array([[-50.0, 0.0], [50.0, 0.0], [50.0, 5.0], [-50.0, 5.0]]), window)
    area = clip_polygon(np.array([[25.0, -2.0], [40.0, -2.0], [40.0, 2.0], [25.0, 2.0]]), window)
    outside = clip_polygon(np.array([[31.0, -2.0], [40.0, -2.0], [40.0, 2.0]]), window)
    return {"line": [part.tolist() for part in line], "area": area.tolist(), "outside": outside.tolist()}


def linked(folder: Path) -> dict[str, Any]:
    """Two dashed lines a lane apart: how many lines the strokes make, and the first one's ends."""
    strokes = []
    for y in (0.0, 3.5):
        for start in range(0, 40, 10):
            nodes = np.array([[start, y], [start + 1.5, y], [start + 3.0, y]])
            strokes.append(markings.Stroke(nodes, 0.15, 3.0, 0.0))
    lines = lanes.link(strokes)
    ends = [[line.nodes[0].tolist(), line.nodes[-1].tolist(), line.painted] for line in lines]
    return {"lines": ends, "stripes": len(crossings.find_crossings(strokes))}


def velocity(folder: Path) -> dict[str, Any]:
    """The speed of a car that goes 4 m in half a second while the vehicle goes 3 m, and of one that stands."""
    memory = tracking.Memory()
    reports = []
    for index in range(3):
        ego = {"translation": [3.0 * index, 0.0, 0.0], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}
        cars = [(20.0 + index, 3.5), (12.0 - 3.0 * index, -7.0)]
        found = [
            objects.Hypothesis("car", np.array([x, y, math.pi, 1.9, 4.5, 1.6]), 0.9 - 0.1 * n)
            for n, (x, y) in enumerate(cars)
        ]
        reports = memory.observe(found, ego, 0.5 * index)
    return {"objects": [[item.center, item.velocity, item.yaw] for item in reports]}


def sightings(folder: Path) -> list[dict[str, Any]]:
    """A standing car seen twice at changing distances, then not at all."""
    memory = tracking.Memory()
    reports = []
    for index in range(3):
        ego = {"translation": [3.0 * index, 0.0, 0.0], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}
        box = np.array([24.0 - 3.0 * index, -5.0, 0.0, 1.9, 4.5, 1.6])
        (item,) = memory.observe([objects.Hypothesis("car", box, 0.6)] if index < 2 else [], ego, 0.5 * index)
        spread = memory.tracks[0].estimate.deviation
        reports.append({"center": item.center, "confidence": item.confidence, "spread": spread})
    return reports


def directions(folder: Path) -> dict[str, Any]:
    """Headings on a road that bends to the left along a circle of 60 m, seen for 40 m."""
    angles = np.arange(0.0, 40.0, 2.0) / 60.0
    line = 60.0 * np.column_stack([np.sin(angles), 1.0 - np.cos(angles)])
    roads = road.Directions(0.3, [records.Element("divider", line, 0.9)])
    beyond = angles[-1] + 12.0 / 60.0
    place = 62.0 * np.array([math.sin(beyond), 1.0 - math.cos(beyond)]) + [0.0, -2.0]
    return {
        "beside": roads.at(line[9] + [0.5, -0.5]),
        "true_beside": float(angles[9]),
        "beyond": roads.at(place),
        "true_beyond": beyond,
        "without": road.Directions(0.3, []).at(place),
        "candidates": roads.candidates(place),
    }


def bad_input(folder: Path) -> dict[str, str]:
    """What is said of input that cannot be used, by the name of what is wrong with it."""
    adapter = demo.GroundPlane()
    adapter.load(Settings())
    sample = pictures.plain_street().render(folder)
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    front = sample["cameras"]["CAM_FRONT"]
    wrong: dict[str, dict[str, Any]] = {
        "missing": {"path": str(folder / "nowhere.png")},
        "torn": {"path": str(folder / "torn.png")},
        "zeros": {"intrinsic": [[0.0] * 3] * 3},
        "rotation": {"sensor2ego": {"translation": [0.0] * 3, "rotation_wxyz": [0.0] * 4}},
        "size": {"width": 1600, "height": 900},
    }
    said = {}
    for name, change in wrong.items():
        cameras = dict(sample["cameras"], CAM_FRONT=dict(front, **change))
        said[name] = _complaint(adapter, dict(sample, cameras=cameras))
    bare = {key: front[key] for key in ("path", "timestamp_us", "width", "height")}
    said["uncalibrated"] = _complaint(adapter, dict(sample, cameras={"IMAGE": bare}))
    said["none"] = _complaint(adapter, dict(sample, cameras={}))
    return said


def street(folder: Path) -> dict[str, Any]:
    """What is found in a drawn street with boxes, with all cameras, twice, and with the front camera alone."""
    drawn = pictures.plain_street()
    for box, colour in pictures.BOXES:
        drawn.add_box(box, colour)
    sample = drawn.render(folder)
    front = dict(sample, cameras={"CAM_FRONT": sample["cameras"]["CAM_FRONT"]})
    return {
        "all": _outputs(sample),
        "again": _outputs(sample),
        "front": _outputs(front),
        "drawn": _drawn_boxes(sample["cameras"]["CAM_FRONT"]),
        "alone": _outputs({"sample_token": "picture", "scene": "s", "timestamp_us": 0, "cameras": front["cameras"]}),
    }


def _drawn_boxes(entry: dict[str, Any]) -> list[list[float]]:
    """The outlines x1, y1, x2, y2 [pixels] of the boxes before the front camera, by each corner of theirs."""
    camera = geometry.read_camera("CAM_FRONT", entry, pictures.POSE)
    drawn = []
    for (x, y, yaw, width, length, height), _ in pictures.BOXES:
        corners = [
            [x + a * math.cos(yaw) - b * math.sin(yaw), y + a * math.sin(yaw) + b * math.cos(yaw), c]
            for a in (-length / 2, length / 2)
            for b in (-width / 2, width / 2)
            for c in (0.0, height)
        ]
        pixels, depth = geometry.project(camera, np.array(corners))
        if depth.min() > 0:
            drawn.append([*pixels.min(axis=0).tolist(), *pixels.max(axis=0).tolist()])
    return drawn


def _outputs(sample: dict[str, Any]) -> dict[str, Any]:
    adapter = demo.GroundPlane()
    adapter.load(Settings())
    adapter.start_scene(sample["scene"])
    outputs: dict[str, Any] = adapter.convert(adapter.forward(adapter.prepare(sample)), sample)
    return outputs


def run_sample(folder: Path) -> dict[str, Any]:
    """The outputs for the sample in `folder`/sample.json."""
    return _outputs(json.loads((folder / "sample.json").read_text()))


def _complaint(adapter: Any, sample: dict[str, Any]) -> str:
    try:
        adapter.prepare(sample)
    except DataError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    questions = {
        f.__name__: f
        for f in (
            round_trip,
            moved_ego,
            clipped,
            linked,
            velocity,
            sightings,
            directions,
            bad_input,
            street,
            run_sample,
        )
    }
    print(json.dumps(questions[sys.argv[2]](Path(sys.argv[3]))))
