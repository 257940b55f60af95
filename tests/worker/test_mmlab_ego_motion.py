"""The vehicle's motion around a sample, as VAD takes it: the past, the command, and how much is of the future."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from worker.mmlab.common.ego_motion import COMMANDS, command_towards, future, history, one_hot, status, vad_fields
from worker.mmlab.common.geometry import pose_matrix

Row = dict[str, Any]

MOUNTING: Row = {"translation": [0.94, 0.0, 1.84], "rotation_wxyz": [0.5**0.5, 0.0, 0.0, -(0.5**0.5)]}
"""nuScenes' LiDAR: 0.94 m ahead of the ego's origin, x to the right, y forward."""
NOTHING = np.zeros(18)


def place(x: float, y: float, heading: float) -> Row:
    """The LiDAR of a vehicle at x, y [m] that looks along `heading` [rad]."""
    turn = [math.cos(heading / 2), 0.0, 0.0, math.sin(heading / 2)]
    return {"sensor2ego": MOUNTING, "ego2global": {"translation": [x, y, 0.0], "rotation_wxyz": turn}}


def drive(turn_rate: float, *, now: int, count: int = 12, step: float = 4.0) -> tuple[Row, Row]:
    """The sample `now` of a drive along a circle, a step [m] every half second, turning by `turn_rate` [rad] a step."""
    x, y, heading = 500.0, 900.0, 0.7
    places = []
    for _ in range(count):
        places.append(place(x, y, heading))
        heading += turn_rate
        x, y = x + step * math.cos(heading), y + step * math.sin(heading)
    before, after = places[max(now - 2, 0) : now][::-1], places[now + 1 : now + 7]
    context = {"driven": {"before": before, "after": after}, "can_bus": None, "location": "boston-seaport"}
    return {"lidar": places[now], "timestamp_us": 10_000_000}, context


def test_steps_are_right_and_forward_of_the_lidar() -> None:
    sample, context = drive(0.0, now=4)
    assert np.allclose(history(sample, context), [[0.0, 4.0]] * 2, atol=1e-5)
    ahead = future(sample, context)
    assert np.allclose(ahead.steps, [[0.0, 4.0]] * 6, atol=1e-5)
    assert ahead.known.tolist() == [1.0] * 6


@pytest.mark.parametrize(("turn_rate", "command"), [(0.1, "left"), (-0.1, "right"), (0.001, "straight")])
def test_the_command_is_where_the_drive_leads(turn_rate: float, command: str) -> None:
    sample, context = drive(turn_rate, now=2)
    ahead = future(sample, context)
    assert ahead.command == command
    last = pose_matrix(context["driven"]["after"][-1]["ego2global"]) @ pose_matrix(MOUNTING)
    own = pose_matrix(sample["lidar"]["ego2global"]) @ pose_matrix(MOUNTING)
    there = np.linalg.inv(own) @ last[:, 3]
    assert np.allclose(ahead.steps.sum(axis=0), there[:2], atol=1e-4), "the steps lead to where the LiDAR is"


def test_two_metres_to_a_side_are_a_turn() -> None:
    assert [command_towards(metres) for metres in (2.0, 1.99, -1.99, -2.0)] == ["right", "straight", "straight", "left"]
    assert [one_hot(command).tolist() for command in COMMANDS] == np.eye(3).tolist()


def test_a_scene_ends_and_begins() -> None:
    """At the end the track stands still; at the beginning the past is taken to be like the next step."""
    sample, context = drive(0.0, now=8)
    ahead = future(sample, context)
    assert ahead.known.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert np.allclose(ahead.steps, [[0.0, 4.0]] * 3 + [[0.0, 0.0]] * 3, atol=1e-5)
    sample, context = drive(0.2, now=0)
    assert np.allclose(history(sample, context), [future(sample, context).steps[0]] * 2, atol=1e-5)
    sample, context = drive(0.2, now=1)
    older, newer = history(sample, context)
    assert np.allclose(older, newer, atol=1e-5)


@pytest.mark.parametrize("now", [0, 1, 5])
@pytest.mark.parametrize("command", COMMANDS)
def test_with_a_command_nothing_comes_from_the_future(now: int, command: str) -> None:
    sample, context = drive(0.1, now=now)
    other = {**context, "driven": {**context["driven"], "after": drive(-0.3, now=now, step=9.0)[1]["driven"]["after"]}}
    given, same = (vad_fields(sample, around, NOTHING, command) for around in (context, other))
    free = vad_fields(sample, context, NOTHING)
    assert all(np.array_equal(given[key], same[key]) for key in given)
    assert given["gt_ego_fut_cmd"].tolist() == one_hot(command).tolist()
    assert not given["gt_ego_fut_trajs"].any()
    assert not given["fut_valid_flag"]
    assert free["gt_ego_fut_cmd"].tolist() == one_hot("left").tolist()
    assert free["fut_valid_flag"] == (now < 6)
    if now >= 2:
        assert np.array_equal(given["gt_ego_his_trajs"], free["gt_ego_his_trajs"]), "the past is known either way"


def test_the_status_is_of_the_can_bus_where_there_is_one() -> None:
    sample, context = drive(0.0, now=3)
    can_bus = np.arange(18.0)
    without = status(sample, context, can_bus)
    assert np.allclose(np.hypot(*without[:2]), 8.0, atol=1e-4)
    assert without[2:4].tolist() == [7.0, 8.0]
    assert np.allclose(without[4:], [0.0, 4.084, 1.85, 8.0, 0.0], atol=1e-4)
    poses = {"last_pose": {"utime": 9_999_000, "vel": [7.5, 0, 0]}, "pose": {"utime": 10_002_000, "vel": [9.5, 0, 0]}}
    felt = {**context, "can_bus": {**poses, "steering": {"utime": 10_000_000, "value": 0.2588}}}
    assert np.allclose(status(sample, felt, can_bus)[7:], [7.5, 0.2], atol=1e-6), "the nearer message's speed"
    flipped = {**felt, "location": "singapore-onenorth"}
    assert np.allclose(status(sample, flipped, can_bus)[7:], [7.5, -0.2], atol=1e-6)
    alone = {**context, "driven": {"before": [], "after": []}}
    assert not status(sample, alone, NOTHING)[[0, 1, 4, 7]].any()
