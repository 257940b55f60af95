"""How fast a worker gets its first sample: the sample index beside nuscenes-devkit's constructor.

    .venv/bin/python benchmarks/sample_index.py [--scenes 850] [--folder DIR] [--json]

Tables of trainval's size are synthesised into DIR (about 2 GB; a temporary folder unless named, which is kept): 850
scenes, 34,000 samples, 2.6 million sample_data and ego_pose rows, 1.17 million annotations. Then, each in a process of
its own: opening the index and reading one sample, and the devkit's `NuScenes(...)` and the same sample. Printed: wall
time (the median of five for ours), the memory that the process holds, and the ratio. The devkit runs in its own
environment.

On two cores of an Intel Xeon, 34,000 samples, 2,584,000 sample_data and ego_pose rows, 1,156,000 annotations: building
the index 39.5 s, 180 MB on disk; opening it and reading a sample 5 ms and 13 MB, with other processes on both cores 41
to 94 ms; the devkit 55.8 s and 7.6 GB, 10,400 times as long. The bars: under 50 ms and 200 MB, a hundred times as fast.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from admlops.core.paths import find_layout
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.environments import ensure_official
from admlops.worker.samples.nuscenes import CAMERAS, LIDAR

VERSION = "v1.0-trainval"
RADARS = tuple(f"RADAR_{place}" for place in ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "BACK_LEFT", "BACK_RIGHT"))
FRAMES_PER_SAMPLE = {LIDAR: 10, **dict.fromkeys(CAMERAS, 6), **dict.fromkeys(RADARS, 6)}
SAMPLES_PER_SCENE = 40
ANNOTATIONS_PER_SAMPLE = 34
PROBE = """
import json, sys, time
def held():
    with open("/proc/self/status") as status:  # not getrusage: its peak counts what was there before exec
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) * 1024 / 1e6
begun = time.perf_counter()
{body}
print(json.dumps({{"seconds": time.perf_counter() - begun, "resident_mb": held()}}))
"""
OURS = """
sys.path.insert(0, sys.argv[3])
from worker.samples.sample_index import SampleIndex
kept = SampleIndex(sys.argv[1], "v1.0-trainval")
kept.sample(sys.argv[2])
"""
DEVKIT = """
from nuscenes.nuscenes import NuScenes
kept = NuScenes("v1.0-trainval", sys.argv[1], verbose=False)
kept.get("sample", sys.argv[2])
"""


def token(*parts: object) -> str:
    return random.Random("/".join(map(str, parts))).randbytes(16).hex()


def write_rows(folder: Path, name: str, rows: Iterable[dict[str, Any]]) -> int:
    """Write a table row by row; returns how many there were."""
    count = 0
    with (folder / f"{name}.json").open("w") as file:
        file.write("[")
        for row in rows:
            file.write(("," if count else "") + "\n" + json.dumps(row))
            count += 1
        file.write("\n]")
    return count


def frames(scenes: int) -> Iterator[dict[str, Any]]:
    """sample_data rows, a sensor of a scene at a time."""
    for scene in range(scenes):
        for channel, rate in FRAMES_PER_SAMPLE.items():
            total = rate * SAMPLES_PER_SCENE
            tokens = [f"{scene:08x}{list(FRAMES_PER_SAMPLE).index(channel):08x}{i:016x}" for i in range(total)]
            for i, own in enumerate(tokens):
                is_key = i % rate == 0
                yield {
                    "token": own,
                    "sample_token": sample_token(scene, min(-(-i // rate), SAMPLES_PER_SCENE - 1)),
                    "ego_pose_token": own,
                    "calibrated_sensor_token": token("calibrated", scene, channel),
                    "timestamp": 1_532_402_927_000_000 + scene * 30_000_000 + i * 500_000 // rate,
                    "fileformat": "pcd" if channel == LIDAR else "jpg",
                    "is_key_frame": is_key,
                    "height": 900 if channel in CAMERAS else 0,
                    "width": 1600 if channel in CAMERAS else 0,
                    "filename": f"{'samples' if is_key else 'sweeps'}/{channel}/n015-2018-07-24-{own}.jpg",
                    "prev": tokens[i - 1] if i else "",
                    "next": tokens[i + 1] if i + 1 < total else "",
                }


def poses(scenes: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(1)
    for row in frames(scenes):
        yield {
            "token": row["ego_pose_token"],
            "timestamp": row["timestamp"],
            "rotation": [chance.uniform(-1, 1) for _ in range(4)],
            "translation": [chance.uniform(0, 2000), chance.uniform(0, 2000), 0.0],
        }


def sample_token(scene: int, number: int) -> str:
    return f"{scene:016x}{number:016x}"


def samples(scenes: int) -> Iterator[dict[str, Any]]:
    for scene in range(scenes):
        for i in range(SAMPLES_PER_SCENE):
            yield {
                "token": sample_token(scene, i),
                "timestamp": 1_532_402_927_000_000 + scene * 30_000_000 + i * 500_000,
                "prev": sample_token(scene, i - 1) if i else "",
                "next": sample_token(scene, i + 1) if i + 1 < SAMPLES_PER_SCENE else "",
                "scene_token": token("scene", scene),
            }


def boxes(scenes: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(2)
    for row in samples(scenes):
        for i in range(ANNOTATIONS_PER_SAMPLE):
            yield {
                "token": f"{row['token'][:28]}{i:04x}",
                "sample_token": row["token"],
                "instance_token": token("instance", 0),
                "visibility_token": "4",
                "attribute_tokens": [],
                "translation": [chance.uniform(0, 2000) for _ in range(3)],
                "size": [1.9, 4.6, 1.7],
                "rotation": [1.0, 0.0, 0.0, 0.0],
                "prev": "",
                "next": "",
                "num_lidar_pts": 5,
                "num_radar_pts": 1,
            }


def write_tables(root: Path, scenes: int) -> dict[str, int]:
    """All tables that the devkit reads; returns the rows of the large ones."""
    folder = root / VERSION
    folder.mkdir(parents=True)
    (root / "maps").mkdir()
    (root / "maps" / "map.png").touch()  # the devkit looks whether it is there, and reads it later
    log, zeros = token("log"), {"translation": [1.0, 0.0, 1.5], "rotation": [1.0, 0.0, 0.0, 0.0]}
    small: dict[str, list[dict[str, Any]]] = {
        "category": [{"token": token("category"), "name": "vehicle.car", "description": ""}],
        "attribute": [],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "instance": [{"token": token("instance", 0), "category_token": token("category")}],
        "sensor": [{"token": token("sensor", name), "channel": name, "modality": "x"} for name in FRAMES_PER_SAMPLE],
        "log": [{"token": log, "location": "singapore-onenorth", "vehicle": "", "date_captured": "", "logfile": ""}],
        "map": [{"token": token("map"), "log_tokens": [log], "filename": "maps/map.png", "category": "semantic_prior"}],
        "calibrated_sensor": [
            {
                "token": token("calibrated", scene, name),
                "sensor_token": token("sensor", name),
                "camera_intrinsic": [[1266.0, 0.0, 800.0], [0.0, 1266.0, 450.0], [0.0, 0.0, 1.0]],
                **zeros,
            }
            for scene in range(scenes)
            for name in FRAMES_PER_SAMPLE
        ],
        "scene": [
            {
                "token": token("scene", scene),
                "name": f"scene-{scene:04d}",
                "description": "",
                "log_token": log,
                "nbr_samples": SAMPLES_PER_SCENE,
                "first_sample_token": sample_token(scene, 0),
                "last_sample_token": sample_token(scene, SAMPLES_PER_SCENE - 1),
            }
            for scene in range(scenes)
        ],
    }
    for name, rows in small.items():
        write_rows(folder, name, iter(rows))
    return {
        "sample": write_rows(folder, "sample", samples(scenes)),
        "sample_data": write_rows(folder, "sample_data", frames(scenes)),
        "ego_pose": write_rows(folder, "ego_pose", poses(scenes)),
        "sample_annotation": write_rows(folder, "sample_annotation", boxes(scenes)),
    }


def probe(python: Path | str, body: str, root: Path, wanted: str) -> dict[str, float]:
    """Seconds of a fresh process that gets one sample, and the memory it holds then."""
    layout = find_layout()
    command = [python, "-c", PROBE.format(body=body), root, wanted, layout.worker.parent]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(shown.stdout)
    return result


def measure(root: Path, scenes: int) -> dict[str, Any]:
    rows = {} if (root / VERSION).is_dir() else write_tables(root, scenes)
    begun = time.perf_counter()
    built = build_index(root, VERSION, say=lambda line: print(line, file=sys.stderr))
    build_s = time.perf_counter() - begun
    wanted = sample_token(scenes // 2, 7)
    official = ensure_official(find_layout(), "nuscenes", say=lambda line: print(line, file=sys.stderr))
    probe(sys.executable, OURS, root, wanted)  # warms the disk
    tries = sorted((probe(sys.executable, OURS, root, wanted) for _ in range(5)), key=lambda one: one["seconds"])
    ours = tries[2]
    devkit = probe(official.python, DEVKIT, root, wanted)
    return {
        "rows": rows,
        "index_mb": built.size_bytes / 1e6,
        "build_s": build_s,
        "ours": ours,
        "devkit": devkit,
        "ratio": devkit["seconds"] / ours["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=850)
    parser.add_argument("--folder", type=Path, help="where the tables are, or go")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = measure(options.folder or Path(temporary), options.scenes)
    if options.json:
        print(json.dumps(result))
        return
    print(", ".join(f"{count} {name}" for name, count in result["rows"].items()))
    print(f"building the index       {result['build_s']:8.2f} s   {result['index_mb']:6.0f} MB")
    for name, side in (("index: open, one sample", result["ours"]), ("devkit: open, one sample", result["devkit"])):
        print(f"{name:<24} {side['seconds']:8.3f} s   {side['resident_mb']:6.0f} MB")
    print(f"ratio                    {result['ratio']:8.0f} x")


if __name__ == "__main__":
    main()
