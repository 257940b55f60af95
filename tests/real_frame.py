"""A nuScenes root with one real key frame, made from the frame beside the checkout where there is one.

The frame is real nuScenes data, non-commercial: it is linked from where it lies, never copied into the project.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from admlops.paths import find_layout

FRAME = find_layout().root.parent / "shared" / "data" / "nuscenes-frame"
SCENE = "scene-0061"
LOCATION = "singapore-onenorth"


def make_real_root(target: Path) -> Path:
    """Write tables for the one frame under `target` and link its files; skips the test where the frame is not there."""
    if not (FRAME / "frame.json").is_file():
        pytest.skip(f"needs one real nuScenes key frame in {FRAME}")
    content = json.loads((FRAME / "frame.json").read_text())
    frame = content["frame"]
    rows = _rows(frame)
    tables = target / "v1.0-mini"
    tables.mkdir(parents=True)
    for name, table in rows.items():
        (tables / f"{name}.json").write_text(json.dumps(table))
    for row in rows["sample_data"]:
        link = target / row["filename"]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(FRAME / Path(row["filename"]).name)
    return target


def sample_token() -> str:
    """The real frame's sample token."""
    token: str = json.loads((FRAME / "frame.json").read_text())["frame"]["token"]
    return token


def _rows(frame: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    token = frame["token"]
    scene = {"token": "scene", "name": SCENE, "log_token": "log", "nbr_samples": 1, "description": "one real frame"}
    scene |= {"first_sample_token": token, "last_sample_token": token}
    rows: dict[str, list[dict[str, Any]]] = {
        "scene": [scene],
        "log": [
            {"token": "log", "location": LOCATION, "logfile": "", "vehicle": "n015", "date_captured": "2018-07-24"}
        ],
        "sample": [
            {
                "token": token,
                "scene_token": "scene",
                "timestamp": round(frame["timestamp"] * 1e6),
                "prev": "",
                "next": "",
            }
        ],
        "sensor": [],
        "calibrated_sensor": [],
        "ego_pose": [],
        "sample_data": [],
    }
    _add(
        rows,
        token,
        "LIDAR_TOP",
        "lidar",
        frame["lidar_points"]["lidar_path"],
        frame["timestamp"],
        frame["lidar_points"]["lidar2ego"],
        frame["ego2global"],
        [],
    )
    for channel, image in frame["images"].items():
        _add(
            rows,
            token,
            channel,
            "camera",
            image["img_path"],
            image["timestamp"],
            image["cam2ego"],
            frame["ego2global"],
            image["cam2img"],
        )
    return rows


def _add(
    rows: dict[str, list[dict[str, Any]]],
    sample: str,
    channel: str,
    modality: str,
    file: str,
    timestamp_s: float,
    sensor2ego: list[list[float]],
    ego2global: list[list[float]],
    intrinsic: list[list[float]],
) -> None:
    calibration, pose, data = f"calibration-{channel}", f"pose-{channel}", f"data-{channel}"
    timestamp = round(timestamp_s * 1e6)
    rows["sensor"].append({"token": channel, "channel": channel, "modality": modality})
    rows["calibrated_sensor"].append(
        {"token": calibration, "sensor_token": channel, "camera_intrinsic": intrinsic, **_pose(sensor2ego)}
    )
    rows["ego_pose"].append({"token": pose, "timestamp": timestamp, **_pose(ego2global)})
    image = modality == "camera"
    rows["sample_data"].append(
        {
            "token": data,
            "sample_token": sample,
            "ego_pose_token": pose,
            "calibrated_sensor_token": calibration,
            "filename": f"samples/{channel}/{file}",
            "fileformat": "jpg" if image else "pcd",
            "is_key_frame": True,
            "width": 1600 if image else 0,
            "height": 900 if image else 0,
            "timestamp": timestamp,
            "prev": "",
            "next": "",
        }
    )


def _pose(matrix: list[list[float]]) -> dict[str, list[float]]:
    m = np.asarray(matrix)
    w = math.sqrt(max(0.0, 1 + m[0, 0] + m[1, 1] + m[2, 2])) / 2
    if w > 1e-3:
        x, y, z = (m[2, 1] - m[1, 2]) / (4 * w), (m[0, 2] - m[2, 0]) / (4 * w), (m[1, 0] - m[0, 1]) / (4 * w)
    else:  # a half turn: the axis is the eigenvector of 1
        values, vectors = np.linalg.eig(m[:3, :3])
        x, y, z = np.real(vectors[:, np.argmin(np.abs(values - 1))])
        w = 0.0
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    rotation = [float(w / norm), float(x / norm), float(y / norm), float(z / norm)]
    return {"translation": [float(value) for value in m[:3, 3]], "rotation": rotation}
