"""How the ego vehicle moves around a sample, with the numbers and the slips of VAD's converter.

Everything is in the key frame's LiDAR frame seen from above: x to the right, y forward, metres, a step every 0.5 s.
What lies behind comes from the context's `driven["before"]`, what lies ahead from its `driven["after"]`, which is the
truth that plans are measured against. Without an "after", nothing here knows the future: the command is then straight
ahead, and a scene's first sample has stood still.

Source: VAD, tools/data_converter/vad_nuscenes_converter.py, `_fill_trainval_infos`.
"""

import math
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .geometry import inverse_pose_matrix, pose_matrix

COMMANDS = ("right", "left", "straight")
"""In the order of the network's plans."""
STEP_S = 0.5
FUTURE_STEPS = 6
TURN_M = 2.0
"""How far to the side the vehicle is 3 s later if it was told to turn."""
EGO_LENGTH_M, EGO_WIDTH_M = 4.084, 1.85
WHEELBASE_M = 2.588
LEFT_HAND_TRAFFIC = "singapore"

Row = Mapping[str, Any]


class Future(NamedTuple):
    """What the vehicle did next: `steps` (6, 2) [m], zero where unknown; which are `known` (6,); the command by it."""

    steps: "np.ndarray"
    known: "np.ndarray"
    command: str


def vad_fields(sample: Row, context: Row, can_bus: "np.ndarray", command: Optional[str] = None) -> Dict[str, Any]:
    """Return what VAD's info has beside a temporal one, without annotations.

    With a `command`, nothing comes from the future; without one it follows from where the vehicle drove, as in the
    authors' open-loop evaluation.
    """
    if command is not None:
        context = {**context, "driven": {**context["driven"], "after": []}}
    ahead = future(sample, context)
    return {
        "fut_valid_flag": bool(ahead.known.all()),
        "gt_ego_his_trajs": history(sample, context),
        "gt_ego_fut_trajs": ahead.steps,
        "gt_ego_fut_masks": ahead.known,
        "gt_ego_fut_cmd": one_hot(command or ahead.command),
        "gt_ego_lcf_feat": status(sample, context, can_bus),
    }


def history(sample: Row, context: Row) -> "np.ndarray":
    """The last two steps (2, 2) [m], the older first.

    A step before the scene's beginning is taken to be as long as the next one; on the first sample that is a step into
    the future.
    """
    driven = context["driven"]
    own = _position(sample["lidar"])
    step = _position(driven["after"][0]) - own if driven["after"] else np.zeros(3)
    track = [own]
    for place in _filled(driven["before"], 2):
        before = track[0] - step if place is None else _position(place)
        step = track[0] - before
        track.insert(0, before)
    return np.diff(_in_lidar(np.array(track), sample), axis=0)[:, :2].astype(np.float32)


def future(sample: Row, context: Row) -> Future:
    """The next six steps. The track stands still where the scene ends."""
    places = [sample["lidar"], *context["driven"]["after"][:FUTURE_STEPS]]
    known = len(places) - 1
    track = [_position(place) for place in places] + [_position(places[-1])] * (FUTURE_STEPS - known)
    local = _in_lidar(np.array(track), sample)
    return Future(
        steps=np.diff(local, axis=0)[:, :2].astype(np.float32),
        known=(np.arange(FUTURE_STEPS) < known).astype(np.float32),
        command=command_towards(float(local[-1, 0])),
    )


def command_towards(right_m: float) -> str:
    """The command whose path ends this far to the right."""
    if right_m >= TURN_M:
        return "right"
    return "left" if right_m <= -TURN_M else "straight"


def one_hot(command: str) -> "np.ndarray":
    """The command as the network's input (3,)."""
    return np.array([name == command for name in COMMANDS], dtype=np.float32)


def status(sample: Row, context: Row, can_bus: "np.ndarray") -> "np.ndarray":
    """Speed x, y [m/s], acceleration x, y [m/s²], turn rate [rad/s], length, width [m], speed [m/s], curvature [1/m].

    The angle that splits the speed is no heading: upstream reads the quaternion w, x, y, z as x, y, z, w. Speed and
    curvature are the CAN bus's; without it, the speed is that of the steps around the sample and the curvature 0.

    Args:
        can_bus: the vector of `infos.can_bus_vector`.
    """
    first, second = _around(sample, context)
    turned = _misread_angle(second["rotation_wxyz"]) - _misread_angle(first["rotation_wxyz"])
    moved = np.subtract(second["translation"], first["translation"])[:2]
    speed = float(np.linalg.norm(moved)) / STEP_S
    heading = _misread_angle(sample["lidar"]["ego2global"]["rotation_wxyz"]) + 0.5 * math.pi
    felt = _felt(sample, context)
    return np.array(
        [
            speed * math.cos(heading),
            speed * math.sin(heading),
            *can_bus[7:9],
            turned / STEP_S,
            EGO_LENGTH_M,
            EGO_WIDTH_M,
            *felt,
        ],
        dtype=np.float32,
    )


def _around(sample: Row, context: Row) -> Tuple[Row, Row]:
    """The ego poses of the step to this sample; on a scene's first sample, of the next step."""
    own, driven = sample["lidar"], context["driven"]
    first, second = own, own
    if driven["before"]:
        first = driven["before"][0]
    elif driven["after"]:
        second = driven["after"][0]
    return first["ego2global"], second["ego2global"]


def _felt(sample: Row, context: Row) -> List[float]:
    """Speed [m/s] and curvature [1/m], positive to the left; in left-hand traffic upstream flips the sign."""
    messages = context["can_bus"]
    if messages is None or messages["steering"] is None:
        around = history(sample, context)[-1] + future(sample, context).steps[0]
        return [float(np.hypot(*around)), 0.0]
    steering = float(messages["steering"]["value"])
    if context["location"].startswith(LEFT_HAND_TRAFFIC):
        steering = -steering
    return [float(_nearest_pose(messages, sample["timestamp_us"])["vel"][0]), 2 * steering / WHEELBASE_M]


def _nearest_pose(messages: Row, timestamp_us: int) -> Row:
    last, after = messages["last_pose"], messages["pose"]
    is_last = timestamp_us - last["utime"] < after["utime"] - timestamp_us
    return dict(last if is_last else after)


def _misread_angle(rotation_wxyz: Sequence[float]) -> float:
    x, y, z, w = rotation_wxyz
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (z * z + y * y))


def _position(place: Row) -> "np.ndarray":
    """Return where a LiDAR is in the global frame (3,) [m]."""
    return np.asarray((pose_matrix(place["ego2global"]) @ pose_matrix(place["sensor2ego"]))[:3, 3])


def _in_lidar(positions: "np.ndarray", sample: Row) -> "np.ndarray":
    """Positions (n, 3) [m] of the global frame in the sample's LiDAR frame."""
    lidar = sample["lidar"]
    turn = inverse_pose_matrix(lidar["sensor2ego"]) @ inverse_pose_matrix(lidar["ego2global"])
    return np.asarray(positions @ turn[:3, :3].T + turn[:3, 3])


def _filled(places: Sequence[Row], count: int) -> List[Optional[Row]]:
    return [*places[:count], *[None] * (count - len(places))]
