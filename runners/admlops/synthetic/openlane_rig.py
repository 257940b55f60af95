"""The seven cameras of OpenLane-V2's subset A: placed and aimed as on Argoverse 2's cars, rounded to plain numbers.

The ego frame of Argoverse 2 has its origin at the rear axle's centre, x forward, y left, z up: the ground is below it.
Camera axes: x right, y down, z forward. All cameras fire at once, and the front one stands upright.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from admlops.synthetic.rig import Sensor, quaternion

Array = NDArray[np.float64]

AXLE_HEIGHT_M = 0.33
FRONT = "ring_front_center"
LONG_SIDE, SHORT_SIDE = 2048, 1550

# channel: (x, y, z [m]), yaw [degrees to the left], focal length [pixels of the full picture]
_CAMERAS = {
    FRONT: ((1.63, 0.01, 1.38), 0.0, 1778.0),
    "ring_front_left": ((1.55, 0.18, 1.40), 45.0, 1683.0),
    "ring_front_right": ((1.55, -0.18, 1.40), -45.0, 1683.0),
    "ring_rear_left": ((1.10, 0.11, 1.40), 153.0, 1688.0),
    "ring_rear_right": ((1.10, -0.11, 1.40), -153.0, 1688.0),
    "ring_side_left": ((1.31, 0.25, 1.40), 99.0, 1684.0),
    "ring_side_right": ((1.31, -0.25, 1.40), -99.0, 1684.0),
}
CAMERA_CHANNELS = tuple(_CAMERAS)
"""The front camera first, as the data set has them."""


def make_cameras(scale: float) -> tuple[Sensor, ...]:
    """The seven cameras, with pictures of 1550x2048 (front) and 2048x1550 pixels times `scale`."""
    cameras = []
    for channel, (position, yaw, focal) in _CAMERAS.items():
        sides = (SHORT_SIDE, LONG_SIDE) if channel == FRONT else (LONG_SIDE, SHORT_SIDE)
        width, height = (round(side * scale) for side in sides)
        # From a camera that looks along ego x: z forward becomes x, x right becomes -y, y down becomes -z.
        level = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        turn = Rotation.from_euler("z", yaw, degrees=True).as_matrix()
        sx, sy = width / sides[0], height / sides[1]
        intrinsic = ((focal * sx, 0.0, width / 2), (0.0, focal * sy, height / 2), (0.0, 0.0, 1.0))
        cameras.append(Sensor(channel, "camera", position, quaternion(turn @ level), 0, intrinsic, width, height))
    return tuple(cameras)


def lift_to_axle(ground_pose: Array) -> Array:
    """The pose (4, 4) of Argoverse 2's ego frame, from that of a frame on the ground under the axle."""
    lift = np.eye(4)
    lift[2, 3] = AXLE_HEIGHT_M
    return np.asarray(ground_pose @ lift)
