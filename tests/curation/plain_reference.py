"""Statistics of nuScenes' tables in plain Python: JSON, loops and dictionaries; nothing of admlops but class names."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from admlops.core.nuscenes_classes import CATEGORY_CLASSES

Row = dict[str, Any]


class Reference:
    """Everything that the tests compare, computed from the tables of `folder`."""

    def __init__(self, folder: Path) -> None:
        def table(name: str) -> list[Row]:
            rows: list[Row] = json.loads((folder / f"{name}.json").read_text())
            return rows

        def by_token(name: str) -> dict[str, Row]:
            return {row["token"]: row for row in table(name)}

        self.scenes = table("scene")
        self.samples = by_token("sample")
        self.annotations = by_token("sample_annotation")
        categories = {row["token"]: row["name"] for row in table("category")}
        self.category = {row["token"]: categories[row["category_token"]] for row in table("instance")}
        logs = by_token("log")
        self.location = {scene["token"]: logs[scene["log_token"]]["location"] for scene in self.scenes}
        sensors, mounted, poses = by_token("sensor"), by_token("calibrated_sensor"), by_token("ego_pose")
        self.pose: dict[str, Row] = {}
        for row in table("sample_data"):
            channel = sensors[mounted[row["calibrated_sensor_token"]]["sensor_token"]]["channel"]
            if row["is_key_frame"] and channel == "LIDAR_TOP":
                self.pose[row["sample_token"]] = poses[row["ego_pose_token"]] | {"timestamp": row["timestamp"]}

    def chains(self) -> list[list[str]]:
        """The tokens of each scene, along `next`."""
        found = []
        for scene in self.scenes:
            token, chain = scene["first_sample_token"], []
            while token:
                chain.append(token)
                token = self.samples[token]["next"]
            found.append(chain)
        return found

    def driving(self) -> dict[str, tuple[float | None, float | None]]:
        """Speed [m/s] and yaw rate [rad/s] by sample."""
        found: dict[str, tuple[float | None, float | None]] = {}
        for chain in self.chains():
            for place, token in enumerate(chain):
                before, after = (self.pose[chain[i]] for i in (max(place - 1, 0), min(place + 1, len(chain) - 1)))
                seconds = (after["timestamp"] - before["timestamp"]) * 1e-6
                if seconds == 0:
                    found[token] = (None, None)
                    continue
                moved = math.dist(before["translation"][:2], after["translation"][:2])
                turned = _yaw(after["rotation"]) - _yaw(before["rotation"])
                turned = (turned + math.pi) % (2 * math.pi) - math.pi
                found[token] = (moved / seconds, turned / seconds)
        return found

    def class_of(self, row: Row) -> str:
        """The detection class of an annotation, or its category."""
        name = self.category[row["instance_token"]]
        return CATEGORY_CLASSES.get(name, name)

    def distance(self, row: Row) -> float:
        """From the vehicle to the centre [m], seen from above."""
        return math.dist(row["translation"][:2], self.pose[row["sample_token"]]["translation"][:2])

    def cells(self) -> Counter[tuple[str, str, str]]:
        """Boxes by class, ring and visibility."""
        levels = {"1": "0-40 %", "2": "40-60 %", "3": "60-80 %", "4": "80-100 %"}
        found = Counter[tuple[str, str, str]]()
        for row in self.annotations.values():
            ring = int(self.distance(row) // 10)
            name = "> 50 m" if ring >= 5 else f"{10 * ring}-{10 * ring + 10} m"
            found[self.class_of(row), name, levels.get(row["visibility_token"], "unknown")] += 1
        return found

    def speed(self, row: Row) -> float | None:
        """Of an object [m/s]: the centred difference of its positions, None where it is too far apart in time."""
        first = self.annotations.get(row["prev"], row)
        last = self.annotations.get(row["next"], row)
        seconds = 1e-6 * (self._time(last) - self._time(first))
        steps = (first is not row) + (last is not row)
        if seconds == 0 or seconds > 1.5 * steps:
            return None
        return math.dist(first["translation"][:2], last["translation"][:2]) / seconds

    def tracks(self) -> dict[str, list[tuple[str, int, float, float]]]:
        """By class: of each object its token, annotations, seconds and metres."""
        rows: dict[str, list[Row]] = defaultdict(list)
        for row in self.annotations.values():
            rows[row["instance_token"]].append(row)
        found: dict[str, list[tuple[str, int, float, float]]] = defaultdict(list)
        for instance, own in rows.items():
            own.sort(key=self._time)
            path = sum(math.dist(a["translation"][:2], b["translation"][:2]) for a, b in pairwise(own))
            seconds = 1e-6 * (self._time(own[-1]) - self._time(own[0]))
            found[self.class_of(own[0])].append((instance, len(own), seconds, path))
        return found

    def nearest(self, training: list[str]) -> dict[str, float]:
        """The distance of each sample to the nearest sample of the scenes `training` on the same map [m]."""
        scene_of = {token: scene for scene, chain in zip(self.scenes, self.chains(), strict=True) for token in chain}
        known = [token for token, scene in scene_of.items() if scene["name"] in training]
        found = {}
        for token, scene in scene_of.items():
            place = self.pose[token]["translation"][:2]
            same = [one for one in known if self.location[scene_of[one]["token"]] == self.location[scene["token"]]]
            found[token] = min((math.dist(place, self.pose[one]["translation"][:2]) for one in same), default=math.inf)
        return found

    def _time(self, row: Row) -> int:
        return int(self.samples[row["sample_token"]]["timestamp"])


def _yaw(rotation: list[float]) -> float:
    w, x, y, z = rotation
    return math.atan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z))
