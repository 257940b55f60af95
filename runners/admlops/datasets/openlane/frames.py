"""An OpenLane-V2 data set as the host sees it: scenes, samples and the ground truth of lane graphs.

Frames come through `worker.samples.openlane`, the reader that adapters use as well; annotations are read here only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from admlops.core.errors import DataError
from admlops.core.paths import user_path
from admlops.datasets.annotations import LaneAnnotation
from admlops.datasets.base import CONTEXT, LANES, Scene, check_scene_names
from admlops.datasets.json_faults import describe_fault
from admlops.worker.samples import nuscenes as tables
from admlops.worker.samples.openlane import OpenLane, list_versions

POINT_INTERVAL = 20
"""Of a centreline's 201 points, every 20th counts in evaluation (devkit, data/OpenLane-V2/preprocess.py)."""
WHOLE_SPLIT = "train"
"""The split whose centrelines keep all their points there."""


class _Lane(msgspec.Struct, gc=False):
    points: list[tuple[float, float, float]]


class _Element(msgspec.Struct, gc=False):
    attribute: int
    points: tuple[tuple[float, float], tuple[float, float]]


class _Annotation(msgspec.Struct, gc=False):
    lane_centerline: list[_Lane]
    traffic_element: list[_Element]
    topology_lclc: list[list[float]]
    topology_lcte: list[list[float]]


class _Info(msgspec.Struct, gc=False):
    sensor: dict[str, Any]
    pose: dict[str, Any]


class _AnnotatedInfo(msgspec.Struct, gc=False):
    annotation: _Annotation | UnsetType | None = UNSET


class OpenLaneV2:
    """A data set root and version, `subset_A` or `subset_B`; None takes the only one that is there.

    Raises:
        DataError: the root or the version is missing, or there are several; from the methods: a frame is not whole.
    """

    kind: ClassVar[str] = "openlanev2"
    capabilities: ClassVar[frozenset[str]] = frozenset({LANES, CONTEXT})
    has_context: ClassVar[bool] = True

    def __init__(self, root: Path, version: str | None = None) -> None:
        self.root = user_path(root).resolve()
        self.version = _choose_version(self.root, version)
        with self._explained():
            self._frames = OpenLane(str(self.root), self.version)

    @property
    def is_synthetic(self) -> bool:
        """Tell whether `admlops data synthesize` made this data set."""
        return (self.root / "synthetic.json").is_file()

    def scenes(self, names: Iterable[str] | None = None) -> list[Scene]:
        """The named scenes in that order, or all in the list's order. Raises DataError for an unknown name."""
        with self._explained():
            known = self._frames.scene_names()
            wanted = known if names is None else list(names)
            check_scene_names(wanted, known, self.root / self.version)
            return [self._scene(name) for name in wanted]

    def scenes_of_split(self, split: str) -> list[Scene]:
        """The scenes of `train`, `val` or `test`, or of `all`."""
        if split == "all":
            return self.scenes()
        if not self._frames.splits.get(split):
            known = ", ".join((*self._frames.splits, "all"))
            raise DataError(
                f"{self.root} has no split {split!r} of {self.version}; it has {known}",
                hint=f"pass --split with one of: {known}",
            )
        return self.scenes(f"{split}-{segment}" for segment in self._frames.splits[split])

    def splits(self) -> dict[str, int]:
        """How many scenes of each split are here; splits without any are left out."""
        return {name: len(segments) for name, segments in self._frames.splits.items() if segments}

    def sample(self, token: str) -> dict[str, Any]:
        """Return what an adapter gets for one frame; see docs/architecture.md."""
        with self._explained():
            return self._frames.sample(token, msgspec.to_builtins(self._read(token, _Info)))

    def context(self, token: str) -> dict[str, Any]:
        """The neighbouring frames' tokens, empty at the ends of a scene, and where the scene lies."""
        name = token.rpartition("-")[0]
        with self._explained():
            self._frames.info_path(token)  # says so if there is no such frame
            tokens = self._frames.samples_of_scene(name)
        place = tokens.index(token)
        return {
            "prev": tokens[place - 1] if place else "",
            "next": tokens[place + 1] if place + 1 < len(tokens) else "",
            "location": self.version,  # OpenLane-V2 names no map
        }

    def missing_files(self, token: str) -> list[Path]:
        """The pictures of a frame that are not there or empty."""
        paths = (Path(camera["path"]) for camera in self.sample(token)["cameras"].values())
        return [path for path in paths if not path.is_file() or path.stat().st_size == 0]

    def lane_annotation(self, token: str) -> LaneAnnotation:
        """The ground truth of a frame, as the devkit keeps it for evaluation: single precision, every 20th point.

        Raises:
            DataError: there is none (the test split), or it is not whole.
        """
        annotation = self._annotation(token)
        if annotation is None:
            raise DataError(
                f"frame {token} of {self.root} has no annotation, so nothing can be measured on it",
                hint="run the model on --split val; for the test split, send the predictions to the server",
            )
        return annotation

    def count_annotations(self, tokens: Iterable[str]) -> dict[str, int]:
        """Count the annotations of each kind in these frames; those of the test split hold nothing."""
        counts = {"lanes": 0, "traffic_elements": 0}
        for token in tokens:
            annotation = self._annotation(token)
            if annotation is not None:
                counts["lanes"] += len(annotation.lanes)
                counts["traffic_elements"] += len(annotation.elements)
        return counts

    def _annotation(self, token: str) -> LaneAnnotation | None:
        with self._explained():
            path = self._frames.info_path(token)
            annotation = self._read(token, _AnnotatedInfo).annotation
        if not isinstance(annotation, _Annotation):
            return None
        return _to_arrays(annotation, step=1 if token.startswith(f"{WHOLE_SPLIT}-") else POINT_INTERVAL, where=path)

    def _scene(self, name: str) -> Scene:
        tokens = tuple(self._frames.samples_of_scene(name))
        return Scene(name=name, token=name.partition("-")[2], location=self.version, samples=tokens)

    def _read(self, token: str, kind: type[Any]) -> Any:
        path = Path(self._frames.info_path(token))
        content = b""
        try:
            content = path.read_bytes()
            return msgspec.json.decode(content, type=kind)
        except FileNotFoundError:
            raise tables.DataError(f"{path} is missing") from None
        except OSError as error:
            raise tables.DataError(f"{path} cannot be read: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise tables.DataError(f"{path} is not a frame of OpenLane-V2: {describe_fault(content, error)}") from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the frame reader raises into our DataError, with the next command to type."""
        try:
            yield
        except tables.DataError as error:
            hint = f"check --data {self.root} and --version {self.version}, or unpack it again"
            raise DataError(str(error), hint=hint) from error


def _choose_version(root: Path, asked: str | None) -> str:
    versions = list_versions(str(root))
    if not versions:
        raise _no_version(root)
    if asked is None and len(versions) == 1:
        return versions[0]
    if asked not in versions:
        said = f"{root} holds {', '.join(versions)}" + ("" if asked is None else f" and no {asked}")
        raise DataError(said, hint=f"pass --version {versions[0]}")
    return asked


def _no_version(root: Path) -> DataError:
    pickles = sorted(path.name for path in root.glob("data_dict_*.pkl")) if root.is_dir() else []
    if pickles:
        return DataError(
            f"{root} is OpenLane-V2 with {pickles[0]} alone: data_dict_subset_A.json or data_dict_subset_B.json is "
            "missing, and the devkit's pickles are not read",
            hint=f"unpack OpenLane-V2_subset_A.tar, which holds data_dict_subset_A.json, in {root}",
        )
    return DataError(
        f"{root} holds no OpenLane-V2 data set: there is no data_dict_subset_A.json or data_dict_subset_B.json",
        hint=f"admlops data synthesize {root} --format openlane-v2   # or pass --data with such a folder",
    )


def _to_arrays(annotation: _Annotation, *, step: int, where: str) -> LaneAnnotation:
    lanes, elements = annotation.lane_centerline, annotation.traffic_element
    shapes = {"topology_lclc": (len(lanes), len(lanes)), "topology_lcte": (len(lanes), len(elements))}
    matrices = {}
    for name, shape in shapes.items():
        rows = getattr(annotation, name)
        if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
            raise DataError(f"{where}: {name} is not {shape[0]} x {shape[1]}", hint="unpack the frames again")
        matrices[name] = np.array(rows, dtype=np.int8).reshape(shape)
    if any(not lane.points for lane in lanes):
        raise DataError(f"{where}: a lane has no points", hint="unpack the frames again")
    return LaneAnnotation(
        lanes=tuple(np.array(lane.points[::step], dtype=np.float32) for lane in lanes),
        elements=np.array([element.points for element in elements], dtype=np.float32).reshape(-1, 4),
        attributes=np.array([element.attribute for element in elements], dtype=np.int64),
        lane_to_lane=matrices["topology_lclc"],
        lane_to_traffic=matrices["topology_lcte"],
    )
