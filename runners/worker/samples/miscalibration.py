"""Wrong extrinsics made on purpose: what a judge of calibration is tried with, the same for every model.

The error of a camera's pose is drawn from a seed, the sample's token and the camera's channel, so that whoever knows
these can say what was done. It turns the camera round an axis of any direction and moves it, in the camera's own frame.
"""

import hashlib
import math
import random
from typing import Any, Dict, Mapping, NamedTuple, Tuple

from .form import make_pose
from .quaternions import Quaternion, multiply_quaternions, quaternion_of, rotate

SEED = 0
"""The seed of evaluations; training draws from others."""
ANGLE_DEG = (3.0, 8.0)
SHIFT_M = (0.05, 0.3)
Vector = Tuple[float, float, float]


class Miscalibration(NamedTuple):
    """An error of a camera's pose: a rotation vector [degrees] and a translation [m], both in the camera's frame."""

    rotation_deg: Vector
    translation_m: Vector

    @property
    def angle_deg(self) -> float:
        """How far the camera is turned [degrees]."""
        return math.sqrt(sum(part * part for part in self.rotation_deg))

    @property
    def shift_m(self) -> float:
        """How far it is moved [m]."""
        return math.sqrt(sum(part * part for part in self.translation_m))


def draw_miscalibration(seed: int, sample_token: str, camera: str) -> Miscalibration:
    """Return the error of one camera in one sample: direction uniform, size uniform in ANGLE_DEG and SHIFT_M."""
    digest = hashlib.sha256("{}\0{}\0{}".format(seed, sample_token, camera).encode()).digest()
    chance = random.Random(int.from_bytes(digest[:8], "big"))  # noqa: S311  a repeatable error, and no secret
    return Miscalibration(
        rotation_deg=_scaled(_direction(chance), chance.uniform(*ANGLE_DEG)),
        translation_m=_scaled(_direction(chance), chance.uniform(*SHIFT_M)),
    )


def misplace(camera: Mapping[str, Any], error: Miscalibration) -> Dict[str, Any]:
    """Return a camera of a sample with the error in its `sensor2ego`."""
    pose: Mapping[str, Any] = camera["sensor2ego"]
    own: Quaternion = tuple(pose["rotation_wxyz"])
    translation = [float(a) + b for a, b in zip(pose["translation"], rotate(own, error.translation_m))]
    rotation = multiply_quaternions(own, quaternion_of(error.rotation_deg))
    return dict(camera, sensor2ego=make_pose(translation, list(rotation)))


def as_json(error: Miscalibration) -> Dict[str, Any]:
    """Return what a record holds: the sizes alone."""
    return {"angle_deg": round(error.angle_deg, 4), "shift_m": round(error.shift_m, 4)}


def _direction(chance: random.Random) -> Vector:
    """Draw a unit vector, uniform over the sphere."""
    while True:
        parts = [chance.gauss(0.0, 1.0) for _ in range(3)]
        length = math.sqrt(sum(part * part for part in parts))
        if length > 1e-9:
            x, y, z = (part / length for part in parts)
            return x, y, z


def _scaled(vector: Vector, length: float) -> Vector:
    x, y, z = vector
    return x * length, y * length, z * length
