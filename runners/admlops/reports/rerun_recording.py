"""A run as a recording for the Rerun viewer: every sample's pictures, points, boxes and lines on a timeline.

Rerun (the package `rerun-sdk`) is the optional extra `admlops[rerun]` and is imported only here. Entities:

```
world                          the global frame, moved so that a scene's first ego position is its origin
world/ego_path                 where the vehicle drives in the scene
world/ego                      the ego vehicle's pose (x forward, y left, z up)
world/ego/lidar                the sweep, coloured by height
world/ego/{truth,predictions}/{boxes,lines}
world/cameras/<CAMERA>         the camera's pose when it fired, its intrinsics, its picture
sample                         scene, token, and what cannot be shown
```

Timelines: `sample`, the number in the run; `time`, the sample's own.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.errors import AdmlopsError, StorageError, UsageError
from admlops.core.paths import find_layout
from admlops.core.storage import explain_os_error
from admlops.datasets.nuscenes.sweeps import sweep_in_ego
from admlops.datasets.nuscenes.tables import rotation_matrix
from admlops.reports.camera_view import CAMERA_ORDER
from admlops.reports.lidar_view import has_lidar
from admlops.reports.pictures import ON_PHOTO
from admlops.reports.scene_view import Box, Cutoffs, Line, Samples, SceneView, view_sample
from admlops.results.record import Record
from admlops.results.run_folder import RunFolder

SUFFIX = ".rrd"
LOCK = "install/rerun.txt"
HEIGHT_M = (-0.5, 3.5)
RAMP = np.array([[0x33, 0x40, 0x50], [0x5D, 0x74, 0x90], [0xA9, 0xBD, 0xD2], [0xFF, 0xF3, 0xC4]])
"""Colours of points by height: the ground is dim."""
BACKGROUND = [0x0F, 0x13, 0x18]
EYE_M, TARGET_M = (-26.0, 0.0, 15.0), (9.0, 0.0, 0.0)
"""The viewer's first eye and target in the ego frame: from behind the vehicle, as on the page."""
IMAGE_PLANE_M = 2.0
LAYERS = {True: "truth", False: "predictions"}

Pose = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What was written: how many samples, and a sentence for each file that could not be shown."""

    path: Path
    samples: int
    notes: tuple[str, ...]


def load_rerun() -> Any:
    """The Rerun SDK.

    Raises:
        UsageError: it is not installed; the hint is the command that installs it.
    """
    try:
        return importlib.import_module("rerun")
    except ImportError as error:
        raise UsageError(
            f"--rerun needs the Rerun SDK, which is not installed here ({error})", hint=_install_command()
        ) from error


def write_recording(
    target: Path,
    run: RunFolder,
    data: Samples,
    *,
    scenes: Sequence[str] = (),
    cutoffs: Cutoffs | None = None,
    watch: Callable[[int], None] | None = None,
) -> Recorded:
    """Write the samples of a run, or of some of its `scenes`, to `target`, whole or not at all.

    `cutoffs` are the operating points, as of `view_sample`. `watch` gets the number of samples done. A picture or sweep
    that cannot be read is left out and named in `notes`.

    Raises:
        UsageError: the SDK is not installed, the file's name does not end in .rrd, or the run has no such scene.
        DataError: the data set does not hold a sample of the run.
        RecordError: a record is not a standard record.
        StorageError: the file cannot be written; an older one is as it was.
    """
    rerun = load_rerun()
    if target.suffix != SUFFIX:
        raise UsageError(f"--rerun {target} does not end in {SUFFIX}", hint=f"--rerun {target.with_suffix(SUFFIX)}")
    names = _check_scenes(run, scenes)
    with _write_whole(target) as file:
        recording = _Recording(rerun, run, file)
        try:
            for scene in names:
                recording.add_scene(list(run.records_of(scene)), data, cutoffs, watch)
            recording.finish()
        finally:
            recording.stream.disconnect()
    return Recorded(path=target, samples=recording.samples, notes=tuple(dict.fromkeys(recording.notes)))


def _install_command() -> str:
    """The command that installs the SDK: by uv if it is there, else pip; locked packages if this is a checkout."""
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    lock = find_layout().root / LOCK
    what = f"--require-hashes --no-deps -r {lock}" if lock.is_file() else "'admlops[rerun]'"
    if uv is None:
        return f"{sys.executable} -m pip install {what}"
    return f"{uv} pip install --python {sys.executable} {what}"


def _check_scenes(run: RunFolder, wanted: Sequence[str]) -> list[str]:
    there = run.complete_scenes()
    unknown = next((name for name in wanted if name not in there), None)
    if unknown is not None:
        listed = ", ".join(there[:5]) or "none yet"
        raise UsageError(f"{run.header.run} has no records of the scene {unknown}", hint=f"its scenes: {listed}")
    if not there:
        raise UsageError(f"{run.header.run} has no records yet", hint=run.header.resume_command)
    return list(wanted) or there


@contextmanager
def _write_whole(target: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `target` at the end."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise explain_os_error(error, target) from error
    try:
        os.close(descriptor)
        yield Path(temporary)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except OSError as error:
        raise explain_os_error(error, target) from error
    finally:
        with suppress(OSError):
            Path(temporary).unlink()


class _Recording:
    """A recording that is written as it grows: after each sample, its bytes are on the disk and out of memory."""

    def __init__(self, rerun: Any, run: RunFolder, file: Path) -> None:
        self.rerun = rerun
        self.file = file
        self.samples = 0
        self.notes: list[str] = []
        # The same run gives the same recording, and two runs stand side by side in the viewer.
        self.stream = rerun.RecordingStream("admlops", recording_id=run.header.run)
        self.stream.save(file)
        self.stream.send_recording_name(run.header.run)
        self.stream.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        self.cameras: list[str] = []

    def add_scene(
        self, records: Sequence[Record], data: Samples, cutoffs: Cutoffs | None, watch: Callable[[int], None] | None
    ) -> None:
        poses = [data.sample(record.metadata.sample_token)["ego2global"] for record in records]
        origin = np.asarray(poses[0]["translation"], dtype=np.float64)
        path = np.array([pose["translation"] for pose in poses]) - origin
        for record in records:
            view = view_sample(record, data, cutoffs=cutoffs)
            assert view.sample is not None
            self.stream.set_time("sample", sequence=self.samples)
            self.stream.set_time("time", timestamp=np.datetime64(view.sample["timestamp_us"], "us"))
            self._log("world/ego_path", self.rerun.LineStrips3D([path], colors=[0x9A, 0xA4, 0xAF]))
            self._add_sample(view, origin)
            self.samples += 1
            if watch is not None:
                watch(self.samples)

        self._flush()

    def finish(self) -> None:
        self.stream.send_blueprint(self._blueprint())
        self._flush()

    def _flush(self) -> None:
        """Wait for the SDK's thread, which writes: it stops at the first thing that it cannot write."""
        try:
            self.stream.flush()
        except RuntimeError as error:
            hint = f"df -h {self.file.parent}   # is there space, and may one file be this large?"
            raise StorageError(f"the recording could not be written: {error}", hint=hint) from error

    def _log(self, entity: str, archetype: Any) -> None:
        self.stream.log(entity, archetype)

    def _add_sample(self, view: SceneView, origin: NDArray[np.float64]) -> None:
        assert view.sample is not None
        notes = list(view.notes)
        self._log("world/ego", self._transform(view.sample["ego2global"], origin))
        if has_lidar(view):
            notes += self._attempt("world/ego/lidar", lambda entity: self._add_points(entity, view))
        for is_truth, layer in LAYERS.items():
            self._add_boxes(f"world/ego/{layer}/boxes", [box for box in view.boxes if box.is_truth is is_truth])
            self._add_lines(f"world/ego/{layer}/lines", [line for line in view.lines if line.is_truth is is_truth])
        for name, camera in view.sample["cameras"].items():
            if name not in self.cameras:
                self.cameras.append(name)
            add = partial(self._add_camera, camera=camera, origin=origin)
            notes += self._attempt(f"world/cameras/{name}", add)
        said = "".join(f"\n\n{note}" for note in notes)
        self._log("sample", self.rerun.TextDocument(f"{view.model}, {view.scene}\n\nsample {view.token}{said}"))
        self.notes += notes

    def _attempt(self, entity: str, add: Callable[[str], None]) -> list[str]:
        """Add what is read from files, or say why not and clear the entity, so that no earlier sample stays in view."""
        try:
            add(entity)
        except AdmlopsError as error:
            said = f"{error.message}. Next: {error.hint}"
        except OSError as error:
            said = f"{error.filename} cannot be read: {error.strerror}"
        else:
            return []
        self._log(entity, self.rerun.Clear(recursive=False))
        return [said]

    def _transform(self, pose: Pose, origin: NDArray[np.float64]) -> Any:
        translation = np.asarray(pose["translation"], dtype=np.float64) - origin
        return self.rerun.Transform3D(translation=translation, mat3x3=rotation_matrix(pose["rotation_wxyz"]))

    def _add_points(self, entity: str, view: SceneView) -> None:
        assert view.sample is not None
        points, _ = sweep_in_ego(view.sample["lidar"])
        self._log(entity, self.rerun.Points3D(points, colors=_colours(points[:, 2]), radii=[-1.5]))

    def _add_boxes(self, entity: str, boxes: Sequence[Box]) -> None:
        self._log(
            entity,
            self.rerun.Boxes3D(
                centers=np.array([box.center for box in boxes]).reshape(-1, 3),
                # Rerun's sizes are along x, y, z: length, width, height.
                sizes=np.array([box.size_wlh for box in boxes]).reshape(-1, 3)[:, [1, 0, 2]],
                quaternions=np.array([box.rotation_wxyz for box in boxes]).reshape(-1, 4)[:, [1, 2, 3, 0]],
                colors=[_colour(box) for box in boxes],
                fill_mode="majorwireframe",
                labels=[_label(box) for box in boxes],
                show_labels=False,
            ),
        )

    def _add_lines(self, entity: str, lines: Sequence[Line]) -> None:
        strips = [
            line.points if line.points.shape[1] == 3 else np.column_stack([line.points, np.zeros(len(line.points))])
            for line in lines
        ]
        labels, colours = [_label(line) for line in lines], [_colour(line) for line in lines]
        self._log(entity, self.rerun.LineStrips3D(strips, colors=colours, labels=labels, show_labels=False))

    def _add_camera(self, entity: str, *, camera: Mapping[str, Any], origin: NDArray[np.float64]) -> None:
        content = Path(camera["path"]).read_bytes()
        ego, mounted = camera["ego2global"], camera["sensor2ego"]
        turned = rotation_matrix(ego["rotation_wxyz"])
        place = turned @ np.asarray(mounted["translation"]) + np.asarray(ego["translation"]) - origin
        rotation = turned @ rotation_matrix(mounted["rotation_wxyz"])
        self._log(entity, self.rerun.Transform3D(translation=place, mat3x3=rotation))
        pinhole = self.rerun.Pinhole(
            image_from_camera=camera["intrinsic"],
            resolution=[camera["width"], camera["height"]],
            camera_xyz=self.rerun.ViewCoordinates.RDF,
            image_plane_distance=IMAGE_PLANE_M,
        )
        self._log(entity, pinhole)
        self._log(entity, self.rerun.EncodedImage(contents=content, media_type=_media_type(content)))

    def _blueprint(self) -> Any:
        """The scene from behind the vehicle, the pictures with boxes and lines projected into them, and the text."""
        blueprint = importlib.import_module("rerun.blueprint")
        drawn = [f"/world/ego/{layer}/**" for layer in LAYERS.values()]
        pictures = [
            blueprint.Spatial2DView(origin=f"/world/cameras/{name}", name=name, contents=["$origin/**", *drawn])
            for name in (*(name for name in CAMERA_ORDER if name in self.cameras), *self._others())
        ]
        scene = blueprint.Spatial3DView(
            origin="/world/ego",
            contents=["/world/**"],
            name="Scene",
            background=BACKGROUND,
            eye_controls=blueprint.EyeControls3D(position=EYE_M, look_target=TARGET_M),
        )
        text = blueprint.TextDocumentView(origin="/sample", name="Sample")
        beside = blueprint.Vertical(blueprint.Grid(*pictures, grid_columns=2), text, row_shares=[5, 1])
        return blueprint.Blueprint(
            blueprint.Horizontal(scene, beside, column_shares=[3, 2]), collapse_panels=True, auto_views=False
        )

    def _others(self) -> list[str]:
        """The cameras that have no place in nuScenes' mosaic."""
        return [name for name in self.cameras if name not in CAMERA_ORDER]


def _colours(heights: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = HEIGHT_M
    places = np.clip((heights - low) / (high - low), 0, 1) * (len(RAMP) - 1)
    channels = [np.interp(places, range(len(RAMP)), RAMP[:, channel]) for channel in range(3)]
    return np.asarray(np.round(np.stack(channels, axis=1)), dtype=np.uint8)


def _colour(thing: Box | Line) -> list[int]:
    role = thing.role if thing.role in ("miss", "false_alarm") else "truth" if thing.is_truth else "prediction"
    return list(bytes.fromhex(ON_PHOTO[role].removeprefix("#")))


def _label(thing: Box | Line) -> str:
    said = {"hit": "", "miss": ", missed", "false_alarm": ", false alarm", "unknown": ""}
    return thing.label + said[thing.role]


def _media_type(content: bytes) -> str:
    return "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
