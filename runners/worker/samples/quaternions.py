"""Unit quaternions w, x, y, z, with the standard library."""

import math
from typing import Sequence, Tuple

Quaternion = Tuple[float, float, float, float]


def multiply_quaternions(a: Tuple[float, ...], b: Tuple[float, ...]) -> Quaternion:
    """Return the Hamilton product a · b: rotate by b, then by a."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


def quaternion_of(rotation_deg: Sequence[float]) -> Quaternion:
    """Return the unit quaternion of a rotation vector [degrees]."""
    angle = math.radians(math.sqrt(sum(part * part for part in rotation_deg)))
    if angle == 0:
        return 1.0, 0.0, 0.0, 0.0
    scale = math.sin(angle / 2) / math.degrees(angle)
    x, y, z = (part * scale for part in rotation_deg)
    return math.cos(angle / 2), x, y, z


def rotate(q: Quaternion, vector: Sequence[float]) -> Tuple[float, float, float]:
    """Return the vector turned by a unit quaternion."""
    w, x, y, z = q
    vx, vy, vz = vector
    _, rx, ry, rz = multiply_quaternions(multiply_quaternions(q, (0.0, vx, vy, vz)), (w, -x, -y, -z))
    return rx, ry, rz
