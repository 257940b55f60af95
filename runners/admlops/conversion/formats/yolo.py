"""YOLO's text files: a line is `class cx cy width height`, shares of the picture's sides; `data.yaml` names classes.

Pictures lie in `images/`, labels under the same names in `labels/`.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import yaml

from admlops.conversion.base import DataFormat, Target
from admlops.conversion.frames import Frame, Recording, SceneFrames, SensorFile
from admlops.conversion.seen import SeenBox, list_seen

FILE = "data.yaml"


class YoloWriter:
    """Writes a text file for each annotated picture."""

    def __init__(self, target: Target, recording: Recording) -> None:
        self._target = target
        self._classes: dict[str, int] = {}
        for name in recording.find_categories():
            self._number(name)
        target.losses.clear()

    def add(self, scene: SceneFrames) -> None:
        """Take every picture of a scene."""
        for frame in scene.frames:
            for camera in frame.cameras.values():
                self._add_picture(frame, camera)

    def finish(self) -> None:
        """Write data.yaml."""
        content = {"path": ".", "train": "images", "val": "images", "names": list(self._classes)}
        self._target.write(FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())

    def _add_picture(self, frame: Frame, camera: SensorFile) -> None:
        self._target.placer.place(camera.path, f"images/{camera.name}")
        seen = list_seen(frame, camera, rule=self._target.options.rule)
        if seen is None:
            self._target.lose("unannotated", "in YOLO's form a picture that nobody annotated holds nothing")
            seen = []
        lines = [self._line(one, camera) for one in seen]
        name = PurePosixPath("labels", camera.name).with_suffix(".txt").as_posix()
        self._target.write(name, "".join(line for line in lines if line).encode())

    def _line(self, one: SeenBox, camera: SensorFile) -> str:
        number = None if one.box.ignore else self._number(one.box.category)
        if number is None:
            return ""
        x1, y1, x2, y2 = one.box.xyxy
        width, height = camera.width, camera.height
        shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        return f"{number} {' '.join(f'{value:.9g}' for value in shares)}\n"

    def _number(self, category: str) -> int | None:
        name = self._target.class_of(category)
        return None if name is None else self._classes.setdefault(name, len(self._classes))


FORMAT = DataFormat(id="yolo", title="YOLO", holds=frozenset({"pictures", "boxes_2d"}), write=YoloWriter)
