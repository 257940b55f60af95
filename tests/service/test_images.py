"""Pictures that an input lists itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.service.jobs.checks import check_selected, find_data
from admlops.service.jobs.images import write_list
from admlops.service.jobs.inputs import CompareInput, decode_input
from admlops.service.jobs.settings import JobSettings

ADDRESS = "https://example.org/a.jpg"


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "b.jpg").write_bytes(b"")
    return JobSettings(database="sqlite:////nowhere", data_roots=(tmp_path / "root",))


def given(*images: dict[str, object]) -> CompareInput:
    return decode_input(CompareInput, {"models": ["NanoDet"], "images": list(images)}, endpoint="compare")


def test_the_same_pictures_are_the_same_data_set(layout: Layout, settings: JobSettings) -> None:
    listed = given({"image_path": ADDRESS, "car_count": 3}, {"image_path": "b.jpg", "sha256": "0" * 64})
    check_selected(layout, settings, listed, ())
    path = write_list(layout, listed.images, lambda named: find_data(settings, named))
    assert json.loads(path.read_text()) == [
        {"image_path": ADDRESS, "car_count": 3},
        {"image_path": str(settings.data_roots[0] / "b.jpg"), "sha256": "0" * 64},
    ]
    assert path == write_list(layout, listed.images, lambda named: find_data(settings, named))
    assert path.is_relative_to(layout.data)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../b.jpg", "gone.jpg", "HTTPS://example.org/a.jpg", "file:///etc/passwd"]
)
def test_paths_lead_below_an_allowed_root(layout: Layout, settings: JobSettings, path: str) -> None:
    with pytest.raises(UsageError):
        check_selected(layout, settings, given({"image_path": path}), ())


@pytest.mark.parametrize(
    "more",
    [
        {"images": [{"image_path": ADDRESS}], "data": "x"},
        {"images": [{"image_path": ADDRESS, "car_count": -1}]},
        {"images": [{"car_count": 1}]},
        {"images": [{"image_path": ADDRESS, "sha256": "x"}]},
    ],
)
def test_what_is_no_list_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        decode_input(CompareInput, {"models": ["NanoDet"], **more}, endpoint="compare")
