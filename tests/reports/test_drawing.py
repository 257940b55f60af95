"""Bird's-eye view, camera pictures and the mosaic: whole XML, known pixels, a picture that cannot be read."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from tests.reports.fabricate import (
    FOCAL,
    HEIGHT,
    WIDTH,
    FakeData,
    make_data,
    make_metadata,
    make_record,
    yaw_quaternion,
)

from admlops.reports import bird_eye_svg, draw_sample, view_sample
from admlops.reports.camera_view import CAMERA_ORDER, PICTURE_WIDTH, draw_cameras, project_box
from admlops.reports.scene_view import Box, SceneView

RECORD = make_record(make_metadata("GroundPlane")[0])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FakeData:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def view(data: FakeData) -> SceneView:
    return view_sample(RECORD, data)


def with_camera(view: SceneView, **changed: Any) -> SceneView:
    assert view.sample is not None
    cameras = {**view.sample["cameras"], "CAM_FRONT": {**view.sample["cameras"]["CAM_FRONT"], **changed}}
    return replace(view, sample={**view.sample, "cameras": cameras})


def box(x: float, y: float, label: str = "car") -> Box:
    rotation = yaw_quaternion(0)
    return Box(
        label=label, center=(x, y, 0.8), size_wlh=(2, 4, 1.6), rotation_wxyz=rotation, is_truth=True, role="miss"
    )


def test_the_birds_eye_view_is_whole_xml_with_two_layers(view: SceneView) -> None:
    root = ET.fromstring(bird_eye_svg(view))
    layers = {group.get("class"): group for group in root.iter("g")}
    assert set(layers) == {"truth", "prediction"}
    roles = [path.get("class") for path in layers["truth"].iter("path")]
    assert roles.count("box miss") == 2
    assert roles.count("box hit") == 2
    assert [p.get("class") for p in layers["prediction"].iter("path")].count("box false_alarm") == 1
    assert "10 m" in {text.text for text in root.iter("text")}


def test_forward_is_up_and_left_is_left(view: SceneView) -> None:
    root = ET.fromstring(bird_eye_svg(replace(view, boxes=(box(20, 5),), lines=())))
    path = next(path.get("d") or "" for path in root.iter("path") if path.get("class") == "box miss")
    corners = np.array([float(n) for n in re.findall(r"-?[\d.]+", path)]).reshape(-1, 2)[:4]
    assert np.allclose(corners.mean(axis=0), [-5, -20])


def test_a_standalone_birds_eye_view_brings_name_space_and_style(view: SceneView) -> None:
    root = ET.fromstring(bird_eye_svg(view, standalone=True))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.find("{http://www.w3.org/2000/svg}style") is not None


def test_labels_cannot_inject_markup(view: SceneView) -> None:
    evil = replace(view, token='"><script>', boxes=(box(10, 0, '<script>alert("x")</script>'),))
    svg = bird_eye_svg(evil) + "".join(f"<svg>{camera.overlay}</svg>" for camera in draw_cameras(evil))
    root = ET.fromstring(f"<all>{svg}</all>")
    assert root.find(".//script") is None
    assert any((title.text or "").startswith("<script>") for title in root.iter("title"))


def test_the_cameras_come_in_the_order_of_a_mosaic_small_and_whole(view: SceneView) -> None:
    cameras = draw_cameras(view)
    assert [camera.camera for camera in cameras] == list(CAMERA_ORDER)
    for camera in cameras:
        assert camera.jpeg_base64 is not None
        with Image.open(io.BytesIO(base64.b64decode(camera.jpeg_base64))) as image:
            assert image.size == (PICTURE_WIDTH, round(PICTURE_WIDTH * HEIGHT / WIDTH))
        ET.fromstring(f"<svg>{camera.overlay}</svg>")


def test_a_boxes_edges_fall_on_known_pixels(view: SceneView) -> None:
    assert view.sample is not None
    camera = view.sample["cameras"]["CAM_FRONT"]
    edges = project_box(box(13.7, 0), camera, view.sample["ego2global"])
    pixels = np.concatenate(edges)
    assert len(edges) == 12
    # The back face is 10 m from the camera, 2 m wide; the box is on the ground, the camera 1.5 m above it.
    assert pixels[:, 0].min() == pytest.approx(WIDTH / 2 - FOCAL / 10)
    assert pixels[:, 0].max() == pytest.approx(WIDTH / 2 + FOCAL / 10)
    assert pixels[:, 1].max() == pytest.approx(HEIGHT / 2 + FOCAL * 1.5 / 10)


def test_a_box_behind_the_camera_is_not_drawn_and_one_around_it_is_clipped(view: SceneView) -> None:
    assert view.sample is not None
    camera, pose = view.sample["cameras"]["CAM_FRONT"], view.sample["ego2global"]
    assert project_box(box(-20, 0), camera, pose) == []
    around = project_box(box(2.5, 0), camera, pose)
    assert 0 < len(around) < 12
    assert np.isfinite(np.concatenate(around)).all()


@pytest.mark.parametrize("content", [None, b"", b"\xff\xd8\xff\xe0 half a picture"])
def test_a_picture_that_cannot_be_read_says_so_and_keeps_its_overlay(
    view: SceneView, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "front.jpg"
    if content is not None:
        path.write_bytes(content)
    broken = with_camera(view, path=str(path))
    front = next(camera for camera in draw_cameras(broken) if camera.camera == "CAM_FRONT")
    assert front.jpeg_base64 is None
    assert "front.jpg cannot be read" in front.note
    assert "wire" in front.overlay


def test_a_calibration_of_zeros_keeps_the_picture_and_says_so(view: SceneView) -> None:
    broken = with_camera(view, intrinsic=[[0, 0, 0]] * 3)
    front = next(camera for camera in draw_cameras(broken) if camera.camera == "CAM_FRONT")
    assert front.jpeg_base64 is not None
    assert front.overlay == ""
    assert "focal length" in front.note


def test_the_mosaic_is_a_small_picture_and_always_the_same(view: SceneView) -> None:
    png = draw_sample(view, width=800)
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert image.width == 800
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}
    assert (0xD5, 0x5E, 0x00) in colours  # a missed box on the bird's-eye view
    assert len(png) < 300_000
    assert draw_sample(view, width=800) == png


def test_the_mosaic_without_a_data_set_still_shows_the_predictions(tmp_path: Path) -> None:
    for view in (view_sample(RECORD, None), view_sample(RECORD, FakeData(tmp_path))):
        with Image.open(io.BytesIO(draw_sample(view, width=600))) as image:
            image.verify()
