"""Single pictures in any form that the data kind `images` knows: COCO, YOLO, KITTI, Scalabel, nuImages, a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admlops.conversion.base import DataFormat, ReadOptions
from admlops.conversion.frames import Box2D, Frame, Pose, SceneFrames, SensorFile, Vector3, WithoutMaps
from admlops.datasets.annotations import ImageAnnotation
from admlops.datasets.base import BOXES_2D, IMAGE, HasBoxes2D, find_kind
from admlops.datasets.images.pictures import Images
from admlops.datasets.images.recognition import recognise


@dataclass(frozen=True, kw_only=True)
class ImagesRecording(WithoutMaps):
    """A data set of pictures: each is a frame with one camera."""

    data: Images
    form: str = "images"

    @property
    def root(self) -> Path:
        """The root, a folder or a file."""
        return self.data.root

    @property
    def version(self) -> str:
        """The file with labels, or the form's name."""
        return self.data.version

    @property
    def scene_names(self) -> Sequence[str]:
        """Every folder of pictures."""
        return [scene.name for scene in self.data.scenes()]

    def find_categories(self) -> Sequence[str]:
        """The labels' classes."""
        return self.data.classes_2d()

    def scenes(self, names: Sequence[str]) -> Iterator[SceneFrames]:
        """Give the named scenes."""
        for scene in self.data.scenes(names):
            frames = [self._frame(token) for token in scene.samples]
            is_sequence = len({frame.timestamp_us for frame in frames}) > 1
            yield SceneFrames(name=scene.name, token=scene.token, frames=frames, is_sequence=is_sequence)

    def _frame(self, token: str) -> Frame:
        sample = self.data.sample(token)
        boxes: dict[str, tuple[Box2D, ...]] = {}
        if isinstance(self.data, HasBoxes2D) and BOXES_2D in self.data.capabilities:
            boxes = {name: _to_boxes(one) for name, one in self.data.image_annotations(token).items()}
        file = self._file(token, sample["cameras"][IMAGE])
        return Frame(token=token, timestamp_us=sample["timestamp_us"], files=(file,), boxes_2d=boxes)

    def _file(self, token: str, camera: Mapping[str, Any]) -> SensorFile:
        picture = self.data.picture(token)
        mount = camera.get("sensor2ego")
        intrinsic = camera.get("intrinsic")
        rows: tuple[Vector3, Vector3, Vector3] | None = None
        if intrinsic is not None:
            first, second, third = (tuple(row) for row in intrinsic)
            rows = (first, second, third)
        return SensorFile(
            channel=IMAGE,
            modality="camera",
            name=picture.name.partition("?")[0].removeprefix("https://").removeprefix("http://"),
            path=Path(camera["path"]),
            timestamp_us=picture.timestamp_us,
            width=camera["width"],
            height=camera["height"],
            intrinsic=rows,
            sensor2ego=None if mount is None else Pose(tuple(mount["translation"]), tuple(mount["rotation_wxyz"])),
        )


def _to_boxes(annotation: ImageAnnotation) -> tuple[Box2D, ...]:
    rows = zip(
        annotation.boxes.tolist(),
        annotation.classes,
        annotation.ignore.tolist(),
        annotation.areas.tolist(),
        strict=True,
    )
    return tuple(
        Box2D(xyxy=(x1, y1, x2, y2), category=name, ignore=ignore, area=area)
        for (x1, y1, x2, y2), name, ignore, area in rows
    )


def _recognise(root: Path) -> bool:
    """Whether these are pictures and nothing that a kind of data set describes more closely, such as OpenLane-V2."""
    return recognise(root) and find_kind(root).id == Images.kind


def _read(root: Path, options: ReadOptions) -> ImagesRecording:
    return ImagesRecording(data=Images(root, options.version))


FORMAT = DataFormat(id="images", title="pictures", holds=frozenset(), recognise=_recognise, read=_read)
