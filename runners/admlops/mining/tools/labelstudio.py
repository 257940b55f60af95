"""Label Studio's JSON: tasks with predictions, rectangles in percent of the picture; `labels.xml` is the interface.

Pictures are served from a local folder: `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT` is the folder of tasks.json.

Source: labelstud.io, "Label Studio JSON format of annotated tasks".
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import msgspec

from admlops.conversion.base import Target
from admlops.conversion.frames import Box2D, SceneFrames, SensorFile
from admlops.core.errors import DataError
from admlops.mining.tools.base import AnnotationTool, Labels, list_pictures

FILE, INTERFACE, PICTURES = "tasks.json", "labels.xml", "images"
PREFIX = "/data/local-files/?d="
HEAD_BYTES = 2000


class _Value(msgspec.Struct):
    x: float
    y: float
    width: float
    height: float
    rectanglelabels: list[str] = []
    rotation: float = 0.0


class _Result(msgspec.Struct):
    type: str
    original_width: int = 0
    original_height: int = 0
    value: Any = None


class _Annotation(msgspec.Struct):
    result: list[_Result]
    was_cancelled: bool = False


class _Task(msgspec.Struct):
    data: dict[str, Any]
    annotations: list[_Annotation] = []


def _write(target: Target, scenes: Iterable[SceneFrames]) -> None:
    tasks: list[dict[str, Any]] = []
    classes: dict[str, None] = {}
    for frame, camera, boxes in list_pictures(scenes):
        target.placer.place(camera.path, f"{PICTURES}/{camera.name}")
        address = PREFIX + urllib.parse.quote(f"{PICTURES}/{camera.name}")
        results = [_result(box, camera, f"{len(tasks)}-{number}") for number, box in enumerate(boxes)]
        classes |= dict.fromkeys(box.category for box in boxes)
        surest = max((box.confidence or 0.0 for box in boxes), default=0.0)
        data = {"image": address, "picture": camera.name, "sample_token": frame.token, "camera": camera.channel}
        tasks.append({"data": data, "predictions": [{"model_version": "admlops", "score": surest, "result": results}]})
    target.write(FILE, msgspec.json.format(msgspec.json.encode(tasks), indent=1) + b"\n")
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in classes)
    view = f'  <Image name="image" value="$image"/>\n  <RectangleLabels name="label" toName="image">\n{labels}\n'
    target.write(INTERFACE, f"<View>\n{view}  </RectangleLabels>\n</View>\n".encode())


def _result(box: Box2D, camera: SensorFile, own: str) -> dict[str, Any]:
    x1, y1, x2, y2 = box.xyxy
    value = {
        "x": 100 * x1 / camera.width,
        "y": 100 * y1 / camera.height,
        "width": 100 * (x2 - x1) / camera.width,
        "height": 100 * (y2 - y1) / camera.height,
        "rotation": 0,
        "rectanglelabels": [box.category],
    }
    place = {"original_width": camera.width, "original_height": camera.height, "image_rotation": 0}
    row = {"id": own, "from_name": "label", "to_name": "image", "type": "rectanglelabels", **place, "value": value}
    return row if box.confidence is None else {**row, "score": box.confidence}


def _recognise(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES).lstrip()
    except OSError:
        return False
    return head[:1] == b"[" and any(key in head for key in (b'"annotations"', b'"predictions"', b'"completed_by"'))


def _read(path: Path) -> Labels:
    try:
        tasks = msgspec.json.decode(path.read_bytes(), type=list[_Task])
        pictures = dict(_read_task(task) for task in tasks if any(not one.was_cancelled for one in task.annotations))
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise DataError(f"{path} is not Label Studio's JSON: {error}", hint=f"head -c 300 {path}") from error
    if not pictures:
        raise DataError(f"{path} holds no annotated task", hint="export the project as JSON, with its annotations")
    return Labels(pictures=pictures)


def _read_task(task: _Task) -> tuple[str, tuple[Box2D, ...]]:
    """A picture's name and its boxes: those of the last annotation that was not skipped."""
    last = [one for one in task.annotations if not one.was_cancelled][-1]
    results = [one for one in last.result if one.type == "rectanglelabels"]
    return _name(task.data), tuple(_read_box(one) for one in results)


def _name(data: Mapping[str, Any]) -> str:
    if "picture" in data:
        return str(data["picture"])
    if "image" not in data:
        raise ValueError("a task has neither `picture` nor `image`")
    return urllib.parse.unquote(str(data["image"]).partition("?d=")[2] or str(data["image"]))


def _read_box(one: _Result) -> Box2D:
    value = msgspec.convert(one.value, _Value)
    if value.rotation % 360:
        raise ValueError(f"a rectangle is turned by {value.rotation:g}°, which a box cannot be")
    if not value.rectanglelabels or min(one.original_width, one.original_height) <= 0:
        raise ValueError("a rectangle has no label, or no size of its picture")
    x, y = value.x / 100 * one.original_width, value.y / 100 * one.original_height
    width, height = value.width / 100 * one.original_width, value.height / 100 * one.original_height
    return Box2D(xyxy=(x, y, x + width, y + height), category=value.rectanglelabels[0])


TOOL = AnnotationTool(id="labelstudio", title="Label Studio", write=_write, recognise=_recognise, read=_read)
