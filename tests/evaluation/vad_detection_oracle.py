"""VAD's own detection metrics of boxes that come over a pipe; runs inside envs/official/nuscenes.

    python vad_detection_oracle.py envs/official/nuscenes CHECKOUT

One request a line on standard input, one answer a line on standard output, as devkit_oracle.py. The tables are made up
from the request; everything else is VAD's code, as `vad_detection.py` runs it.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES

CATEGORIES = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "bus": "vehicle.bus.rigid",
    "trailer": "vehicle.trailer",
    "construction_vehicle": "vehicle.construction",
    "pedestrian": "human.pedestrian.adult",
    "motorcycle": "vehicle.motorcycle",
    "bicycle": "vehicle.bicycle",
    "traffic_cone": "movable_object.trafficcone",
    "barrier": "movable_object.barrier",
}


class FakeNuScenes:
    """One scene of the request's samples, as far as VAD's evaluation asks."""

    version = "v1.0-mini"

    def __init__(self, request: dict[str, Any]) -> None:
        tokens = list(request["samples"])
        self.scene = [{"token": "scene", "name": "scene", "first_sample_token": tokens[0]}]
        self.attribute = [{"token": name, "name": name} for name in ATTRIBUTE_NAMES]
        self._velocity: dict[str, list[float]] = {}
        self._rows: dict[tuple[str, str], dict[str, Any]] = {("scene", "scene"): self.scene[0]}
        for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
            self._add_sample(token, following, request)

    def _add_sample(self, token: str, following: str, request: dict[str, Any]) -> None:
        anns = [self._add_truth(f"{token}-{number}", box) for number, box in enumerate(request["truth"][token])]
        for number, rack in enumerate(request["samples"][token]["racks"]):
            name = f"{token}-rack-{number}"
            self._rows["sample_annotation", name] = {"category_name": "static_object.bicycle_rack", **rack}
            anns.append(name)
        row = {"token": token, "scene_token": "scene", "next": following, "data": {"LIDAR_TOP": token}, "anns": anns}
        self._rows["sample", token] = row
        self._rows["sample_data", token] = {"ego_pose_token": token}
        self._rows["ego_pose", token] = {"translation": request["samples"][token]["ego"]}

    def _add_truth(self, name: str, box: dict[str, Any]) -> str:
        self._velocity[name] = [*box["velocity"], 0.0]
        self._rows["sample_annotation", name] = {
            "token": name,
            "category_name": CATEGORIES[box["detection_name"]],
            "attribute_tokens": [box["attribute_name"]] if box["attribute_name"] else [],
            "translation": box["translation"],
            "size": box["size"],
            "rotation": box["rotation"],
            "num_lidar_pts": box["num_pts"],
            "num_radar_pts": 0,
            "visibility_token": "4",
        }
        return name

    def get(self, table: str, token: str) -> dict[str, Any]:
        return self._rows[table, token]

    def box_velocity(self, token: str) -> Any:
        return np.array(self._velocity[token])


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    import vad_detection  # type: ignore[import-not-found]

    vad = vad_detection.load_vad(Path(sys.argv[2]))
    out = sys.stdout
    for line in sys.stdin:
        request = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):
            answer = vad_detection.evaluate(vad, FakeNuScenes(request), request["detections"])
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
