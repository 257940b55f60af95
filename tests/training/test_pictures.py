"""What the trainers of single pictures share and no network is needed for: files of boxes, and groups of one shape."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from admlops.worker.pictures.grouping import find_waiting
from admlops.worker.pictures.ultralytics_data import spell_box, write_data

SHAPES = "wwhwhhwwwwhwhw"
"""Of a stream's pictures: wide or high."""


def group(stream: list[tuple[int, str]], size: int) -> list[list[int]]:
    """Full batches of one shape, in the order in which they fill."""
    waiting: dict[str, list[int]] = {"w": [], "h": []}
    batches = []
    for position, shape in stream:
        waiting[shape].append(position)
        if len(waiting[shape]) == size:
            batches.append(waiting[shape])
            waiting[shape] = []
    return batches


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_stream_goes_on_with_the_pictures_that_wait(size: int) -> None:
    whole = list(enumerate(SHAPES))
    batches = group(whole, size)
    for done in range(len(batches) + 1):
        waiting, following = find_waiting(iter(SHAPES), size, done)
        left = [(position, SHAPES[position]) for position in waiting] + whole[following:]
        assert group(left, size) == batches[done:]
    assert find_waiting(islice(SHAPES, 0), size, 0) == ([], 0), "nothing is asked of the stream before a batch is taken"


def test_boxes_are_written_as_shares_of_the_picture_and_cut_at_its_edges() -> None:
    assert spell_box([10, 20, 30, 60, 2], 100, 200) == "2 0.200000 0.200000 0.200000 0.200000\n"
    assert spell_box([-50, 100, 50, 400, 0], 100, 200) == "0 0.250000 0.750000 0.500000 0.500000\n"


def test_pictures_are_linked_beside_their_boxes(tmp_path: Path) -> None:
    picture = tmp_path / "one.jpg"
    picture.write_bytes(b"a picture")
    seen = {"path": str(picture), "width": 100, "height": 200, "boxes": [[10, 20, 30, 60, 1], [0, 0, 100, 200, 0]]}
    request = {"samples": [seen], "held_out": [{**seen, "boxes": []}], "classes": ["person", "traffic light"]}
    for _ in range(2):  # a resume writes them again
        data = write_data(tmp_path / "work", request)
    assert (tmp_path / "work" / "images" / "samples" / "000000.jpg").read_bytes() == b"a picture"
    boxes = (tmp_path / "work" / "labels" / "samples" / "000000.txt").read_text().splitlines()
    assert [line.split()[0] for line in boxes] == ["1", "0"]
    assert (tmp_path / "work" / "labels" / "held_out" / "000000.txt").read_text() == ""
    assert "  1: traffic light\n" in data.read_text()
