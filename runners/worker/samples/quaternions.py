"""Unit quaternions w, x, y, z, with the standard library."""

from typing import Tuple

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
