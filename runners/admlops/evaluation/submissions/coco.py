"""COCO's results: `[{"image_id": …, "category_id": …, "bbox": [x, y, width, height], "score": …}, …]`.

Ids mean nothing without the ground truth's file, which names images and categories: `--boxes-2d FILE`, or the data set
itself where it lies in COCO's form. An image belongs to the camera whose picture in the data set has the same file
name, as `detection_2d.coco_truth` finds it.

Source of what is taken: pycocotools, `coco.py` (`loadRes`) and `cocoeval.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from admlops.core.counting import count_of
from admlops.core.errors import UsageError
from admlops.datasets.base import Dataset, HasCocoFile
from admlops.evaluation.detection_2d.coco_truth import CocoTruth, read_coco
from admlops.evaluation.detection_2d.truth import name_pictures
from admlops.evaluation.run_outputs import read_records
from admlops.evaluation.submissions.base import Predictions, Sample, SubmissionFormat, Target, refuse
from admlops.evaluation.submissions.results_file import ResultsFile
from admlops.results.derived_structs import Take
from admlops.results.record import Detection2D, Outputs
from admlops.results.replacing import replacing
from admlops.results.run_folder import RunFolder

TRUTH = "--boxes-2d FILE"


class _Result(msgspec.Struct, gc=False):
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]
    score: float


class CocoPredictions:
    """The boxes of a file by sample, in the file's order."""

    def __init__(self, file: ResultsFile, target: Target, truth: CocoTruth) -> None:
        self.tokens = target.tokens
        self._found: dict[str, list[Detection2D]] = {token: [] for token in self.tokens}
        unknown = 0
        for index, one in enumerate(file.whole(list[_Result], "the list")):
            if one.image_id not in truth.places:
                raise refuse(
                    file.path, f"entry {index}", f"image_id {one.image_id!r} is not in the ground truth's file"
                )
            place, name = truth.places[one.image_id], truth.categories.get(one.category_id)
            unknown += name is None
            if place is None or name is None:
                continue
            self._add(one, place, name, file, index)
        self.notes = [f"{count_of(unknown, 'box')} of categories that the ground truth lacks"] if unknown else []
        beside = sum(place is None for place in truth.places.values())
        if beside:
            self.notes.append(
                f"left out, because of no picture of these samples: {count_of(beside, 'image')} of the ground truth"
            )

    def _add(self, one: _Result, place: tuple[str, str], name: str, file: ResultsFile, index: int) -> None:
        x, y, width, height = one.bbox
        if not (math.isfinite(one.score) and all(map(math.isfinite, one.bbox)) and width >= 0 and height >= 0):
            what = f"bbox {list(one.bbox)} or score {one.score} is not finite, or a side is negative"
            raise refuse(file.path, f"entry {index}, image {one.image_id!r}", what)
        own = self._found[place[0]]
        own.append(
            Detection2D(
                id=len(own),
                camera=place[1],
                class_name=name,
                bbox_xyxy=(x, y, x + width, y + height),
                confidence=one.score,
            )
        )

    def outputs(self, token: str, sample: Sample) -> Outputs:
        """Return the boxes in the images of a sample."""
        return Outputs(detections_2d=self._found[token])


def _recognise(file: ResultsFile) -> bool:
    first = file.peek() if file.is_list else None
    return isinstance(first, dict) and {"image_id", "category_id", "bbox", "score"} <= set(first)


def _read(file: ResultsFile, target: Target) -> Predictions:
    truth = target.truth_2d or own_file(target.data)
    if truth is None:
        raise file.complain(
            "its images and categories are numbers of the ground truth's file, which is not given", f"pass {TRUTH}"
        )
    samples = {token: target.data.sample(token) for token in target.tokens}
    return CocoPredictions(file, target, read_coco(truth, name_pictures(target.data, samples)))


def own_file(data: Dataset) -> Path | None:
    """Return the COCO file of the data set itself, which has the ids of images and categories, if there is one."""
    return data.coco_file if isinstance(data, HasCocoFile) else None


def write(run: RunFolder, data: Dataset, out: Path, truth_2d: Path | None = None) -> int:
    """Write the boxes in images of a run, and return the number of samples.

    Args:
        truth_2d: the COCO file whose ids of images and categories are written; pictures that it lacks are left out.
            None takes the data set's own, where it is in COCO's form.

    Raises:
        UsageError: there is no such file, or the run has no boxes in images.
        DataError: see `coco_truth.read_coco`.
        StorageError: `out` cannot be written.
    """
    truth = truth_2d or own_file(data)
    if truth is None:
        raise UsageError(f"{out} needs the ids of images and categories", hint=f"pass {TRUTH}")
    records = list(read_records(run, {"detections_2d": Take.WHOLE}))
    if all(record.detections_2d is UNSET for record in records):
        raise UsageError(
            f"{run.path.name} has no boxes in images: {run.header.model} does not do that task",
            hint=f"admlops results show {run.path.name}",
        )
    samples = {record.metadata.sample_token: data.sample(record.metadata.sample_token) for record in records}
    known = read_coco(truth, name_pictures(data, samples))
    images = {place: number for number, place in known.places.items() if place is not None}
    names = {name: number for number, name in known.categories.items()}
    results = [
        _to_result(one, images[place], names)
        for record in records
        for one in (record.detections_2d or ())
        if (place := (record.metadata.sample_token, one.camera)) in images and one.class_name in names
    ]
    with replacing(out) as temporary:
        temporary.write_text(json.dumps(results))
    return len(records)


def _to_result(one: Any, image: int | str, names: Mapping[str, int | str]) -> dict[str, Any]:
    x1, y1, x2, y2 = one.bbox_xyxy
    return {
        "image_id": image,
        "category_id": names[one.class_name],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": one.confidence,
    }


FORMAT = SubmissionFormat(
    id="coco",
    title="COCO results (JSON)",
    looks_for='[{"image_id": …, "category_id": …, "bbox": …, "score": …}, …]',
    kinds=("nuscenes", "openlanev2", "images"),
    recognise=_recognise,
    read=_read,
    write=write,
)
