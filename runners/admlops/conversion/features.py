"""What a form of driving data can hold, and what of a data set another form lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from admlops.conversion.frames import Cuboid, Frame, Recording, SceneFrames

FEATURES: Mapping[str, str] = {
    "pictures": "pictures of key frames",
    "lidar": "LiDAR files of key frames",
    "radar": "radar files",
    "sweeps": "files between key frames",
    "calibrations": "files with a calibration",
    "distortion": "pictures with lens distortion",
    "ego_poses": "files with a vehicle pose",
    "timestamps": "frames with a time",
    "scenes": "sequences of frames",
    "descriptions": "descriptions of scenes",
    "locations": "scenes with a place",
    "maps": "pictures of maps",
    "map_folders": "folders of maps and CAN bus",
    "cuboids": "boxes in space",
    "tilt": "boxes that are not upright",
    "tracks": "boxes with the identity of their object",
    "attributes": "attributes of boxes",
    "visibility": "visibilities of boxes",
    "points": "counts of points in boxes",
    "boxes_2d": "annotated boxes in pictures",
    "ignored": "ignored regions of pictures",
}
"""By id, what a loss is counted in."""

UPRIGHT = 1e-9
"""A box is tilted where the cosine between its height and the vertical falls short of 1 by more."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Something that the result lacks: a feature, or `rounding` and the like; how many of it; and why."""

    what: str
    count: int
    why: str


def count_features(scene: SceneFrames) -> Counter[str]:
    """Count what a scene holds of each feature."""
    found = Counter[str]()
    found["scenes"] += scene.is_sequence
    found["descriptions"] += bool(scene.description)
    found["locations"] += bool(scene.log.location)
    for frame in scene.frames:
        found["timestamps"] += bool(frame.timestamp_us)
        _count_files(frame, found)
        _count_cuboids(frame.cuboids or (), found)
        for boxes in frame.boxes_2d.values():
            found["boxes_2d"] += sum(not one.ignore for one in boxes)
            found["ignored"] += sum(one.ignore for one in boxes)
    return +found


def count_folders(recording: Recording) -> Counter[str]:
    """Count what belongs to no scene."""
    return +Counter({"maps": len(recording.find_maps()), "map_folders": len(recording.find_folders())})


def _count_files(frame: Frame, found: Counter[str]) -> None:
    for one in frame.files:
        if not one.is_key:
            found["sweeps"] += 1
        elif one.modality == "radar":
            found["radar"] += 1
        else:
            found["pictures" if one.modality == "camera" else "lidar"] += 1
        found["calibrations"] += one.sensor2ego is not None
        found["distortion"] += any(one.distortion)
        found["ego_poses"] += one.ego2global is not None


def _count_cuboids(cuboids: Iterable[Cuboid], found: Counter[str]) -> None:
    own = list(cuboids)
    found["cuboids"] += len(own)
    found["tracks"] += sum(bool(one.track) for one in own)
    found["attributes"] += sum(len(one.attributes) for one in own)
    found["visibility"] += sum(bool(one.visibility) for one in own)
    found["points"] += sum(one.lidar_points is not None or one.radar_points is not None for one in own)
    if own:
        turns = np.array([one.rotation_wxyz for one in own])
        turns /= np.linalg.norm(turns, axis=1, keepdims=True)
        upright = 1 - 2 * (turns[:, 1] ** 2 + turns[:, 2] ** 2)
        found["tilt"] += int((upright < 1 - UPRIGHT).sum())


def find_losses(found: Mapping[str, int], holds: frozenset[str], title: str) -> list[Loss]:
    """Return a loss for every feature of the source that a form does not hold."""
    return [
        Loss(what=name, count=found[name], why=f"{title} does not hold {text}")
        for name, text in FEATURES.items()
        if found.get(name) and name not in holds
    ]
