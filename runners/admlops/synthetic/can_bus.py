"""CAN bus messages of a scene, derived from the ego vehicle's exact motion, in the files of nuScenes' expansion."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.synthetic.stage import KEYFRAME_S, Stage

Array = NDArray[np.float64]
Message = dict[str, Any]

BEFORE_S = 0.3  # messages begin before the first key frame and end after the last
WHEELBASE, STEERING_RATIO, WHEEL_RADIUS = 2.588, 15.2, 0.305  # Renault Zoe
GRAVITY = 9.81
RATES_HZ = {
    "pose": 50,
    "ms_imu": 96,
    "steeranglefeedback": 100,
    "vehicle_monitor": 2,
    "zoesensors": 50,
    "zoe_veh_info": 100,
}


class _Motion:
    """The ego vehicle's state sampled at times (N,): arrays (N, ...)."""

    def __init__(self, stage: Stage, times: Array) -> None:
        drive = stage.plan.ego
        profile = drive.profile
        step = 0.02

        def arc_at(shift: float) -> Array:
            return np.interp(times + drive.offset + shift, profile.times, profile.arcs)

        arcs = arc_at(0.0)
        self.utime = stage.start_us + np.round(times * 1e6).astype(np.int64)
        self.speed = (arc_at(step) - arc_at(-step)) / (2 * step)
        self.acceleration = (arc_at(4 * step) - 2 * arcs + arc_at(-4 * step)) / (4 * step) ** 2
        self.curvature = profile.course.curvatures(arcs)
        self.yaw_rate = self.speed * self.curvature
        self.poses = profile.course.poses(arcs)
        # The steering wheel turns over a second or so, not in a jump where a bend begins.
        window = np.ones(25) / 25
        smooth = (
            np.convolve(np.pad(self.curvature, 12, mode="edge"), window, mode="valid")
            if len(times) > 25
            else self.curvature
        )
        self.steering = np.arctan(WHEELBASE * smooth) * STEERING_RATIO
        self.wheel_rpm = self.speed / (2 * np.pi * WHEEL_RADIUS) * 60
        self.travelled = arcs - arcs[0]

    def quaternions(self) -> Array:
        half = self.poses[:, 2] / 2
        zero = np.zeros_like(half)
        return np.stack([np.cos(half), zero, zero, np.sin(half)], axis=1)


def make_can_bus(stage: Stage, samples: int) -> dict[str, Any]:
    """name of the file's second part -> its content: six kinds of messages, `route` and `meta`."""
    duration = (samples - 1) * KEYFRAME_S
    makers = {
        "pose": _pose,
        "ms_imu": _imu,
        "steeranglefeedback": _steering,
        "vehicle_monitor": _monitor,
        "zoesensors": _zoe_sensors,
        "zoe_veh_info": _zoe_info,
    }
    files: dict[str, Any] = {}
    for name, maker in makers.items():
        times = np.arange(-BEFORE_S, duration + BEFORE_S, 1 / RATES_HZ[name])
        motion = _Motion(stage, times)
        files[name] = [{**message, "utime": int(at)} for message, at in zip(maker(motion), motion.utime, strict=True)]
    files["meta"] = {name: _summarize(messages) for name, messages in files.items()}
    course = stage.plan.ego.profile.course
    start, end = stage.plan.ego.arc(-BEFORE_S) - 20.0, stage.plan.ego.arc(duration) + 40.0
    files["route"] = _rounded(course.poses(np.arange(start, end, 1.0))[:, :2])
    return files


def _pose(motion: _Motion) -> list[Message]:
    columns = {
        "accel": np.stack(
            [motion.acceleration, motion.speed * motion.yaw_rate, np.full_like(motion.speed, GRAVITY)], 1
        ),
        "orientation": motion.quaternions(),
        "pos": np.column_stack([motion.poses[:, :2], np.zeros(len(motion.speed))]),
        "rotation_rate": _about_z(motion.yaw_rate),
        "vel": np.stack([motion.speed, np.zeros_like(motion.speed), np.zeros_like(motion.speed)], 1),
    }
    return _rows(columns)


def _imu(motion: _Motion) -> list[Message]:
    columns = {
        "linear_accel": np.stack(
            [motion.acceleration, motion.speed * motion.yaw_rate, np.full_like(motion.speed, GRAVITY)], 1
        ),
        "q": motion.quaternions(),
        "rotation_rate": _about_z(motion.yaw_rate),
    }
    return _rows(columns)


def _steering(motion: _Motion) -> list[Message]:
    return _rows({"value": motion.steering})


def _monitor(motion: _Motion) -> list[Message]:
    drive, brake = _pedals(motion)
    turning = np.degrees(motion.yaw_rate)
    columns = {
        "available_distance": np.full_like(motion.speed, 142.0),
        "battery_level": np.full_like(motion.speed, 74.0),
        "brake": brake * 20.0,
        "brake_switch": np.where(brake > 0.02, 2.0, 1.0),
        "gear_position": np.full_like(motion.speed, 7.0),
        "left_signal": np.where(turning > 8.0, 1.0, 0.0),
        "rear_left_rpm": motion.wheel_rpm,
        "rear_right_rpm": motion.wheel_rpm,
        "right_signal": np.where(turning < -8.0, 1.0, 0.0),
        "steering": np.degrees(motion.steering),
        "steering_speed": np.zeros_like(motion.speed),
        "throttle": drive * 200.0,
        "vehicle_speed": motion.speed * 3.6,
        "yaw_rate": turning,
    }
    return _rows(columns)


def _zoe_sensors(motion: _Motion) -> list[Message]:
    drive, brake = _pedals(motion)
    return _rows(
        {
            "brake_sensor": 0.166 + 0.1 * brake,
            "steering_sensor": motion.steering,
            "throttle_sensor": 0.105 + 0.3 * drive,
        }
    )


def _zoe_info(motion: _Motion) -> list[Message]:
    drive, brake = _pedals(motion)
    zero = np.zeros_like(motion.speed)
    columns = {
        "FL_wheel_speed": motion.wheel_rpm,
        "FR_wheel_speed": motion.wheel_rpm,
        "RL_wheel_speed": motion.wheel_rpm,
        "RR_wheel_speed": motion.wheel_rpm,
        "left_solar": zero + 3.0,
        "longitudinal_accel": motion.acceleration,
        "meanEffTorque": drive * 220.0 - brake * 120.0,
        "odom": motion.travelled,
        "odom_speed": motion.speed * 3.6,
        "pedal_cc": drive * 100.0,
        "regen": brake * 100.0,
        "requestedTorqueAfterProc": drive * 220.0 - brake * 120.0,
        "right_solar": zero + 3.0,
        "steer_corrected": np.degrees(motion.steering),
        "steer_offset_can": zero,
        "steer_raw": np.degrees(motion.steering),
        "transversal_accel": motion.speed * motion.yaw_rate,
    }
    return _rows(columns)


def _pedals(motion: _Motion) -> tuple[Array, Array]:
    """Throttle and brake 0..1 that would give the acceleration, with some throttle to keep up speed."""
    wanted = motion.acceleration + 0.02 * motion.speed
    return np.clip(wanted / 3.0, 0, 1), np.clip(-wanted / 3.0, 0, 1)


def _about_z(rate: Array) -> Array:
    return np.stack([np.zeros_like(rate), np.zeros_like(rate), rate], axis=1)


def _rows(columns: dict[str, Array]) -> list[Message]:
    lists = {name: _rounded(values) for name, values in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _rounded(values: Array) -> list[Any]:
    rounded: list[Any] = np.round(values, 6).tolist()
    return rounded


def _summarize(messages: list[Message]) -> Message:
    """Counts and, for every variable, extremes, mean and deviation."""
    span = (messages[-1]["utime"] - messages[0]["utime"]) / 1e6
    variables = {}
    for name in messages[0]:
        values = np.array([message[name] for message in messages], dtype=np.float64)
        change = np.abs(np.diff(values, axis=0)) if len(values) > 1 else np.zeros_like(values)
        numbers = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
        numbers |= {"diff_max": change.max(0), "diff_mean": change.mean(0), "diff_std": change.std(0)}
        variables[name] = {key: np.round(value, 6).tolist() for key, value in numbers.items()}
    frequency = round((len(messages) - 1) / span, 3) if span > 0 else 0.0
    return {"message_count": len(messages), "message_freq": frequency, "timespan": span, "var_stats": variables}
