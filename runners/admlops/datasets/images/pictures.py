"""A data set of single pictures as the host sees it: scenes, samples, annotated boxes or counts."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from admlops.core.errors import DataError
from admlops.core.paths import user_path
from admlops.core.types import Say, Watch
from admlops.datasets.annotations import ImageAnnotation
from admlops.datasets.base import BOXES_2D, COUNTS, IMAGE, Problem, Scene, check_scene_names
from admlops.datasets.images.contents import Box, Contents, Picture, Size, to_annotation
from admlops.datasets.images.forms.coco import CocoLabels
from admlops.datasets.images.headers import Header, read_header, turn_box, turn_upright
from admlops.datasets.images.recognition import choose
from admlops.datasets.images.remote import cached_path, expected_path, fetch_pictures
from admlops.worker.samples.form import make_picture, make_pose, make_sample

DIGITS = 16
MAX_STEM = 40
IDENTITY = make_pose([0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0])


class Images:
    """A root, a folder or a file, in one of the forms that `recognition` knows; None takes the only one that is there.

    A sample is a picture, with one camera called `IMAGE`. Its token comes from the picture's name in the data set and
    the size of its file, so it is the same wherever the data set is mounted, and differs for other content.

    Raises:
        DataError: it is in no form, or in several; from the methods: labels cannot be read.
    """

    kind: ClassVar[str] = "images"

    def __init__(self, root: Path, version: str | None = None) -> None:
        self.root = user_path(root).resolve()
        self.form, self._survey, self.version = choose(self.root, version)
        self._headers: dict[str, Header | None] = {}

    @cached_property
    def contents(self) -> Contents:
        """What the data set holds."""
        return self.form.open(self._survey, self.version)

    @property
    def files_root(self) -> Path:
        """The folder that paths on the wire are relative to."""
        return self.contents.files_root

    @property
    def capabilities(self) -> frozenset[str]:
        """BOXES_2D where there are labels, COUNTS where objects were counted."""
        there = {BOXES_2D: self.contents.labels, COUNTS: self.contents.counts}
        return frozenset(name for name, what in there.items() if what is not None)

    @property
    def is_synthetic(self) -> bool:
        """Tell whether `admlops data synthesize` made this data set."""
        folder = self.root if self.root.is_dir() else self.root.parent
        return (folder / "synthetic.json").is_file()

    def scenes(self, names: Iterable[str] | None = None) -> list[Scene]:
        """The named scenes in that order, or all. Raises DataError for an unknown name."""
        wanted = self.contents.scenes if names is None else list(names)
        check_scene_names(wanted, self.contents.scenes, self.root)
        return [Scene(name=name, token=name, location="", samples=tuple(self._tokens_of[name])) for name in wanted]

    def scenes_of_split(self, split: str) -> list[Scene]:
        """The scenes of a split that the data set names, or of `all`."""
        if split == "all":
            return self.scenes()
        if split not in self.contents.splits:
            known = ", ".join((*self.contents.splits, "all"))
            raise DataError(f"{self.root} has no split {split!r}; it has {known}", hint="pass --split all")
        return self.scenes(self.contents.splits[split])

    def splits(self) -> dict[str, int]:
        """How many scenes of each split are here; `all` where the data set names none."""
        named = {name: len(scenes) for name, scenes in self.contents.splits.items() if scenes}
        return named or {"all": len(self.contents.scenes)}

    def picture(self, token: str) -> Picture:
        """The picture of a sample. Raises DataError for an unknown token."""
        return self._find(token)[0]

    def picture_name(self, token: str, camera: str) -> str:
        """The picture's path below the data set, or its address."""
        return self.picture(token).name

    def file_of(self, picture: Picture) -> Path:
        """Where the original is; a path that is not there for one that was not fetched."""
        return picture.path or cached_path(picture) or expected_path(picture)

    def sample(self, token: str) -> dict[str, Any]:
        """Return what an adapter gets for one picture; see docs/architecture.md.

        A picture that was not taken upright is turned: the path is that of a copy. Width and height are 0 if
        the file is not there or not a picture: its adapter says so. The camera has `intrinsic`, `sensor2ego` and
        `ego2global` where the data set states the calibration, and the picture was not turned.
        """
        picture, scene, index = self._find(token)
        path, header = self.file_of(picture), self.header(picture)
        if header is not None and header.orientation != 1:
            try:
                path = turn_upright(path)
            except DataError:
                header = None  # a picture that is cut off: its adapter says so
        width, height = (0, 0) if header is None else header.upright
        camera = make_picture(str(path), picture.timestamp_us, width=width, height=height)
        calibration = self.contents.calibrations.get(picture.name)
        if calibration is not None and header is not None and header.orientation == 1:
            camera |= {**calibration, "ego2global": IDENTITY}
        return make_sample(
            token,
            scene=scene,
            scene_token=scene,
            index_in_scene=index,
            timestamp_us=picture.timestamp_us,
            ego2global=IDENTITY,
            cameras={IMAGE: camera},
        )

    def missing_files(self, token: str) -> list[Path]:
        """The picture, if it is not there or empty."""
        path = self.file_of(self.picture(token))
        return [] if path.is_file() and path.stat().st_size > 0 else [path]

    def fetch(self, say: Say) -> None:
        """Fetch the pictures that are named by an address and are not here; see `remote.fetch_pictures`."""
        fetch_pictures([one for own in self.contents.scenes.values() for one in own if one.path is None], say)

    @property
    def coco_file(self) -> Path | None:
        """The file with the labels, if they are COCO's."""
        labels = self.contents.labels
        return labels.path if isinstance(labels, CocoLabels) else None

    def classes_2d(self) -> tuple[str, ...]:
        """The classes of the labels."""
        return self.contents.labels.classes if self.contents.labels is not None else ()

    def truth_sha256(self) -> str:
        """Over the content of all labels."""
        if self.contents.labels is None:
            raise self._no_boxes()
        return self.contents.labels.sha256()

    def image_annotations(self, token: str) -> Mapping[str, ImageAnnotation]:
        """The boxes of a picture under `IMAGE`; nothing where nobody annotated it.

        Raises:
            DataError: the labels cannot be read, are of a picture of another size, or there are none.
        """
        boxes = self.read_boxes(self.picture(token))
        return {} if boxes is None else {IMAGE: to_annotation(boxes)}

    def read_boxes(self, picture: Picture) -> list[Box] | None:
        """The boxes of a picture turned upright; None where nobody annotated it. Errors as `image_annotations`."""
        labels = self.contents.labels
        if labels is None:
            raise self._no_boxes()
        boxes = labels.boxes(picture.name, lambda: self._upright_size(picture))
        if not boxes:
            return None if boxes is None else []
        stated, header = labels.stated_size(picture.name), self.header(picture)
        if stated is None or header is None or stated == header.upright:
            return list(boxes)
        if stated != header.stored:
            raise DataError(
                f"the labels of {picture.name} are of a picture of {stated[0]}x{stated[1]} pixels, and it has "
                f"{header.upright[0]}x{header.upright[1]}",
                hint="take the pictures that were annotated, not reduced copies",
            )
        return [_turn(box, header) for box in boxes]

    def object_counts(self, token: str) -> Mapping[str, int] | None:
        """The number of objects by class; None where nobody counted."""
        return (self.contents.counts or {}).get(self.picture(token).name)

    def resampling_unit(self, token: str) -> str:
        """The scene of a picture that is one of a sequence, such as a video's frames; else the picture itself."""
        scene = self._find(token)[1]
        return scene if scene in self._sequences else token

    @cached_property
    def _sequences(self) -> frozenset[str]:
        """The scenes whose pictures have times of their own."""
        scenes = self.contents.scenes.items()
        return frozenset(name for name, own in scenes if len({picture.timestamp_us for picture in own}) > 1)

    def count_annotations(self, tokens: Iterable[str]) -> dict[str, int]:
        """Count boxes, or the objects that a list counts, and the pictures that have them.

        Labels that cannot be read are not counted: `problems` says which.
        """
        counts = Counter[str]()
        for token in tokens:
            if self.contents.labels is not None:
                boxes = None
                with suppress(DataError):
                    boxes = self.read_boxes(self.picture(token))
                counts.update({"annotated_pictures": boxes is not None, "boxes": len(boxes or ())})
            if self.contents.counts is not None:
                own = self.object_counts(token)
                counts.update({"counted_pictures": own is not None, "counted_objects": sum((own or {}).values())})
        return dict(counts)

    def problems(self, watch: Watch) -> Iterator[Problem]:
        """Give what is wrong with pictures and labels; see `check`."""
        from admlops.datasets.images.check import find_problems  # it reads pictures: most commands read none

        return find_problems(self, watch)

    def header(self, picture: Picture) -> Header | None:
        """What the picture's file says of its size; read once. None if it is not there or not a picture."""
        if picture.name not in self._headers:
            self._headers[picture.name] = read_header(self.file_of(picture))
        return self._headers[picture.name]

    def _upright_size(self, picture: Picture) -> Size:
        header = self.header(picture)
        if header is None:
            raise DataError(
                f"{self.file_of(picture)} is not there or not a picture, so its labels mean nothing",
                hint=f"admlops data check {self.root}   # lists what is broken",
            )
        return header.upright

    @cached_property
    def _samples(self) -> dict[str, tuple[Picture, str, int]]:
        """By token the picture, its scene and its place there."""
        return dict(self._number())

    def _number(self) -> Iterator[tuple[str, tuple[Picture, str, int]]]:
        for scene, pictures in self.contents.scenes.items():
            for index, picture in enumerate(pictures):
                yield make_token(picture), (picture, scene, index)

    @cached_property
    def _tokens_of(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {name: [] for name in self.contents.scenes}
        for token, (_, scene, _) in self._samples.items():
            found[scene].append(token)
        return found

    def _find(self, token: str) -> tuple[Picture, str, int]:
        found = self._samples.get(token)
        if found is None:
            raise DataError(
                f"{self.root} has no picture with the token {token!r}",
                hint="pass --data with the data set that the run was made on; a changed picture is another one",
            )
        return found

    def _no_boxes(self) -> DataError:
        return DataError(
            f"{self.root} has no boxes: it is {self.form.title}", hint="pass --data with labels, or --boxes-2d FILE"
        )


def make_token(picture: Picture) -> str:
    """Return a picture's token: a readable beginning, and a digest over its name and the size of its file."""
    file = picture.name.partition("?")[0].rpartition("/")[2]
    stem = re.sub(r"[^0-9a-zA-Z_.-]+", "-", file.rpartition(".")[0] or file).strip("-")[:MAX_STEM]
    content = f"{picture.name}\0{picture.sha256 or picture.size_bytes}"
    digest = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]
    return f"{stem}-{digest}" if stem else digest


def _turn(box: Box, header: Header) -> Box:
    turned = turn_box(box.xyxy, header.orientation, header.stored)
    return Box(xyxy=turned, class_name=box.class_name, ignore=box.ignore, area=box.area)
