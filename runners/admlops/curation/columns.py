"""The columns of a sample that conditions and rules are written in: `speed < 5`, `light = 'night'`.

One table of them holds for `--where`, for rules of tags and for statistics; docs/data-stats.md shows it. A column whose
source a data set does not have is not there: `find_lacking` says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["scene", "pose", "boxes", "map", "can_bus", "training", "pictures"]
"""What has to be read for a column."""

ORDER: tuple[Source, ...] = ("scene", "pose", "boxes", "map", "can_bus", "training", "pictures")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One value of a sample: `kind` is SQL's type; NULL stands where a sample does not have it."""

    name: str
    kind: Literal["VARCHAR", "BIGINT", "DOUBLE"]
    source: Source
    says: str
    unit: str = ""


def _column(name: str, kind: Literal["VARCHAR", "BIGINT", "DOUBLE"], source: Source, unit: str, says: str) -> Column:
    return Column(name=name, kind=kind, source=source, unit=unit, says=says)


COLUMNS: tuple[Column, ...] = (
    _column("sample", "VARCHAR", "scene", "", "The sample's token."),
    _column("scene", "VARCHAR", "scene", "", "The scene's name."),
    _column("split", "VARCHAR", "scene", "", "The official split of the scene, such as train or mini_val."),
    _column("location", "VARCHAR", "scene", "", "The map that the scene lies on."),
    _column("description", "VARCHAR", "scene", "", "The annotators' remark on the scene."),
    _column("light", "VARCHAR", "scene", "", "day or night, from the description."),
    _column("weather", "VARCHAR", "scene", "", "dry or rain, from the description."),
    _column("hour", "BIGINT", "scene", "h", "The local hour of the recording, 0 to 23, from the name of the log."),
    _column("index_in_scene", "BIGINT", "scene", "", "The sample's number in its scene, from 0."),
    _column("time_s", "DOUBLE", "scene", "s", "The time since the scene's first sample."),
    _column("speed", "DOUBLE", "pose", "m/s", "The vehicle's, between the samples before and after."),
    _column("yaw_rate", "DOUBLE", "pose", "rad/s", "The vehicle's, between the same; positive to the left."),
    _column("acceleration", "DOUBLE", "pose", "m/s²", "The change of speed between the intervals before and after."),
    _column("moved_m", "DOUBLE", "pose", "m", "How far the vehicle is from where it was at the sample before."),
    _column("boxes", "BIGINT", "boxes", "", "Annotated objects."),
    _column("empty_boxes", "BIGINT", "boxes", "", "Of these without a LiDAR or radar point."),
    _column("hidden_boxes", "BIGINT", "boxes", "", "Of these with the lowest visibility, up to 40 %."),
    _column("moving", "BIGINT", "boxes", "", "Objects faster than 0.5 m/s."),
    _column("vehicles", "BIGINT", "boxes", "", "Cars, trucks, buses, trailers and construction vehicles."),
    _column("pedestrians", "BIGINT", "boxes", "", "Pedestrians."),
    _column("cyclists", "BIGINT", "boxes", "", "Bicycles and motorcycles, ridden or not."),
    _column("construction_vehicles", "BIGINT", "boxes", "", "Construction vehicles."),
    _column("cones_and_barriers", "BIGINT", "boxes", "", "Traffic cones and barriers."),
    _column("nearest_vehicle_m", "DOUBLE", "boxes", "m", "The distance of the nearest vehicle's centre."),
    _column("nearest_pedestrian_m", "DOUBLE", "boxes", "m", "The distance of the nearest pedestrian's centre."),
    _column("intersection_m", "DOUBLE", "map", "m", "The distance to the nearest intersection; 0 within."),
    _column("crossing_m", "DOUBLE", "map", "m", "The distance to the nearest pedestrian crossing; 0 on it."),
    _column("steering_rad", "DOUBLE", "can_bus", "rad", "The steering wheel's angle; positive to the left."),
    _column("training_m", "DOUBLE", "training", "m", "The distance to the nearest training sample of the same map."),
    _column("pictures", "BIGINT", "pictures", "", "Pictures of the sample."),
    _column("width_px", "BIGINT", "pictures", "px", "The width of its first picture."),
    _column("height_px", "BIGINT", "pictures", "px", "The height of its first picture."),
)
BY_NAME = {column.name: column for column in COLUMNS}

VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle")
CYCLES = ("bicycle", "motorcycle")
MOVING_MPS = 0.5
