"""CVAT's XML for images, version 1.1: `annotations.xml` beside `images/`; boxes are xtl, ytl, xbr, ybr [pixels].

Source: docs.cvat.ai, "CVAT for image".
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterable
from pathlib import Path

from admlops.conversion.base import Target
from admlops.conversion.frames import Box2D, SceneFrames
from admlops.core.errors import DataError
from admlops.mining.tools.base import AnnotationTool, Labels, list_pictures

FILE, PICTURES = "annotations.xml", "images"
HEAD = re.compile(rb"<annotations>")
HEAD_BYTES = 400
SIDES = ("xtl", "ytl", "xbr", "ybr")


def _write(target: Target, scenes: Iterable[SceneFrames]) -> None:
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    task = ET.SubElement(ET.SubElement(root, "meta"), "task")
    labels = ET.SubElement(task, "labels")
    classes: dict[str, None] = {}
    for number, (frame, camera, boxes) in enumerate(list_pictures(scenes)):
        target.placer.place(camera.path, f"{PICTURES}/{camera.name}")
        own = {"id": str(number), "name": camera.name, "width": str(camera.width), "height": str(camera.height)}
        image = ET.SubElement(root, "image", own)
        tag = ET.SubElement(image, "tag", label="sample", source="auto")
        ET.SubElement(tag, "attribute", name="token").text = frame.token
        for box in boxes:
            classes.setdefault(box.category)
            _write_box(image, box)
    for name in ("sample", *classes):
        label = ET.SubElement(labels, "label")
        ET.SubElement(label, "name").text = name
        attribute = ET.SubElement(ET.SubElement(label, "attributes"), "attribute")
        ET.SubElement(attribute, "name").text = "token" if name == "sample" else "confidence"
        ET.SubElement(attribute, "mutable").text = "False"
        ET.SubElement(attribute, "input_type").text = "text"
    ET.indent(root)
    target.write(FILE, ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _write_box(image: ET.Element, box: Box2D) -> None:
    sides = {name: f"{value:.2f}" for name, value in zip(SIDES, box.xyxy, strict=True)}
    source = "manual" if box.confidence is None else "auto"
    own = {"label": box.category, "source": source, "occluded": "0", **sides, "z_order": "0"}
    element = ET.SubElement(image, "box", own)
    if box.confidence is not None:
        ET.SubElement(element, "attribute", name="confidence").text = f"{box.confidence:.4f}"


def _recognise(path: Path) -> bool:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return FILE in archive.namelist()
        with path.open("rb") as file:
            return HEAD.search(file.read(HEAD_BYTES)) is not None
    except (OSError, zipfile.BadZipFile):
        return False


def _read(path: Path) -> Labels:
    try:
        root = ET.fromstring(_content(path))  # noqa: S314  expat has bounded entities since 2.4.1
        pictures = {_text(image, "name"): tuple(map(_read_box, image.findall("box"))) for image in root.iter("image")}
    except (OSError, KeyError, ValueError, ET.ParseError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not CVAT's XML for images: {error}", hint=f"head -c 300 {path}") from error
    return Labels(pictures=pictures)


def _content(path: Path) -> bytes:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return archive.read(FILE)
    return path.read_bytes()


def _text(element: ET.Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise ValueError(f"<{element.tag}> has no {name}")
    return value


def _read_box(element: ET.Element) -> Box2D:
    x1, y1, x2, y2 = (float(_text(element, name)) for name in SIDES)
    return Box2D(xyxy=(x1, y1, x2, y2), category=_text(element, "label"))


TOOL = AnnotationTool(id="cvat", title="CVAT", write=_write, recognise=_recognise, read=_read)
