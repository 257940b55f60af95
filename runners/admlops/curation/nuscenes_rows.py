"""nuScenes' JSON tables as SQL tables: `sample_rows` and, beside it by `number`, poses, counts of boxes, places.

Definitions, all in the global frame seen from above. The vehicle is where the ego pose of LIDAR_TOP's key frame says.
Its speed and yaw rate at a sample are differences between the samples before and after, at a scene's ends between the
sample and its one neighbour. An object's velocity is nuscenes-devkit's `box_velocity`: the same difference, not known
where the annotations are more than 1.5 s apart a step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from admlops.core.errors import DataError
from admlops.core.nuscenes_classes import CATEGORY_CLASSES
from admlops.curation.columns import CYCLES, MOVING_MPS, VEHICLES, Source
from admlops.curation.table_files import read_table
from admlops.datasets.json_tables import HasTables
from admlops.datasets.nuscenes.annotations import LIDAR, MAX_VELOCITY_GAP_S, UNPACK
from admlops.datasets.nuscenes.can_bus import CanBus
from admlops.datasets.nuscenes.map_areas import measure_areas

if TYPE_CHECKING:
    import duckdb

SPLITS = ("mini_train", "mini_val", "train", "val", "test")
"""The official ones; a scene in two of them belongs to the later one here."""
IN_CAMERAS = "its samples have several cameras; --kind images looks at each picture"
TRAINING_SPLITS = ("train", "mini_train")
"""Models are trained on the first of these that has scenes."""
LOGGED_AT = r"-\d{4}-\d{2}-\d{2}-(\d{2})-\d{2}-\d{2}"
"""The hour in a log's name, such as n015-2018-07-24-11-22-45+0800: local time."""

_SCENES = """
CREATE TABLE scenes AS
SELECT scene.token, scene.name AS scene, coalesce(scene.description, '') AS description,
    coalesce(log.location, '') AS location,
    CASE WHEN NOT bool_or(coalesce(scene.description, '') != '') OVER () THEN NULL
        WHEN contains(lower(scene.description), 'night') THEN 'night' ELSE 'day' END AS light,
    CASE WHEN NOT bool_or(coalesce(scene.description, '') != '') OVER () THEN NULL
        WHEN contains(lower(scene.description), 'rain') THEN 'rain' ELSE 'dry' END AS weather,
    TRY_CAST(nullif(regexp_extract(coalesce(log.logfile, ''), ?, 1), '') AS BIGINT) AS hour,
    scene.place
FROM (SELECT *, row_number() OVER () AS place FROM scene_table) AS scene
LEFT JOIN log_table AS log ON log.token = scene.log_token
"""
_SAMPLES = """
CREATE TABLE sample_rows AS
SELECT CAST(row_number() OVER (ORDER BY place, timestamp) - 1 AS INTEGER) AS number, sample.token AS sample,
    scene, location, description, light, weather, hour, CAST(NULL AS VARCHAR) AS split,
    row_number() OVER (PARTITION BY place ORDER BY timestamp) - 1 AS index_in_scene,
    1e-6 * (timestamp - min(timestamp) OVER (PARTITION BY place)) AS time_s, timestamp AS timestamp_us
FROM sample_table AS sample JOIN scenes ON scenes.token = sample.scene_token
"""
_KEYS = """
CREATE TABLE keys AS
WITH lidars AS (
    SELECT mounted.token, mounted.translation AS lidar_translation, mounted.rotation AS lidar_rotation
    FROM calibrated_sensor_table AS mounted JOIN sensor_table AS sensor ON sensor.token = mounted.sensor_token
    WHERE sensor.channel = ?
)
SELECT sample_token, ego_pose_token, timestamp, lidar_translation, lidar_rotation
FROM {frames} AS frame JOIN lidars ON lidars.token = frame.calibrated_sensor_token WHERE is_key_frame
"""
_POSES = """
CREATE TABLE pose_rows AS
WITH posed AS (
    SELECT number, scene, 1e-6 * keys.timestamp AS t, translation[1] AS x, translation[2] AS y, translation, rotation,
        lidar_translation, lidar_rotation,
        atan2(2 * (rotation[2] * rotation[3] + rotation[1] * rotation[4]),
            rotation[1] ** 2 + rotation[2] ** 2 - rotation[3] ** 2 - rotation[4] ** 2) AS yaw
    FROM sample_rows JOIN keys ON keys.sample_token = sample_rows.sample
    JOIN pose_table AS pose ON pose.token = keys.ego_pose_token
), around AS (
    SELECT *, lag(t, 1, t) OVER w AS t0, lag(x, 1, x) OVER w AS x0, lag(y, 1, y) OVER w AS y0,
        lag(yaw, 1, yaw) OVER w AS yaw0, lead(t, 1, t) OVER w AS t1, lead(x, 1, x) OVER w AS x1,
        lead(y, 1, y) OVER w AS y1, lead(yaw, 1, yaw) OVER w AS yaw1
    FROM posed WINDOW w AS (PARTITION BY scene ORDER BY number)
)
SELECT number, x, y, yaw, translation, rotation, lidar_translation, lidar_rotation,
    CASE WHEN t1 > t0 THEN sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2) / (t1 - t0) END AS speed,
    CASE WHEN t1 > t0 THEN atan2(sin(yaw1 - yaw0), cos(yaw1 - yaw0)) / (t1 - t0) END AS yaw_rate,
    CASE WHEN t1 > t AND t > t0 THEN (sqrt((x1 - x) ** 2 + (y1 - y) ** 2) / (t1 - t)
        - sqrt((x - x0) ** 2 + (y - y0) ** 2) / (t - t0)) / ((t1 - t0) / 2) END AS acceleration,
    CASE WHEN t > t0 THEN sqrt((x - x0) ** 2 + (y - y0) ** 2) END AS moved_m,
    CASE WHEN t > t0 THEN t - t0 END AS since_s
FROM around
"""
_BOXES = f"""
CREATE TABLE boxes AS
WITH placed AS (
    SELECT sample_rows.number AS sample, instance.number AS instance, class, timestamp_us AS t,
        box.translation[1] AS x, box.translation[2] AS y,
        CAST(sqrt((box.translation[1] - pose_rows.x) ** 2 + (box.translation[2] - pose_rows.y) ** 2) AS FLOAT)
            AS distance,
        CAST(CASE WHEN visibility_token IN ('1', '2', '3', '4') THEN visibility_token ELSE '0' END AS TINYINT)
            AS visibility,
        CAST(num_lidar_pts + num_radar_pts AS INTEGER) AS points
    FROM {{annotations}} AS box
    LEFT JOIN instances AS instance ON instance.token = box.instance_token
    LEFT JOIN sample_rows ON sample_rows.sample = box.sample_token
    LEFT JOIN pose_rows ON pose_rows.number = sample_rows.number
), around AS (
    SELECT *, lag(t, 1, t) OVER w AS t0, lag(x, 1, x) OVER w AS x0, lag(y, 1, y) OVER w AS y0,
        lead(t, 1, t) OVER w AS t1, lead(x, 1, x) OVER w AS x1, lead(y, 1, y) OVER w AS y1
    FROM placed WINDOW w AS (PARTITION BY instance ORDER BY t)
)
SELECT sample, CAST(instance AS INTEGER) AS instance, class, distance, visibility, points,
    CAST(CASE WHEN t1 > t0
        AND 1e-6 * (t1 - t0) <= {MAX_VELOCITY_GAP_S} * (CAST(t > t0 AS INTEGER) + CAST(t1 > t AS INTEGER))
        THEN sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2) / (1e-6 * (t1 - t0)) END AS FLOAT) AS speed,
    CAST(sqrt((x - x0) ** 2 + (y - y0) ** 2) AS FLOAT) AS step_m
FROM around
"""


def _among(names: tuple[str, ...]) -> str:
    return f"class IN ({', '.join(repr(name) for name in names)})"


_COUNTS = f"""
CREATE TABLE box_rows AS
SELECT sample_rows.number, count(instance) AS boxes, count(*) FILTER (points = 0) AS empty_boxes,
    count(*) FILTER (visibility = 1) AS hidden_boxes, count(*) FILTER (speed > {MOVING_MPS}) AS moving,
    count(*) FILTER ({_among(VEHICLES)}) AS vehicles, count(*) FILTER (class = 'pedestrian') AS pedestrians,
    count(*) FILTER ({_among(CYCLES)}) AS cyclists,
    count(*) FILTER (class = 'construction_vehicle') AS construction_vehicles,
    count(*) FILTER (class IN ('traffic_cone', 'barrier')) AS cones_and_barriers,
    min(distance) FILTER ({_among(VEHICLES)}) AS nearest_vehicle_m,
    min(distance) FILTER (class = 'pedestrian') AS nearest_pedestrian_m
FROM sample_rows LEFT JOIN boxes ON boxes.sample = sample_rows.number GROUP BY sample_rows.number
"""


class NuScenesRows:
    """Makes the tables of one data set in `database`, a source at a time."""

    lacking_columns: Mapping[str, str]

    def __init__(self, data: HasTables, database: duckdb.DuckDBPyConnection) -> None:
        self._data = data
        self._folder = data.tables_folder
        self._database = database
        self.lacking_columns = {}

    def read(self, source: Source) -> str | None:
        """Read a source; return why the data set does not have it, None if it does. Raises DataError."""
        readers: Mapping[Source, Callable[[], str | None]] = {
            "scene": self._read_scenes,
            "pose": self._read_poses,
            "boxes": self._read_boxes,
            "map": self._read_map,
            "can_bus": self._read_can_bus,
            "training": self._read_training,
        }
        return readers[source]() if source in readers else IN_CAMERAS

    def _read_scenes(self) -> str | None:
        columns = {"token": "VARCHAR", "name": "VARCHAR", "description": "VARCHAR", "log_token": "VARCHAR"}
        self._table("scene", columns, optional=("description",))
        self._table("log", {"token": "VARCHAR", "location": "VARCHAR", "logfile": "VARCHAR"}, optional=("logfile",))
        self._table("sample", {"token": "VARCHAR", "timestamp": "BIGINT", "scene_token": "VARCHAR"})
        self._run(_SCENES, [LOGGED_AT])
        self._run(_SAMPLES)
        self._refuse(
            "SELECT min(token), count(*) FROM sample_table ANTI JOIN sample_rows ON sample_rows.sample = token",
            "samples are of no scene in scene.json",
        )
        self._run("DROP TABLE scene_table; DROP TABLE log_table; DROP TABLE sample_table")
        names = [str(row[0]) for row in self._run("SELECT scene FROM scenes ORDER BY place")]
        for split, scenes in self._data.scenes_by_split(names).items():
            if split in SPLITS:
                self._run("UPDATE sample_rows SET split = ? WHERE list_contains(?, scene)", [split, list(scenes)])
        known = self._run("SELECT count(light), count(hour) FROM scenes")[0]
        self.lacking_columns = {
            **({} if known[0] else dict.fromkeys(("light", "weather"), "no scene is described in scene.json")),
            **({} if known[1] else {"hour": "no name of a log in log.json has a time"}),
        }
        return None

    def _read_poses(self) -> str | None:
        self._table("sensor", {"token": "VARCHAR", "channel": "VARCHAR"})
        mounted = {"translation": "DOUBLE[]", "rotation": "DOUBLE[]"}
        self._table("calibrated_sensor", {"token": "VARCHAR", "sensor_token": "VARCHAR", **mounted})
        texts = dict.fromkeys(("sample_token", "ego_pose_token", "calibrated_sensor_token"), "VARCHAR")
        frames = read_table(self._folder, "sample_data", {**texts, "is_key_frame": "BOOLEAN", "timestamp": "BIGINT"})
        self._run(_KEYS.replace("{frames}", frames), [LIDAR])
        poses = read_table(self._folder, "ego_pose", {"token": "VARCHAR", **mounted})
        self._run(f"CREATE TABLE pose_table AS SELECT * FROM {poses} WHERE token IN (SELECT ego_pose_token FROM keys)")
        self._run(_POSES)
        self._run("DROP TABLE pose_table; DROP TABLE keys; DROP TABLE calibrated_sensor_table; DROP TABLE sensor_table")
        self._refuse(
            "SELECT min(sample), count(*) FROM sample_rows LEFT JOIN pose_rows USING (number) WHERE yaw IS NULL",
            f"samples have no pose at a {LIDAR} key frame",
        )
        self._refuse(
            "SELECT min(number), count(*) FROM (SELECT number FROM pose_rows GROUP BY number HAVING count(*) > 1)",
            f"samples have more than one {LIDAR} key frame",
        )
        return None

    def _read_boxes(self) -> str | None:
        if not (self._folder / "sample_annotation.json").is_file():
            return f"{self._folder} has no sample_annotation.json"
        self._table("category", {"token": "VARCHAR", "name": "VARCHAR"})
        self._table("instance", {"token": "VARCHAR", "category_token": "VARCHAR"})
        classes = {"name": np.array(list(CATEGORY_CLASSES)), "class": np.array(list(CATEGORY_CLASSES.values()))}
        self._database.register("class_table", {name: values.astype(object) for name, values in classes.items()})
        self._run(
            "CREATE TABLE instances AS SELECT instance.token, row_number() OVER () AS number, "
            "coalesce(class_table.class, category.name) AS class FROM instance_table AS instance "
            "JOIN category_table AS category ON category.token = instance.category_token "
            "LEFT JOIN class_table ON class_table.name = category.name"
        )
        self._database.unregister("class_table")
        names = [row[0] for row in self._run("SELECT DISTINCT class FROM instances ORDER BY class")]
        self._run(f"CREATE TYPE class_name AS ENUM ({', '.join(map(_quote, names)) or _quote('none')})")
        self._run("ALTER TABLE instances ALTER class TYPE class_name")
        kinds = {
            **dict.fromkeys(("token", "sample_token", "instance_token"), "VARCHAR"),
            "translation": "DOUBLE[]",
            "num_lidar_pts": "INTEGER",
            "num_radar_pts": "INTEGER",
            "visibility_token": "VARCHAR",
        }
        rows = read_table(self._folder, "sample_annotation", kinds)
        self._run("SET preserve_insertion_order = false")
        self._run(_BOXES.replace("{annotations}", rows))
        self._run("DROP TABLE instances; DROP TABLE instance_table; DROP TABLE category_table")
        self._refuse(
            "SELECT NULL, count(*) FROM boxes WHERE sample IS NULL OR instance IS NULL OR distance IS NULL "
            "OR points IS NULL",
            "rows of sample_annotation.json lack a value, or name a sample or an instance that is not there",
        )
        self._run(_COUNTS)
        return None

    def _read_map(self) -> str | None:
        rows = self._arrays(
            "SELECT number, location, x, y FROM sample_rows JOIN pose_rows USING (number) ORDER BY number"
        )
        number, location = np.asarray(rows["number"]), np.asarray(rows["location"])
        positions = np.stack([np.asarray(rows["x"]), np.asarray(rows["y"])], axis=1)
        places = np.full((2, len(number)), np.nan)
        reason = None
        for name in sorted(set(location.tolist())):
            own = location == name
            try:
                found = measure_areas(self._data.root / "maps" / "expansion" / f"{name}.json", positions[own])
            except DataError as error:
                reason = error.message
                continue
            places[:, own] = found.intersection, found.crossing
        if np.isnan(places).all():
            return reason or "there are no samples"
        self._add("map_rows", {"number": number, "intersection_m": places[0], "crossing_m": places[1]})
        return None

    def _read_can_bus(self) -> str | None:
        if not (self._data.root / "can_bus").is_dir():
            return f"{self._data.root} has no can_bus/, the CAN bus expansion"
        can_bus = CanBus(self._data.root)
        rows = self._run("SELECT number, scene, timestamp_us FROM sample_rows ORDER BY number")
        steering = np.full(len(rows), np.nan)
        for place, (_, scene, timestamp_us) in enumerate(rows):
            around = can_bus.around(scene, timestamp_us)
            if around is not None and around["steering"] is not None:
                steering[place] = around["steering"]["value"]
        self._add("can_bus_rows", {"number": np.array([row[0] for row in rows]), "steering_rad": steering})
        return None

    def _read_training(self) -> str | None:
        rows = self._arrays(
            "SELECT number, location, split, x, y FROM sample_rows JOIN pose_rows USING (number) ORDER BY number"
        )
        split = np.ma.filled(rows["split"], "")
        own = next((name for name in TRAINING_SPLITS if (split == name).any()), None)
        if own is None:
            return "no scene of a training split is in the tables"
        location, number = np.asarray(rows["location"]), np.asarray(rows["number"])
        positions = np.stack([np.asarray(rows["x"]), np.asarray(rows["y"])], axis=1)
        distances = np.full(len(number), np.inf)
        for name in set(location[split == own].tolist()):
            tree = cKDTree(positions[(split == own) & (location == name)])
            here = location == name
            distances[here] = tree.query(positions[here])[0]
        self._add("training_rows", {"number": number, "training_m": distances})
        return None

    def _table(self, name: str, kinds: Mapping[str, str], *, optional: tuple[str, ...] = ()) -> None:
        """Read a small table whole, as `<name>_table`. Raises DataError: a row lacks a value that is needed."""
        self._run(f"CREATE TABLE {name}_table AS SELECT * FROM {read_table(self._folder, name, kinds)}")
        needed = [key for key in kinds if key not in optional]
        lacking = " + ".join(f"count(*) - count({key})" for key in needed)
        row = self._run(f"SELECT {lacking} FROM {name}_table")[0]
        if row[0]:
            raise DataError(
                f"{self._folder / name}.json: {row[0]} values of {', '.join(needed)} are missing", hint=UNPACK
            )

    def _refuse(self, sql: str, what: str) -> None:
        """Raise DataError where a query finds rows; it gives the first one's name, if it has one, and their number."""
        name, count = self._run(sql)[0]
        if count:
            first = f", first {name}" if name is not None else ""
            raise DataError(f"{self._folder}: {count} {what}{first}", hint=UNPACK)

    def _add(self, name: str, columns: Mapping[str, Any]) -> None:
        self._database.register("given", dict(columns))
        self._run(f"CREATE TABLE {name} AS SELECT * FROM given")
        self._database.unregister("given")

    def _run(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of our own SQL. Raises DataError: a file is not what it should be."""
        with self._explained():
            return list(self._database.execute(sql, list(parameters)).fetchall())

    def _arrays(self, sql: str) -> Mapping[str, Any]:
        """Return the answer of our own SQL as arrays by column. Raises DataError as `_run`."""
        with self._explained():
            found: Mapping[str, Any] = self._database.execute(sql).fetchnumpy()
            return found

    @contextmanager
    def _explained(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except (duckdb.InvalidInputException, duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise DataError(
                f"{self._folder}: {re.sub(r'^[A-Za-z ]+ Error: ', '', str(error).splitlines()[0])}", hint=UNPACK
            ) from error


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
