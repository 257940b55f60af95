"""The thirteen tables: fixed rows of the nuScenes schema, and the rows that one scene adds."""

from __future__ import annotations

from typing import Any

from admlops.synthetic.options import SceneSpec
from admlops.synthetic.randomness import make_token
from admlops.synthetic.rig import CAMERA_CHANNELS, LIDAR_CHANNEL, Sensor

Row = dict[str, Any]

TABLES = (
    "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample",
    "sample_annotation", "sample_data", "scene", "sensor", "visibility",
)  # fmt: skip

CATEGORIES = {
    "animal": "All animals.",
    "human.pedestrian.adult": "An adult pedestrian.",
    "human.pedestrian.child": "A child pedestrian.",
    "human.pedestrian.construction_worker": "A construction worker.",
    "human.pedestrian.personal_mobility": "A person on a small electric or self-propelled vehicle.",
    "human.pedestrian.police_officer": "A police officer.",
    "human.pedestrian.stroller": "A stroller.",
    "human.pedestrian.wheelchair": "A wheelchair and its user.",
    "movable_object.barrier": "A temporary road barrier.",
    "movable_object.debris": "Debris on the road.",
    "movable_object.pushable_pullable": "Something that can be pushed or pulled, such as a bin.",
    "movable_object.trafficcone": "A traffic cone.",
    "static_object.bicycle_rack": "A rack for bicycles, with those in it.",
    "vehicle.bicycle": "A bicycle.",
    "vehicle.bus.bendy": "An articulated bus.",
    "vehicle.bus.rigid": "A rigid bus.",
    "vehicle.car": "A car or van for personal use.",
    "vehicle.construction": "A construction vehicle.",
    "vehicle.emergency.ambulance": "An ambulance.",
    "vehicle.emergency.police": "A police vehicle.",
    "vehicle.motorcycle": "A motorcycle.",
    "vehicle.trailer": "A trailer.",
    "vehicle.truck": "A truck.",
}
ATTRIBUTES = {
    "vehicle.moving": "The vehicle moves.",
    "vehicle.stopped": "The vehicle stands, with its driver, and means to move on.",
    "vehicle.parked": "The vehicle is parked.",
    "cycle.with_rider": "There is a rider on the cycle.",
    "cycle.without_rider": "There is no rider on the cycle.",
    "pedestrian.sitting_lying_down": "The person sits or lies.",
    "pedestrian.standing": "The person stands.",
    "pedestrian.moving": "The person walks.",
}
VISIBILITY = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}


def fixed_rows() -> dict[str, list[Row]]:
    """All tables, with the rows that every data set has."""
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
    rows["category"] = [{"token": category_token(n), "name": n, "description": d} for n, d in CATEGORIES.items()]
    rows["attribute"] = [{"token": attribute_token(n), "name": n, "description": d} for n, d in ATTRIBUTES.items()]
    rows["visibility"] = [
        {"token": token, "level": level, "description": f"visibility of the whole object is {level[1:]} %"}
        for token, level in VISIBILITY.items()
    ]
    rows["sensor"] = [
        {
            "token": sensor_token(channel),
            "channel": channel,
            "modality": "lidar" if channel == LIDAR_CHANNEL else "camera",
        }
        for channel in (*CAMERA_CHANNELS, LIDAR_CHANNEL)
    ]
    return rows


def category_token(name: str) -> str:
    return make_token("category", name)


def attribute_token(name: str) -> str:
    return make_token("attribute", name)


def sensor_token(channel: str) -> str:
    return make_token("sensor", channel)


def calibration_row(token: str, sensor: Sensor) -> Row:
    return {
        "token": token,
        "sensor_token": sensor_token(sensor.channel),
        "translation": list(sensor.translation),
        "rotation": list(sensor.rotation),
        "camera_intrinsic": [list(row) for row in sensor.intrinsic],
    }


def map_row(seed: int, location: str, log_tokens: list[str]) -> Row:
    token = make_token("map", seed, location)
    return {"token": token, "log_tokens": log_tokens, "category": "semantic_prior", "filename": f"maps/{token}.png"}


def log_row(token: str, spec: SceneSpec, date: str) -> Row:
    logfile = f"synthetic-{spec.name}"
    return {
        "token": token,
        "logfile": logfile,
        "vehicle": "synthetic",
        "date_captured": date,
        "location": spec.location,
    }


def link_chain(rows: list[Row]) -> None:
    """Set `prev` and `next` of rows in time order."""
    for index, row in enumerate(rows):
        row["prev"] = rows[index - 1]["token"] if index else ""
        row["next"] = rows[index + 1]["token"] if index + 1 < len(rows) else ""
