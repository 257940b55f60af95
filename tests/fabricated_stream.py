"""Cameras and LiDAR sweeps between the key frames of fabricated tables: six pictures an interval and ten sweeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from admlops.worker.samples.nuscenes import CAMERAS

PICTURES, SWEEPS = 6, 10
INTERVAL_US = 500_000
Row = dict[str, Any]


def add_stream(root: Path, version: str, *, short: dict[str, int] | None = None) -> None:
    """Add the rows to the tables of `root`.

    Args:
        short: by the token of a key frame, how many of its cameras have only four pictures in its interval and end.
    """
    folder = root / version
    tables = {name: json.loads((folder / f"{name}.json").read_text()) for name in TABLES}
    poses = {row["token"]: row for row in tables["ego_pose"]}
    samples = tables["sample"]
    tables["sensor"] += [{"token": name, "channel": name, "modality": "camera"} for name in CAMERAS]
    tables["calibrated_sensor"] += [_calibrated(name) for name in CAMERAS]
    after = {row["token"]: row["next"] for row in samples}
    data: list[Row] = []
    for sample in samples:
        pose = np.array(poses[f"pose-{sample['token']}"]["translation"])
        following = after[sample["token"]]
        step = np.array(poses[f"pose-{following}"]["translation"]) - pose if following else np.zeros(3)
        turn = poses[f"pose-{sample['token']}"]["rotation"]
        lacking = (short or {}).get(sample["token"], 0)
        for number, channel in enumerate((*CAMERAS, "LIDAR_TOP")):
            parts = SWEEPS if channel == "LIDAR_TOP" else PICTURES
            ends = channel != "LIDAR_TOP" and number >= len(CAMERAS) - lacking
            own = 4 if ends else parts
            for part in range(own if following else 1):
                name = f"{channel}-{sample['token']}-{part}"
                token = f"pose-{name}"
                place = (pose + step * part / parts).tolist()
                time = sample["timestamp"] + INTERVAL_US * part // parts
                tables["ego_pose"].append({"token": token, "timestamp": time, "translation": place, "rotation": turn})
                last = part == own - 1
                through = f"{channel}-{following}-0" if following and not ends else ""
                data.append(
                    {
                        "token": name,
                        "sample_token": sample["token"],
                        "ego_pose_token": token,
                        "calibrated_sensor_token": "calibrated-lidar" if channel == "LIDAR_TOP" else channel,
                        "timestamp": time,
                        "is_key_frame": part == 0,
                        "filename": f"{name}.bin",
                        "width": 160,
                        "height": 90,
                        "prev": "",
                        "next": through if last else f"{channel}-{sample['token']}-{part + 1}",
                    }
                )
    tables["sample_data"] = data
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))


TABLES = ("sample", "sample_data", "ego_pose", "sensor", "calibrated_sensor")


def _calibrated(name: str) -> Row:
    mounted = {"translation": [1.0, 0.0, 1.5], "rotation": [0.5, -0.5, 0.5, -0.5]}
    return {"token": name, "sensor_token": name, **mounted, "camera_intrinsic": [[100, 0, 80], [0, 100, 45], [0, 0, 1]]}
