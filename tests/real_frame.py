"""A data set of one real key frame, made from the frame beside the checkout where there is one.

The frame is real nuScenes data, non-commercial: it is linked from where it lies, never copied into the project.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from admlops.core.paths import find_layout
from admlops.datasets.nuscenes.splits import MINI_VAL
from admlops.synthetic import SynthesisOptions, synthesize
from admlops.worker.mmlab.common.geometry import rotation_matrix

FRAME = find_layout().root.parent / "shared" / "data" / "nuscenes-frame"
SCENE = "scene-0061"
LOCATION = "singapore-onenorth"
LATER_US = 500_000


def make_real_root(target: Path) -> Path:
    """Write tables for the one frame under `target` and link its files; skips the test where the frame is not there."""
    rows = _rows(read_frame())
    tables = target / "v1.0-mini"
    tables.mkdir(parents=True)
    for name, table in rows.items():
        (tables / f"{name}.json").write_text(json.dumps(table))
    for row in rows["sample_data"]:
        link = target / row["filename"]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(FRAME / Path(row["filename"]).name)
    return target


def make_upstream_root(target: Path) -> Path:
    """The same, with what the nuScenes devkit and upstream's converters want besides.

    There are the tables of what nobody annotated here, a drawn mask, the maps of synthetic scenes, an empty CAN bus,
    and the scene has the name of one of mini_val's, the split of every upstream test.
    """
    make_real_root(target)
    tables = target / "v1.0-mini"
    for name in ("attribute", "category", "instance", "sample_annotation", "visibility"):
        (tables / f"{name}.json").write_text("[]")
    mask = {"token": "map", "log_tokens": ["log"], "category": "semantic_prior", "filename": "maps/mask.png"}
    (tables / "map.json").write_text(json.dumps([mask]))
    (tables / "scene.json").write_text((tables / "scene.json").read_text().replace(SCENE, MINI_VAL[0]))
    (target / "can_bus").mkdir()
    drawn = target.with_name("drawn")
    synthesize(drawn, SynthesisOptions(scenes=1, samples=1, scale=0.1, lidar_sweeps=0, camera_sweeps=0))
    (drawn / "maps").rename(target / "maps")
    Image.new("L", (8, 8)).save(target / "maps" / "mask.png")
    return target


def add_later_key_frame(root: Path) -> None:
    """Let the same pictures follow half a second later, 3 m ahead: some upstream code wants two key frames."""
    tables = {
        name: json.loads(_table(root, name).read_text()) for name in ("scene", "sample", "sample_data", "ego_pose")
    }
    (sample,) = tables["sample"]
    later = {**sample, "token": "later", "prev": sample["token"], "timestamp": sample["timestamp"] + LATER_US}
    sample["next"] = "later"
    tables["sample"].append(later)
    tables["scene"][0].update(nbr_samples=2, last_sample_token="later")
    for pose in list(tables["ego_pose"]):
        w, _, _, z = pose["rotation"]
        x, y, up = pose["translation"]
        heading = 2 * math.atan2(z, w)
        ahead = [x + 3 * math.cos(heading), y + 3 * math.sin(heading), up]
        moved = {"token": f"{pose['token']}-later", "timestamp": pose["timestamp"] + LATER_US, "translation": ahead}
        tables["ego_pose"].append({**pose, **moved})
    for data in list(tables["sample_data"]):
        token = f"{data['token']}-later"
        moved = {"token": token, "sample_token": "later", "ego_pose_token": f"{data['ego_pose_token']}-later"}
        moved |= {"timestamp": data["timestamp"] + LATER_US, "prev": data["token"]}
        tables["sample_data"].append({**data, **moved})
        data["next"] = token
    for name, rows in tables.items():
        _table(root, name).write_text(json.dumps(rows))


def _table(root: Path, name: str) -> Path:
    return root / "v1.0-mini" / f"{name}.json"


def make_openlane_root(target: Path) -> Path:
    """The frame as one of OpenLane-V2's subset B, which was made of nuScenes, with a drawn lane for its truth."""
    frame = read_frame()
    stamp = str(round(frame["timestamp"] * 1e6))
    folder = Path("val") / "00000"
    (target / folder / "info").mkdir(parents=True)
    sensors = {}
    for channel, image in frame["images"].items():
        picture = folder / "image" / channel / f"{stamp}.jpg"
        (target / picture.parent).mkdir(parents=True)
        (target / picture).symlink_to(FRAME / image["img_path"])
        intrinsic = {"K": image["cam2img"], "distortion": [0.0, 0.0, 0.0]}
        sensors[channel] = {
            "image_path": str(picture),
            "extrinsic": _as_openlane(image["cam2ego"]),
            "intrinsic": intrinsic,
        }
    lane = {"id": "0", "points": [[x / 4, 0.0, 0.0] for x in range(201)], "is_intersection_or_connector": False}
    truth = {"lane_centerline": [lane], "traffic_element": [], "topology_lclc": [[0]], "topology_lcte": [[]]}
    described = {
        "version": "1.1",
        "segment_id": "00000",
        "meta_data": {"source": "nuScenes", "source_id": SCENE},
        "timestamp": int(stamp),
        "sensor": sensors,
        "pose": _as_openlane(frame["ego2global"]),
        "annotation": truth,
    }
    (target / folder / "info" / f"{stamp}.json").write_text(json.dumps(described))
    (target / "data_dict_subset_B.json").write_text(json.dumps({"val": {"00000": [f"{stamp}.json"]}}))
    return target


def read_frame() -> dict[str, Any]:
    """The frame's description; skips the test where it is not there."""
    if not (FRAME / "frame.json").is_file():
        pytest.skip(f"needs one real nuScenes key frame in {FRAME}")
    frame: dict[str, Any] = json.loads((FRAME / "frame.json").read_text())["frame"]
    return frame


def sample_token() -> str:
    """The real frame's sample token."""
    return str(read_frame()["token"])


def _as_openlane(matrix: list[list[float]]) -> dict[str, Any]:
    """The frame's matrices are rounded to seven digits; the devkit wants exact rotations."""
    pose = _pose(matrix)
    return {"rotation": rotation_matrix(pose["rotation"]).tolist(), "translation": pose["translation"]}


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
