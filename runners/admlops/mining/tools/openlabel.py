"""OpenLABEL, for objects in space: a file for each scene, as `admlops data convert --to openlabel` writes it.

A file without any cuboid, and with boxes in pictures, is about its pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from admlops.conversion.base import ReadOptions, Target
from admlops.conversion.formats.openlabel import FORMAT
from admlops.conversion.formats.openlabel_writer import OpenLabelWriter
from admlops.conversion.frames import Box2D, Cuboid, SceneFrames
from admlops.core.errors import DataError
from admlops.mining.tools.base import AnnotationTool, Labels


def _write(target: Target, scenes: Iterable[SceneFrames]) -> None:
    writer = OpenLabelWriter(target)
    for scene in scenes:
        writer.add(scene)
    writer.finish()


def _recognise(path: Path) -> bool:
    return FORMAT.recognise is not None and FORMAT.recognise(path)


def _read(path: Path) -> Labels:
    assert FORMAT.read is not None
    recording = FORMAT.read(path, ReadOptions())
    samples: dict[str, tuple[Cuboid, ...]] = {}
    pictures: dict[str, tuple[Box2D, ...]] = {}
    for scene in recording.scenes(recording.scene_names):
        for frame in scene.frames:
            if frame.token in samples:
                raise DataError(f"{path} has the sample {frame.token} twice", hint="leave one of them out")
            samples[frame.token] = frame.cuboids or ()
            pictures |= {camera.name: frame.boxes_2d.get(name, ()) for name, camera in frame.cameras.items()}
    is_flat = not any(samples.values()) and any(pictures.values())
    return Labels(pictures=pictures) if is_flat else Labels(samples=samples)


TOOL = AnnotationTool(id="openlabel", title="OpenLABEL", write=_write, recognise=_recognise, read=_read)
