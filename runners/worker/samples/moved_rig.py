"""Another vehicle's rig: the same pictures with other extrinsics, to tell a network that was made for one rig alone."""

import math
from typing import Any, Dict, Mapping, Sequence, Tuple

from .form import make_pose
from .miscalibration import draw_miscalibration
from .quaternions import Quaternion, multiply_quaternions

SEED = 1
"""Not that of evaluations. One rig for a whole scene: the sample does not decide the error."""


def has_rig(sample: Mapping[str, Any]) -> bool:
    """Tell whether the extrinsics of any camera are known."""
    return any("sensor2ego" in camera for camera in sample.get("cameras", {}).values())


def move_rig(value: Any) -> Any:
    """Return a sample whose cameras are turned by 3 to 8 degrees and moved by 5 to 30 cm, in the context of it too."""
    if isinstance(value, Mapping):
        return {
            key: {name: _move_camera(name, camera) for name, camera in item.items()}
            if key == "cameras" and isinstance(item, Mapping)
            else move_rig(item)
            for key, item in value.items()
        }
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return [move_rig(item) for item in value]
    return value


def _move_camera(name: str, camera: Any) -> Any:
    if not isinstance(camera, Mapping) or "sensor2ego" not in camera:
        return camera
    pose: Mapping[str, Any] = camera["sensor2ego"]
    error = draw_miscalibration(SEED, "", name)
    rotation = _quaternion(error.rotation_deg)
    own: Quaternion = tuple(pose["rotation_wxyz"])
    shift = _rotate(own, error.translation_m)
    translation = [float(a) + b for a, b in zip(pose["translation"], shift)]
    moved: Dict[str, Any] = dict(camera)
    moved["sensor2ego"] = make_pose(translation, list(multiply_quaternions(own, rotation)))
    return moved


def _quaternion(rotation_deg: Sequence[float]) -> Quaternion:
    """Return the unit quaternion w, x, y, z of a rotation vector [degrees]."""
    angle = math.radians(math.sqrt(sum(part * part for part in rotation_deg)))
    if angle == 0:
        return 1.0, 0.0, 0.0, 0.0
    scale = math.sin(angle / 2) / math.degrees(angle)
    x, y, z = (part * scale for part in rotation_deg)
    return math.cos(angle / 2), x, y, z


def _rotate(q: Quaternion, vector: Sequence[float]) -> Tuple[float, float, float]:
    w, x, y, z = q
    vx, vy, vz = vector
    _, rx, ry, rz = multiply_quaternions(multiply_quaternions(q, (0.0, vx, vy, vz)), (w, -x, -y, -z))
    return rx, ry, rz
