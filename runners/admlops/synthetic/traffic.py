"""Who takes part in a scene: the ego vehicle's drive, the traffic round it, people, road works."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from admlops.synthetic.actors import Actor, ActorMaker
from admlops.synthetic.course import Course
from admlops.synthetic.light import Light
from admlops.synthetic.motion import Drive, Parked, Walk, make_profile
from admlops.synthetic.world import (
    CROSSING_GAP,
    CROSSING_WIDTH,
    KERB_WIDTH,
    Arm,
    Lane,
    World,
)

Array = NDArray[np.float64]

EGO_WIDTH = 1.9
LANE_MARGIN = 0.25  # between the ego vehicle and its lane's lines
MAX_ASIDE = 0.6  # from its lane's middle, the same over a scene


@dataclass(frozen=True)
class Plan:
    """How the ego vehicle drives in a scene: over which lanes, and whether it turns at the junction."""

    ego: Drive
    lanes: tuple[Lane, Lane]
    turns: bool


def plan_ego(world: World, order: int, random: np.random.Generator) -> Plan:
    """The drive of the `order`-th scene of a location: along the main road, back along it, or a turn."""
    drive = (order + world.first_drive) % 3
    turns, backwards = drive == 2, drive == 1
    start_arm, end_arm = ("main_out", "main_in") if backwards else ("main_in", "main_out")
    direction = -1 if backwards else 1
    if turns:
        connector = next(
            c
            for c in world.connectors
            if c.start.arm == start_arm and c.end.arm.startswith("cross") and _is_near(world, c.course)
        )
    else:
        index = int(random.integers(0, world.arms[start_arm].lanes_per_direction))
        lane = world.lane(start_arm, direction, index)
        connector = next(c for c in world.connectors if c.start == lane and c.end.arm == end_arm)
    course = connector.start.course.then(connector.course, connector.end.course)
    profile = make_profile(course, float(random.uniform(7.0, 9.0)), random)
    approach = connector.start.course.length - float(random.uniform(20, 60))
    aside = float(random.uniform(-1, 1)) * min(MAX_ASIDE, (connector.width - EGO_WIDTH) / 2 - LANE_MARGIN)
    return Plan(Drive(profile, profile.time_at(approach), aside), (connector.start, connector.end), turns)


def populate(world: World, plan: Plan, duration: float, light: Light, random: np.random.Generator) -> list[Actor]:
    """Everyone but the ego vehicle, for a scene of `duration` [s]."""
    make = ActorMaker(random, lamps=light.lamps)
    middle = plan.ego.pose(duration / 2)[:2]
    reach = 95.0 + plan.ego.speed(0) * duration / 2
    actors = _follow_traffic(world, plan, duration, make, random)
    actors += _queue_cross_traffic(world, plan, make, random)
    actors += _park_cars(world, plan, make, random)
    if not plan.turns:
        actors += _set_up_works(world, plan, make, random)
    actors += _people_walkways(world, duration, make, random)
    actors += _people_crossings(world, plan, duration, make, random)
    actors += _place_cycles(world, make, random)
    near = [actor for actor in actors if np.hypot(*(actor.motion.pose(duration / 2)[:2] - middle)) < reach]
    return [actor.named(index) for index, actor in enumerate(near)]


def _is_near(world: World, course: Course) -> bool:
    """Tell whether a turn is the short one, not across the oncoming traffic."""
    return any(piece.curvature * world.drive_side > 0 for piece in course.pieces)


def _follow_traffic(
    world: World, plan: Plan, duration: float, make: ActorMaker, random: np.random.Generator
) -> list[Actor]:
    """Moving vehicles: in the ego's lane ahead and behind, and in the oncoming inner lane."""
    profile = plan.ego.profile
    offsets = float(random.uniform(2.6, 3.6)), float(random.uniform(6.0, 7.5)), -float(random.uniform(2.6, 4.0))
    actors = [
        make.vehicle(Drive(profile, plan.ego.offset + offset, float(random.uniform(-0.2, 0.2))), large=0.12)
        for offset in offsets
    ]
    direction = -plan.lanes[0].direction
    ends = ("main_out", "main_in") if direction < 0 else ("main_in", "main_out")
    start = world.lane(ends[0], direction, 0)
    if not plan.turns:
        connector = next(c for c in world.connectors if c.start == start and c.end.arm == ends[1])
        oncoming = make_profile(
            start.course.then(connector.course, connector.end.course), float(random.uniform(7.5, 9.5)), random
        )
        meet = oncoming.time_at(oncoming.course.length - plan.ego.arc(0.0))
        offset = meet - duration - 9.0
        while offset < meet + 9.0:
            actors.append(make.vehicle(Drive(oncoming, offset, float(random.uniform(-0.2, 0.2))), large=0.2))
            offset += float(random.uniform(2.6, 6.0))
    return actors


def _queue_cross_traffic(world: World, plan: Plan, make: ActorMaker, random: np.random.Generator) -> list[Actor]:
    """Vehicles that wait at the stop lines of the cross road."""
    actors = []
    for name, direction in (("cross_in", 1), ("cross_out", -1)):
        arm = world.arms[name]
        for index in range(arm.lanes_per_direction):
            course = world.lane(name, direction, index).course
            at = course.length - arm.stop_distance - 1.2
            for _ in range(int(random.integers(0, 3))):
                actor = make.vehicle(Parked(0, 0, 0), large=0.1, state="vehicle.stopped")
                length = actor.size[1]
                x, y, heading = course.poses(at - length / 2)[0]
                actors.append(actor.moved(Parked(float(x), float(y), float(heading))))
                at -= length + float(random.uniform(1.2, 2.4))
    return actors


def _park_cars(world: World, plan: Plan, make: ActorMaker, random: np.random.Generator) -> list[Actor]:
    """Cars along the kerb of the oncoming side, and in the car park."""
    actors = []
    direction = -plan.lanes[0].direction
    for name in ("main_in", "main_out"):
        arm = world.arms[name]
        lane = world.lane(name, direction, arm.lanes_per_direction - 1)
        kerbside = world.drive_side * (lane.width / 2 - 1.2)
        ends = (
            (8.0, lane.course.length - 24.0)
            if (direction > 0) == arm.junction_at_end
            else (20.0, lane.course.length - 8)
        )
        at = ends[0]
        while at < ends[1]:
            if random.random() < 0.6 and _clear_of_crossing(arm, lane, at):
                x, y, heading = lane.course.shifted(kerbside).poses(at)[0]
                wobble = float(random.normal(0, 0.02))
                actors.append(make.car(Parked(float(x), float(y), float(heading + wobble)), state="vehicle.parked"))
            at += float(random.uniform(6.2, 11.0))
    ring = np.asarray(world.carpark.exterior.coords)
    along, across = ring[1] - ring[0], ring[-2] - ring[0]
    heading = float(np.arctan2(across[1], across[0]))
    for k in range(9):
        if random.random() < 0.35:
            x, y = ring[0] + along * (k + 0.8) / 10.4 + across * 0.24
            turned = heading + (np.pi if random.random() < 0.5 else 0.0)
            actors.append(make.car(Parked(float(x), float(y), float(turned)), state="vehicle.parked"))
    return actors


def _clear_of_crossing(arm: Arm, lane: Lane, at: float) -> bool:
    if arm.midblock_crossing is None:
        return True
    along = at if lane.direction > 0 else arm.course.length - at
    return abs(along - arm.midblock_crossing) > 9.0


def _set_up_works(world: World, plan: Plan, make: ActorMaker, random: np.random.Generator) -> list[Actor]:
    """Cones that taper off the outer lane on the ego's side, barriers behind them, a truck of the works."""
    lane_out = plan.lanes[1]
    last = world.arms[lane_out.arm].lanes_per_direction - 1
    if lane_out.index == last:
        return []  # the ego vehicle's own lane stays open
    outer = world.lane(lane_out.arm, lane_out.direction, last).course
    begin = float(random.uniform(14, 22))
    side = world.drive_side
    actors = []
    for k in range(7):
        inwards = lane_out.width / 2 - 0.35 - max(0, 4 - k) * 0.7
        x, y, heading = outer.shifted(-side * inwards).poses(begin + 2.6 * k)[0]
        actors.append(make.cone(Parked(float(x), float(y), float(heading + random.uniform(-np.pi, np.pi)))))
    for k in range(6):
        x, y, heading = outer.shifted(-side * 1.2).poses(begin + 20 + 2.35 * k)[0]
        actors.append(make.barrier(Parked(float(x), float(y), float(heading + np.pi / 2)), red=k % 2 == 0))
    x, y, heading = outer.shifted(side * 0.3).poses(begin + 30)[0]
    actors.append(make.truck(Parked(float(x), float(y), float(heading)), state="vehicle.parked"))
    for _ in range(2):
        x, y, heading = outer.poses(begin + float(random.uniform(13, 24)))[0]
        actors.append(make.pedestrian(Parked(float(x), float(y), float(random.uniform(-3, 3))), worker=True))
    return actors


def _people_walkways(world: World, duration: float, make: ActorMaker, random: np.random.Generator) -> list[Actor]:
    """People on both walkways of the arms, some standing."""
    actors = []
    for arm in world.arms.values():
        for side in (-1.0, 1.0):
            for _ in range(int(random.integers(3, 7))):
                offset = side * (arm.half_width + KERB_WIDTH + float(random.uniform(0.6, 2.4)))
                course = arm.course.shifted(offset)
                pace = float(random.uniform(0.9, 1.6))
                room = course.length - 12.0 - pace * duration
                if random.random() < 0.3 or room < 8.0:
                    x, y, _ = course.poses(float(random.uniform(6, course.length - 6)))[0]
                    actors.append(make.pedestrian(Parked(float(x), float(y), float(random.uniform(-np.pi, np.pi)))))
                    continue
                if random.random() < 0.5:
                    course = course.reversed()
                # People gather towards the junction, where the scenes are.
                share = random.beta(1.0, 2.2) if (course.poses(0)[0, 2] - arm.course.heading) % (2 * np.pi) > 1 else 0.0
                share = float(share or random.beta(1.2, 1.6))
                actors.append(make.pedestrian(Walk(course, 6.0 + room * share, pace)))
    return actors


def _people_crossings(
    world: World, plan: Plan, duration: float, make: ActorMaker, random: np.random.Generator
) -> list[Actor]:
    """People who cross the arms that the ego vehicle does not drive on."""
    actors = []
    used = {lane.arm for lane in plan.lanes}
    for arm in world.arms.values():
        if arm.name in used or not arm.has_crossing or arm.name.startswith("main"):
            continue
        for _ in range(int(random.integers(2, 5))):
            along = arm.at(CROSSING_GAP + float(random.uniform(0.5, CROSSING_WIDTH - 0.5)))
            x, y, heading = arm.course.poses(along)[0]
            pace = float(random.choice([-1.0, 1.0])) * float(random.uniform(0.8, 1.4))
            turn = heading + np.sign(pace) * np.pi / 2
            begin = float(random.uniform(-arm.half_width - 2.0, arm.half_width * 0.6))
            end = arm.half_width + 2.4
            pace = min(abs(pace), (end - begin) / max(duration, 1e-3))
            course = Course(float(x), float(y), float(turn), ())
            actors.append(make.pedestrian(Walk(course, begin, pace)))
    return actors


def _place_cycles(world: World, make: ActorMaker, random: np.random.Generator) -> list[Actor]:
    """Riders near the kerb, a parked bicycle and motorcycle, and a bicycle rack on the walkway."""
    actors = []
    for name in ("cross_in", "cross_out"):
        arm = world.arms[name]
        for direction in (1, -1):
            lane = world.lane(name, direction, arm.lanes_per_direction - 1)
            outgoing = (direction > 0) != arm.junction_at_end
            if outgoing and random.random() < 0.7:
                course = lane.course.shifted(world.drive_side * 1.1)
                actors.append(
                    make.cycle(
                        Walk(course, float(random.uniform(4, 30)), float(random.uniform(3, 5))),
                        motor=random.random() < 0.4,
                        rider=True,
                    )
                )
    for name in ("main_in", "main_out"):
        arm = world.arms[name]
        side = float(random.choice([-1.0, 1.0]))
        course = arm.course.shifted(side * (arm.half_width + KERB_WIDTH + 0.9))
        place = arm.at(float(random.uniform(14, 34)))
        x, y, heading = course.poses(place)[0]
        actors.append(
            make.cycle(
                Parked(float(x), float(y), float(heading + random.uniform(-0.3, 0.3))),
                motor=name == "main_in",
                rider=False,
            )
        )
        if name == "main_out":
            x, y, heading = course.poses(arm.at(float(random.uniform(38, 46))))[0]
            actors.append(make.rack(Parked(float(x), float(y), float(heading + np.pi / 2))))
    return actors
