"""A nuScenes data set as the host sees it: scenes, samples and ground truth.

Tables come through `worker.samples.nuscenes`, the reader that adapters use as well; annotations are read here only.
Boxes are given in the ego frame of the key frame (ego pose of LIDAR_TOP): metres, x forward, y left, z up.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from admlops.core.errors import DataError
from admlops.core.nuscenes_classes import CATEGORY_CLASSES
from admlops.core.paths import user_path
from admlops.core.types import Watch
from admlops.datasets.annotations import Annotations, SampleScene
from admlops.datasets.annotations import GroundTruthBox as GroundTruthBox
from admlops.datasets.base import BOXES_3D, CAN_BUS, CONTEXT, LIDAR, MAP, Problem, check_scene_names
from admlops.datasets.base import Scene as Scene
from admlops.datasets.base import tokens_digest as tokens_digest
from admlops.datasets.json_tables import TABLES
from admlops.datasets.nuscenes.annotations import read_annotations, read_scenes
from admlops.datasets.nuscenes.splits import official_splits
from admlops.datasets.nuscenes.versions import is_version, list_versions
from admlops.worker.samples import nuscenes as tables
from admlops.worker.samples.quaternions import multiply_quaternions
from admlops.worker.samples.sample_index import SampleIndex, has_index

MAX_VELOCITY_GAP_S = 1.5
"""A velocity is stated only where the neighbouring key frames are no further than this (twice it when two-sided)."""

Matrix = NDArray[np.float64]


class NuScenes:
    """A data set root and version. Tables are read when they are first asked for: those of nuScenes take a minute.

    Raises:
        DataError: the root, the version or a table is missing; from the methods: a table is not whole.
    """

    kind: ClassVar[str] = "nuscenes"
    capabilities: ClassVar[frozenset[str]] = frozenset({BOXES_3D, MAP, LIDAR, CAN_BUS, CONTEXT, TABLES})

    def __init__(self, root: Path, version: str) -> None:
        self.root = user_path(root).resolve()
        self.version = version
        folder = self.root / version
        if not folder.is_dir():
            raise _no_version(self.root, version)
        for name in tables.TABLES:
            if not (folder / f"{name}.json").is_file():
                raise DataError(f"{folder / name}.json is missing", hint=f"unpack {version} in {self.root} again")

    @functools.cached_property
    def _tables(self) -> tables.Tables | SampleIndex:
        if not has_index(str(self.root), self.version):
            with _explained(self.root, self.version):
                return tables.Tables(str(self.root), self.version)
        try:
            return SampleIndex(str(self.root), self.version)
        except tables.DataError as error:
            raise DataError(
                str(error), hint=f"admlops data index {self.root} --version {self.version}   # makes the index anew"
            ) from error

    @property
    def is_synthetic(self) -> bool:
        """Tell whether `admlops data synthesize` made this data set."""
        return (self.root / "synthetic.json").is_file()

    def scenes(self, names: Iterable[str] | None = None) -> list[Scene]:
        """The named scenes in that order, or all in table order. Raises DataError for an unknown name."""
        with _explained(self.root, self.version):
            known = self._tables.scene_names()
            wanted = known if names is None else list(names)
            check_scene_names(wanted, known, self.root / self.version)
            return [self._scene(name) for name in wanted]

    def scenes_of_split(self, split: str) -> list[Scene]:
        """The scenes of a split: an official one, `all`, or one that `splits.json` beside the tables defines.

        `mini_train` and `mini_val` are scenes of v1.0-mini and v1.0-trainval, `train` and `val` of v1.0-trainval alone;
        `test` is all of v1.0-test.

        Raises:
            DataError: there is no such split of this version, or none of its scenes is here.
        """
        if split == "all":
            return self.scenes()
        known = set(self._tables.scene_names())
        names = [name for name in self._split_names(split) if name in known]
        if not names:
            raise DataError(
                f"none of the scenes of split {split} is in {self.root / self.version}",
                hint="pass --split all, or --scene NAME with one of: " + ", ".join(sorted(known)[:5]),
            )
        return self.scenes(names)

    def sample(self, token: str) -> dict[str, Any]:
        """Return what an adapter gets for one sample; see docs/architecture.md."""
        with _explained(self.root, self.version):
            return self._tables.sample(token)

    @property
    def has_context(self) -> bool:
        """Tell whether there is an index, which holds what lies around each sample."""
        return has_index(str(self.root), self.version)

    def context(self, token: str) -> dict[str, Any]:
        """Return what lies around a sample, for models that look back; see `worker.samples.sample_index`.

        Raises:
            DataError: there is no index, or no such sample.
        """
        if not isinstance(self._tables, SampleIndex):
            raise DataError(
                f"{self.root} has no index for {self.version}",
                hint=f"admlops data index {self.root} --version {self.version}",
            )
        with _explained(self.root, self.version):
            return self._tables.context(token)

    def missing_files(self, token: str) -> list[Path]:
        """The files of a key frame's cameras and LiDAR that are not there or empty."""
        sample = self.sample(token)
        paths = (Path(sensor["path"]) for sensor in (*sample["cameras"].values(), sample["lidar"]))
        return [path for path in paths if not path.is_file() or path.stat().st_size == 0]

    def location(self, token: str) -> str:
        """The map that a sample lies on, e.g. `singapore-onenorth`."""
        return self._tables.location(self.sample(token)["scene"])

    def ground_truth(self, token: str) -> list[GroundTruthBox]:
        """The annotated boxes of the detection classes, in table order, in the key frame's ego frame."""
        pose = self.sample(token)["ego2global"]
        return [
            self._box(row, name, pose)
            for row in self._annotations_of_sample.get(token, ())
            if (name := CATEGORY_CLASSES.get(self._category_of_instance[row["instance_token"]])) is not None
        ]

    def annotations(self, tokens: Sequence[str], *, following: int = 0) -> Annotations:
        """The annotated objects of the samples `tokens`, and of `following` samples after each; see `HasBoxes3D`."""
        return read_annotations(self.root, self.version, tokens, following=following)

    def sample_scenes(self) -> Mapping[str, SampleScene]:
        """Every scene by its name, as its annotators described it."""
        return read_scenes(self.root, self.version)

    def training_places(self) -> Mapping[str, Mapping[str, Matrix]]:
        """By map and scene of `train`, or `mini_train`, the positions of samples; see `HasTrainingPlaces`."""
        official = self._official_splits()
        known = set(self._tables.scene_names())
        found: dict[str, dict[str, Matrix]] = defaultdict(dict)
        with _explained(self.root, self.version):
            for name in official.get("train") or official.get("mini_train") or ():
                if name in known:
                    poses = [self._tables.sample(token)["ego2global"] for token in self._tables.samples_of_scene(name)]
                    positions = np.array([pose["translation"][:2] for pose in poses], dtype=np.float64)
                    found[self._tables.location(name)][name] = positions.reshape(-1, 2)
        return found

    def count_annotations(self, tokens: Iterable[str]) -> dict[str, int]:
        """Count the annotations of each kind in these samples."""
        return {"boxes": sum(len(self.ground_truth(token)) for token in tokens)}

    def problems(self, watch: Watch) -> Iterator[Problem]:
        """Give annotations that cannot be measured, LiDAR files that are not whole, then maps that cannot be used."""
        from admlops.datasets.nuscenes.lidar_files import find_lidar_problems
        from admlops.datasets.nuscenes.problems import find_annotation_problems, find_map_problems  # it cuts maps

        watch(0, 1)
        yield from find_lidar_problems(self.root, self.root / self.version, watch)
        yield from find_annotation_problems(self._annotations.values())
        with _explained(self.root, self.version):
            locations = [self._tables.location(name) for name in self._tables.scene_names()]
        yield from find_map_problems(self.root / "maps", locations)
        watch(1, 1)

    def _scene(self, name: str) -> Scene:
        row = self._tables.scene(name)
        samples = tuple(self._tables.samples_of_scene(name))
        return Scene(name=name, token=row["token"], location=self._tables.location(name), samples=samples)

    @property
    def tables_folder(self) -> Path:
        """The folder of the JSON tables; see `HasTables`."""
        return self.root / self.version

    def scenes_by_split(self, scenes: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """By split its scenes, where the tables hold `scenes`; see `HasTables`."""
        return official_splits(self.version, scenes) | self._custom_splits()

    def splits(self) -> dict[str, int]:
        """How many scenes of each split are here; splits without any are left out."""
        with _explained(self.root, self.version):
            known = set(self._tables.scene_names())
            counts = {
                name: len(known.intersection(scenes))
                for name, scenes in (self._official_splits() | self._custom_splits()).items()
            }
        return {name: count for name, count in counts.items() if count}

    def _split_names(self, split: str) -> tuple[str, ...]:
        official = self._official_splits()
        known = {**official, **self._custom_splits()}
        if split not in known:
            raise DataError(
                f"{self.root / self.version} has no split {split!r}; it has {', '.join((*known, 'all'))}",
                hint=f"pass --split {[*official][-1]}, --split all, --scene NAME or --tokens FILE",
            )
        return known[split]

    def _official_splits(self) -> dict[str, tuple[str, ...]]:
        return official_splits(self.version, self._tables.scene_names())

    def _custom_splits(self) -> dict[str, tuple[str, ...]]:
        """The splits of `splits.json`, {split: [scene, …]}, which may lie beside the tables."""
        path = self.root / self.version / "splits.json"
        if not path.is_file():
            return {}
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, tuple[str, ...]])
        except (OSError, msgspec.DecodeError) as error:
            raise DataError(
                f"{path} cannot be read: {error}", hint='write {"NAME": ["scene-0001", …]} there, or remove it'
            ) from error

    def _box(self, row: dict[str, Any], class_name: str, ego2global: dict[str, Any]) -> GroundTruthBox:
        rotation = rotation_matrix(ego2global["rotation_wxyz"])
        center = rotation.T @ (np.asarray(row["translation"]) - np.asarray(ego2global["translation"]))
        velocity = self._velocity(row)
        in_ego = None if velocity is None else rotation.T @ velocity
        w, x, y, z = ego2global["rotation_wxyz"]
        return GroundTruthBox(
            token=row["token"],
            class_name=class_name,
            center=(float(center[0]), float(center[1]), float(center[2])),
            size_wlh=(row["size"][0], row["size"][1], row["size"][2]),
            rotation_wxyz=multiply_quaternions((w, -x, -y, -z), tuple(row["rotation"])),
            velocity=None if in_ego is None else (float(in_ego[0]), float(in_ego[1])),
            num_lidar_pts=row["num_lidar_pts"],
            num_radar_pts=row["num_radar_pts"],
            visibility=row["visibility_token"],
            attribute=self._attribute(row),
        )

    def _attribute(self, row: dict[str, Any]) -> str:
        return self._attribute_names[row["attribute_tokens"][0]] if row["attribute_tokens"] else ""

    def _velocity(self, row: dict[str, Any]) -> Matrix | None:
        """Centred difference of positions [m/s], global frame, as nuscenes-devkit's `box_velocity`."""
        first = self._annotations.get(row["prev"], row)
        last = self._annotations.get(row["next"], row)
        if first is last:
            return None
        gap_s = 1e-6 * (self._time_of_sample[last["sample_token"]] - self._time_of_sample[first["sample_token"]])
        allowed_s = MAX_VELOCITY_GAP_S * (2 if first is not row and last is not row else 1)
        if gap_s > allowed_s or gap_s <= 0:
            return None
        difference: Matrix = np.asarray(last["translation"]) - np.asarray(first["translation"])
        return difference / gap_s

    @functools.cached_property
    def _annotations(self) -> dict[str, dict[str, Any]]:
        return {row["token"]: row for row in self._table("sample_annotation")}

    @functools.cached_property
    def _annotations_of_sample(self) -> dict[str, list[dict[str, Any]]]:
        grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self._annotations.values():
            grouped[row["sample_token"]].append(row)
        return grouped

    @functools.cached_property
    def _category_of_instance(self) -> dict[str, str]:
        names = {row["token"]: str(row["name"]) for row in self._table("category")}
        return {row["token"]: names[row["category_token"]] for row in self._table("instance")}

    @functools.cached_property
    def _attribute_names(self) -> dict[str, str]:
        return {row["token"]: str(row["name"]) for row in self._table("attribute")}

    @functools.cached_property
    def _time_of_sample(self) -> dict[str, int]:
        return {row["token"]: int(row["timestamp"]) for row in self._table("sample")}

    def _table(self, name: str) -> list[dict[str, Any]]:
        with _explained(self.root, self.version):
            return tables.read_table(str(self.root / self.version), name)


def _no_version(root: Path, version: str) -> DataError:
    if not root.is_dir():
        return DataError(
            f"the data set root {root} is not a folder",
            hint=f"admlops data synthesize {root}   # or name the folder that holds {version}/",
        )
    if is_version(root):
        return DataError(
            f"{root} is a folder of tables, not the root of a data set",
            hint=f"name the folder around it, {root.parent}, and pass --version {root.name}",
        )
    there = list_versions(root)
    if there:
        return DataError(f"{root} holds {', '.join(there)} and no {version}", hint=f"pass --version {there[0]}")
    return DataError(
        f"{root} holds no nuScenes data set: there is no folder {version} with tables in it",
        hint=f"ls {root}   # name the folder that holds {version}/; or make one: admlops data synthesize DIR",
    )


@contextmanager
def _explained(root: Path, version: str) -> Iterator[None]:
    """Turn what the table reader raises into our DataError, with the next command to type."""
    try:
        yield
    except tables.DataError as error:
        raise DataError(str(error), hint=f"check --data {root} and --version {version}, or unpack it again") from error
    except KeyError as error:
        raise DataError(
            f"{root / version}: a row lacks the key {error}",
            hint="unpack the tables again, or make a whole data set: admlops data synthesize DIR",
        ) from error


def rotation_matrix(rotation_wxyz: Iterable[float]) -> Matrix:
    """The 3 × 3 rotation matrix of a quaternion w x y z, normalised first."""
    w, x, y, z = np.asarray(tuple(rotation_wxyz), dtype=np.float64) / np.linalg.norm(tuple(rotation_wxyz))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
