"""Writing synthetic scenes in the layout of OpenLane-V2's subset A: pictures, frames and the list of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops import __version__
from admlops.core.types import Watch
from admlops.datasets.nuscenes.splits import MINI_VAL
from admlops.synthetic.openlane_elements import list_elements, place_signs, see_elements
from admlops.synthetic.openlane_lanes import cut_pieces, list_centrelines, relate
from admlops.synthetic.openlane_rig import CAMERA_CHANNELS, FRONT, lift_to_axle, make_cameras
from admlops.synthetic.options import CameraOptions, SceneSpec, list_scenes
from admlops.synthetic.randomness import make_generator
from admlops.synthetic.renderer import Backdrop, make_backdrop, render_camera
from admlops.synthetic.rig import Sensor
from admlops.synthetic.stage import KEYFRAME_S, Stage, set_stage
from admlops.synthetic.writer import map_scenes, place_data_set, write_json

Array = NDArray[np.float64]

VERSION = "subset_A"
RECIPE = 1
"""Incremented whenever the same options come to give other frames."""
JPEG_QUALITY = 90
DECIMALS = 6
"""Micrometres: the files stay small, and nothing here is that exact."""
FIRST_SEGMENT = {"train": 0, "val": 10_000}
"""The numbers of the data set's first segments by split."""


@dataclass(frozen=True, kw_only=True)
class OpenLaneOptions(CameraOptions):
    """`scenes` of `samples` frames at 2 Hz; `scale` times the size of Argoverse 2's pictures."""


def synthesize_openlane(
    target: Path,
    options: OpenLaneOptions,
    *,
    on_progress: Watch | None = None,
    force: bool = False,
    workers: int | None = None,
    dry_run: bool = False,
) -> bool:
    """Write a synthetic data set in the layout of OpenLane-V2's subset A to `target`.

    The worlds, drives and traffic are those that `writer.synthesize` records for the same seed; direction signs are
    added. The first two scenes are the split `val`, the others `train`. The same options give the same bytes. Returns
    False, and does nothing, if `target` already holds exactly this data set; with `dry_run` it writes nothing and
    returns the same answer.

    Raises:
        UsageError: an option is out of range, or `target` holds another synthetic data set and `force` is not
            given, or something that is not one.
        StorageError: `target` cannot be written; nothing of the data set is left behind.
    """
    options.check()
    marker = {
        "synthetic": True,
        "admlops": __version__,
        "recipe": RECIPE,
        "version": VERSION,
        "options": {"format": "openlane-v2", **options.as_dict()},
    }

    def write(folder: Path) -> None:
        specs = list_scenes(options.of_world())
        record = partial(record_segment, options=options, folder=folder)
        segments = map_scenes(record, specs, options.samples, on_progress=on_progress, workers=workers)
        listed: dict[str, dict[str, list[str]]] = {}
        for spec, stamps in zip(specs, segments, strict=True):
            split, segment = name_segment(spec)
            listed.setdefault(split, {})[segment] = [f"{stamp}.json" for stamp in stamps]
        write_json(folder / f"data_dict_{VERSION}.json", listed)

    return place_data_set(target, marker, write, force=force, dry_run=dry_run)


def name_segment(spec: SceneSpec) -> tuple[str, str]:
    """Split and segment of a scene."""
    split = "val" if spec.name in MINI_VAL else "train"
    first = spec.index if split == "val" else spec.index - len(MINI_VAL)
    return split, f"{FIRST_SEGMENT[split] + first:05d}"


def record_segment(
    spec: SceneSpec, progress: Callable[[], None], *, options: OpenLaneOptions, folder: Path
) -> list[str]:
    """Record a scene's files below `folder`; returns its timestamps. `progress` is called after each frame."""
    recorder = _Recorder(spec, options, folder)
    return [stamp for sample in range(options.samples) for stamp in recorder.record(sample, progress)]


class _Recorder:
    def __init__(self, spec: SceneSpec, options: OpenLaneOptions, folder: Path) -> None:
        stage = set_stage(spec, options.of_world())
        self.stage = replace(stage, props=(*stage.props, *place_signs(stage.world)))
        self.options = options
        self.cameras = make_cameras(options.scale)
        self.backdrops = _make_backdrops(stage, self.cameras, options.seed)
        self.lines = list_centrelines(stage.world)
        self.elements = list_elements(stage.world)
        self.split, self.segment = name_segment(spec)
        self.root = folder
        self.folder = Path(self.split) / self.segment
        for channel in CAMERA_CHANNELS:
            (folder / self.folder / "image" / channel).mkdir(parents=True)
        (folder / self.folder / "info").mkdir()

    def record(self, sample: int, progress: Callable[[], None]) -> Iterator[str]:
        time = sample * KEYFRAME_S
        stamp = str((self.stage.start_us + round(time * 1e6)) * 1000)
        pose = lift_to_axle(self.stage.ego_pose(time))
        frame = {
            "version": "1.1",
            "segment_id": self.segment,
            "meta_data": {"source": "admlops synthetic", "source_id": self.stage.spec.name},
            "timestamp": int(stamp),
            "sensor": {camera.channel: self._record_camera(camera, pose, time, stamp) for camera in self.cameras},
            "pose": {"rotation": pose[:3, :3].tolist(), "translation": pose[:3, 3].tolist()},
            "annotation": self._annotate(pose, time),
        }
        write_json(self.root / self.folder / "info" / f"{stamp}.json", frame)
        progress()
        yield stamp

    def _record_camera(self, camera: Sensor, pose: Array, time: float, stamp: str) -> dict[str, Any]:
        random = make_generator("openlane", self.options.seed, self.stage.spec.name, camera.channel, stamp)
        things, casters = self.stage.place(time)
        image = render_camera(self.backdrops[camera.channel], camera, pose, things, casters, random)
        path = self.folder / "image" / camera.channel / f"{stamp}.jpg"
        image.save(self.root / path, quality=JPEG_QUALITY)
        return {
            "image_path": path.as_posix(),
            "extrinsic": {
                "rotation": camera.to_ego[:3, :3].tolist(),
                "translation": list(camera.translation),
            },
            "intrinsic": {"K": [list(row) for row in camera.intrinsic], "distortion": [0.0, 0.0, 0.0]},
        }

    def _annotate(self, pose: Array, time: float) -> dict[str, Any]:
        front = next(camera for camera in self.cameras if camera.channel == FRONT)
        pieces = cut_pieces(self.lines, pose)
        seen = see_elements(self.stage, self.elements, front, pose, time, scale=self.options.scale)
        return {
            "lane_centerline": [
                {
                    "id": piece.identifier,
                    "points": piece.points.round(DECIMALS).tolist(),
                    "is_intersection_or_connector": piece.line.in_junction,
                }
                for piece in pieces
            ],
            "traffic_element": [
                {
                    "id": one.element.identifier,
                    "category": one.element.category,
                    "attribute": one.element.attribute,
                    "points": one.box.round(DECIMALS).reshape(2, 2).tolist(),
                }
                for one in seen
            ],
            "topology_lclc": relate(pieces).tolist(),
            "topology_lcte": [[int(one.element.governs(piece.line, self.lines)) for one in seen] for piece in pieces],
        }


def _make_backdrops(stage: Stage, cameras: tuple[Sensor, ...], seed: int) -> dict[str, Backdrop]:
    """A backdrop for each camera: one for the upright one, one for the others, because sizes differ."""
    random = make_generator("openlane-backdrop", seed, stage.spec.name)
    shared = stage.backdrop
    backdrops = {}
    for upright in (True, False):
        own = tuple(camera for camera in cameras if (camera.channel == FRONT) == upright)
        backdrop = make_backdrop(shared.ground, shared.panorama, shared.light, own, random)
        backdrops.update({camera.channel: backdrop for camera in own})
    return backdrops
