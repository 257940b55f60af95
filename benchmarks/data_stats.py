"""What `admlops data stats` and `data tag` cost on tables of trainval's size: seconds, and the most memory held.

    .venv/bin/python benchmarks/data_stats.py [--scenes 850] [--folder DIR] [--json]

Tables are synthesised into DIR (about 2.2 GB; a temporary folder unless named, which is kept): 850 scenes, 34,000
samples, 2.6 million sample_data and ego_pose rows, 930,000 annotations of 59,500 objects, four maps. Then each
command runs in a process of its own, with a cold interpreter and warm files. The bars of `data stats`: 60 s, 2 GB.

On two quiet cores of an AMD EPYC: `data stats` 15.9 s on the clock, 16.4 s of processors, 869 MB; on two of an Intel
Xeon with a load of 14, 59.7 s on the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sample_index import write_rows  # a file beside this one

Row = dict[str, Any]

VERSION = "v1.0-trainval"
CAMERAS = ("FRONT", "FRONT_RIGHT", "FRONT_LEFT", "BACK", "BACK_LEFT", "BACK_RIGHT")
RADARS = ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "BACK_LEFT", "BACK_RIGHT")
FRAMES = {"LIDAR_TOP": 10, **{f"CAM_{one}": 6 for one in CAMERAS}, **{f"RADAR_{one}": 6 for one in RADARS}}
"""Frames of each sensor from one sample to the next."""
SAMPLES = 40
OBJECTS = 70
"""Objects of a scene; each is seen for about half of it."""
PLACES = ("singapore-onenorth", "singapore-hollandvillage", "singapore-queenstown", "boston-seaport")
CATEGORIES = (
    *("vehicle.car", "human.pedestrian.adult", "movable_object.barrier", "movable_object.trafficcone"),
    *("vehicle.truck", "vehicle.bus.rigid", "vehicle.trailer", "vehicle.construction", "vehicle.motorcycle"),
    *("vehicle.bicycle", "animal"),
)
SHARES = (43, 20, 13, 8, 7, 2, 2, 1, 1, 1, 1)
DESCRIPTIONS = ("Parked cars, turn left", "Night, pedestrians", "Rain, construction", "Intersection, wait at light", "")
STREETS = 24
"""A map is a grid of so many streets each way, 80 m apart."""
PROBE = """
import sys, time
from admlops.cli.main import cli
try:
    cli(sys.argv[1:], standalone_mode=False)
finally:
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM")).split()[1]
    print(time.process_time(), int(peak) * 1024 / 1e6, file=sys.stderr)
"""


def scene_name(scene: int) -> str:
    return f"scene-{scene + 1:04d}"


def time_of(scene: int, seconds: float) -> int:
    return 1_532_402_927_000_000 + scene * 30_000_000 + round(seconds * 1e6)


def pose_of(scene: int, seconds: float) -> tuple[float, float, float]:
    """x, y [m] and yaw [rad]: every eighth vehicle stands, the others drive bends through the grid of streets."""
    chance = random.Random(scene)
    x, y, heading = chance.uniform(200, 1700), chance.uniform(200, 1700), chance.uniform(-math.pi, math.pi)
    speed, rate = (0.0 if scene % 8 == 0 else chance.uniform(2, 14)), chance.uniform(-0.12, 0.12)
    yaw = heading + rate * seconds
    radius = speed / rate
    return (
        x + radius * (math.sin(yaw) - math.sin(heading)),
        y - radius * (math.cos(yaw) - math.cos(heading)),
        yaw,
    )


def frames(scenes: int) -> Iterator[tuple[int, str, int, int, float]]:
    """Scene, sensor, its number, the frame's number and its time in the scene [s]."""
    for scene in range(scenes):
        for number, (channel, rate) in enumerate(FRAMES.items()):
            for frame in range(rate * SAMPLES):
                yield scene, channel, number, frame, 0.5 * frame / rate


def frame_token(scene: int, number: int, frame: int) -> str:
    return f"{scene:08x}{number:08x}{frame:016x}"


def sample_token(scene: int, number: int) -> str:
    return f"{scene:016x}{number:016x}"


def sample_data(scenes: int) -> Iterator[Row]:
    for scene, channel, number, frame, seconds in frames(scenes):
        rate, token = FRAMES[channel], frame_token(scene, number, frame)
        is_camera, is_key = channel.startswith("CAM"), frame % rate == 0
        yield {
            "token": token,
            "sample_token": sample_token(scene, min(-(-frame // rate), SAMPLES - 1)),
            "ego_pose_token": token,
            "calibrated_sensor_token": f"calibrated-{scene}-{channel}",
            "timestamp": time_of(scene, seconds),
            "fileformat": "jpg" if is_camera else "pcd",
            "is_key_frame": is_key,
            "height": 900 if is_camera else 0,
            "width": 1600 if is_camera else 0,
            "filename": f"{'samples' if is_key else 'sweeps'}/{channel}/n015-2018-07-24-11-22-45+0800__{token}.jpg",
            "prev": frame_token(scene, number, frame - 1) if frame else "",
            "next": frame_token(scene, number, frame + 1) if frame + 1 < rate * SAMPLES else "",
        }


def ego_pose(scenes: int) -> Iterator[Row]:
    for scene, _, number, frame, seconds in frames(scenes):
        x, y, yaw = pose_of(scene, seconds)
        yield {
            "token": frame_token(scene, number, frame),
            "timestamp": time_of(scene, seconds),
            "rotation": [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)],
            "translation": [x, y, 0.0],
        }


def boxes(scenes: int) -> Iterator[Row]:
    for scene in range(scenes):
        chance = random.Random(scene + 10**6)
        poses = [pose_of(scene, 0.5 * number) for number in range(SAMPLES)]
        for number in range(OBJECTS):
            first = chance.randrange(SAMPLES // 2)
            last = min(SAMPLES - 1, first + 1 + int(chance.expovariate(1 / 18)))
            away, side = chance.expovariate(1 / 28), chance.uniform(-math.pi, math.pi)
            x, y, _ = poses[(first + last) // 2]
            x, y = x + away * math.cos(side), y + away * math.sin(side)
            step = chance.choice((0.0, 0.0, 0.5, 3.0))
            for place in range(first, last + 1):
                yield {
                    "token": f"{scene:08x}{number:08x}{place:016x}",
                    "sample_token": sample_token(scene, place),
                    "instance_token": f"instance-{scene}-{number}",
                    "visibility_token": str(chance.randint(1, 4)),
                    "attribute_tokens": [],
                    "translation": [x + step * (place - first), y, 0.8],
                    "size": [1.9, 4.6, 1.7],
                    "rotation": [1.0, 0.0, 0.0, 0.0],
                    "prev": f"{scene:08x}{number:08x}{place - 1:016x}" if place > first else "",
                    "next": f"{scene:08x}{number:08x}{place + 1:016x}" if place < last else "",
                    "num_lidar_pts": chance.randrange(0, 30),
                    "num_radar_pts": chance.randrange(0, 3),
                }


def instances(scenes: int) -> Iterator[Row]:
    chance = random.Random(7)
    for scene in range(scenes):
        for number in range(OBJECTS):
            (category,) = chance.choices(CATEGORIES, SHARES)
            yield {"token": f"instance-{scene}-{number}", "category_token": category}


def samples(scenes: int) -> Iterator[Row]:
    for scene in range(scenes):
        for number in range(SAMPLES):
            yield {
                "token": sample_token(scene, number),
                "timestamp": time_of(scene, 0.5 * number),
                "prev": sample_token(scene, number - 1) if number else "",
                "next": sample_token(scene, number + 1) if number + 1 < SAMPLES else "",
                "scene_token": f"s-{scene}",
            }


def write_map(path: Path) -> None:
    """A grid of streets with dividers, crossings, lanes and an intersection at each corner."""
    content: dict[str, Any] = {name: [] for name in ("node", "line", "polygon", "road_segment", "lane")}
    content |= {name: [] for name in ("road_divider", "lane_divider", "ped_crossing", "lane_connector")}
    content |= {"version": "1.3", "arcline_path_3": {}, "connectivity": {}}

    def nodes(points: list[tuple[float, float]]) -> list[str]:
        tokens = [f"n{len(content['node']) + place}" for place in range(len(points))]
        content["node"] += [{"token": token, "x": x, "y": y} for token, (x, y) in zip(tokens, points, strict=True)]
        return tokens

    def area(layer: str, x0: float, y0: float, x1: float, y1: float, **more: Any) -> None:
        token = f"p{len(content['polygon'])}"
        steps = max(1, round(max(x1 - x0, y1 - y0) / 4))
        along = [place / steps for place in range(steps + 1)]
        if x1 - x0 >= y1 - y0:
            ring = [(x0 + t * (x1 - x0), y0) for t in along] + [(x1 - t * (x1 - x0), y1) for t in along]
        else:
            ring = [(x1, y0 + t * (y1 - y0)) for t in along] + [(x0, y1 - t * (y1 - y0)) for t in along]
        content["polygon"].append({"token": token, "exterior_node_tokens": nodes(ring), "holes": []})
        content[layer].append({"token": f"{layer}-{token}", "polygon_token": token, **more})

    def line(layer: str, points: list[tuple[float, float]]) -> None:
        token = f"l{len(content['line'])}"
        content["line"].append({"token": token, "node_tokens": nodes(points)})
        content[layer].append({"token": f"{layer}-{token}", "line_token": token})

    for i in range(STREETS):
        for j in range(STREETS):
            x, y = 80.0 * i, 80.0 * j
            area("road_segment", x - 8, y - 8, x + 8, y + 8, is_intersection=True)
            area("road_segment", x + 8, y - 7, x + 72, y + 7, is_intersection=False)
            area("road_segment", x - 7, y + 8, x + 7, y + 72, is_intersection=False)
            area("ped_crossing", x + 10, y - 7, x + 13, y + 7)
            for lane in range(4):
                area("lane", x + 8, y - 7 + 3.5 * lane, x + 72, y - 3.5 + 3.5 * lane)
                area("lane", x - 7 + 3.5 * lane, y + 8, x - 3.5 + 3.5 * lane, y + 72)
            for offset in (-3.5, 0.0, 3.5):
                layer = "road_divider" if offset == 0 else "lane_divider"
                line(layer, [(x + 8 + 4 * t, y + offset) for t in range(17)])
                line(layer, [(x + offset, y + 8 + 4 * t) for t in range(17)])
    path.write_text(json.dumps(content))


def write_tables(root: Path, scenes: int) -> dict[str, int]:
    """Write all tables and maps; returns the rows of the large ones."""
    folder = root / VERSION
    folder.mkdir(parents=True)
    (root / "maps" / "expansion").mkdir(parents=True)
    for place in PLACES:
        write_map(root / "maps" / "expansion" / f"{place}.json")
    small: dict[str, list[Row]] = {
        "category": [{"token": name, "name": name, "description": ""} for name in CATEGORIES],
        "attribute": [],
        "visibility": [{"token": str(level), "level": f"v{level}", "description": ""} for level in range(1, 5)],
        "sensor": [{"token": name, "channel": name, "modality": "x"} for name in FRAMES],
        "log": [{"token": f"log-{n}", "location": name, "logfile": LOG.format(n + 8)} for n, name in enumerate(PLACES)],
        "map": [],
        "calibrated_sensor": [
            {
                "token": f"calibrated-{scene}-{name}",
                "sensor_token": name,
                "camera_intrinsic": [],
                "translation": [0.9, 0.0, 1.8],
                "rotation": [0.7071067811865476, 0.0, 0.0, -0.7071067811865476],
            }
            for scene in range(scenes)
            for name in FRAMES
        ],
        "scene": [
            {
                "token": f"s-{scene}",
                "name": scene_name(scene),
                "description": DESCRIPTIONS[scene % len(DESCRIPTIONS)],
                "log_token": f"log-{scene % len(PLACES)}",
                "nbr_samples": SAMPLES,
                "first_sample_token": sample_token(scene, 0),
                "last_sample_token": sample_token(scene, SAMPLES - 1),
            }
            for scene in range(scenes)
        ],
    }
    for name, rows in small.items():
        write_rows(folder, name, rows)
    large: dict[str, Callable[[int], Iterator[Row]]] = {
        "sample": samples,
        "instance": instances,
        "sample_annotation": boxes,
        "sample_data": sample_data,
        "ego_pose": ego_pose,
    }
    return {name: write_rows(folder, name, make(scenes)) for name, make in large.items()}


LOG = "n015-2018-07-24-{:02d}-22-45+0800"


def measure(words: list[str]) -> dict[str, Any]:
    """Seconds, processor seconds and peak memory [MB] of one command in a process of its own."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=True)
    cpu_s, peak_mb = map(float, done.stderr.split()[-2:])
    return {"seconds": time.perf_counter() - begun, "cpu_s": cpu_s, "peak_mb": peak_mb}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=850)
    parser.add_argument("--folder", type=Path, help="where the tables are, or go")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (options.folder or Path(temporary)).absolute()
        rows = {} if (root / VERSION).is_dir() else write_tables(root, options.scenes)
        page, place = str(Path(temporary) / "page.html"), str(root)
        commands = {
            "data stats": ["data", "stats", place, "--json"],
            "data stats --html": ["data", "stats", place, "--json", "--html", page],
            "data stats --by class --by distance": ["data", "stats", place, "--by", "class", "--by", "distance"],
            "data stats --where": ["data", "stats", place, "--json", "--where", "tag = 'night' and speed < 5"],
            "data tag": ["data", "tag", place, "--json"],
        }
        found = {name: measure(words) for name, words in commands.items()}
    if options.json:
        print(json.dumps({"rows": rows, "commands": found}))
        return
    print(", ".join(f"{count} {name}" for name, count in rows.items()))
    for name, one in found.items():
        print(f"{name:<38} {one['seconds']:7.1f} s   {one['cpu_s']:6.1f} s of processors   {one['peak_mb']:6.0f} MB")


if __name__ == "__main__":
    main()
