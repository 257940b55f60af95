"""Lists of pictures: counts, files anywhere, and addresses that are fetched once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Admlops
from tests.datasets.images.fabricate import SIZE, draw, write
from tests.file_server import FileServer, cut_after, file_server, page, status, whole

from admlops.core.errors import DataError, DownloadError
from admlops.datasets.base import COUNTS, IMAGE, fetch_files, open_data
from admlops.datasets.images import remote
from admlops.datasets.images.pictures import Images


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path / "repository"))
    monkeypatch.setattr(remote, "BACKOFF_S", 0.01)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as one:
        yield one


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return draw(tmp_path / "content.jpg").read_bytes()


def opened(path: Path) -> Images:
    data = open_data(path)
    assert isinstance(data, Images)
    return data


def camera_of(data: Images, index: int = 0) -> dict[str, Any]:
    tokens = [token for scene in data.scenes() for token in scene.samples]
    camera: dict[str, Any] = data.sample(tokens[index])["cameras"][IMAGE]
    return camera


def test_counts_of_a_list(tmp_path: Path) -> None:
    draw(tmp_path / "pictures" / "a b.jpg")
    outside = draw(tmp_path / "elsewhere" / "ü.png", seed=1)
    entries = [
        {"image_path": "a b.jpg", "car_count": 3, "description": "three cars"},
        {"image_path": str(outside), "car_count": 0, "traffic_light_count": 2},
        {"image_path": "gone.jpg", "description": "nobody counted"},
    ]
    data = opened(write(tmp_path / "pictures" / "list.json", entries))
    assert data.capabilities == frozenset({COUNTS})
    tokens = [token for scene in data.scenes() for token in scene.samples]
    assert [data.object_counts(token) for token in tokens] == [{"car": 3}, None, {"car": 0, "traffic light": 2}]
    assert data.files_root == tmp_path
    names = [data.picture_name(token, IMAGE) for token in tokens]
    assert names == ["pictures/a b.jpg", "pictures/gone.jpg", "elsewhere/ü.png"]
    assert [len(data.missing_files(token)) for token in tokens] == [0, 1, 0]
    assert data.count_annotations(tokens) == {"counted_pictures": 2, "counted_objects": 5}


def test_the_same_list_in_a_folder_or_under_a_key(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    write(tmp_path / "list.json", {"images": [{"image_path": "a.jpg", "car_count": 1}]})
    assert opened(tmp_path).version == "list.json"


def test_a_text_file(tmp_path: Path) -> None:
    draw(tmp_path / "x" / "a.jpg")
    draw(tmp_path / "y" / "b c.jpg", seed=1)
    data = opened(write(tmp_path / "files.txt", "# two of them\nx/a.jpg\n\n./y/b c.jpg\n"))
    assert [scene.name for scene in data.scenes()] == ["x", "y"]
    assert camera_of(data, 1)["path"] == str(tmp_path / "y" / "b c.jpg")


def test_an_address_is_fetched_once_and_then_taken_from_the_cache(
    tmp_path: Path, server: FileServer, content: bytes
) -> None:
    url = server.serve("/cars/one.jpg", whole(content))
    path = write(tmp_path / "list.json", [{"image_path": f"{url}?signature=secret", "car_count": 2}])
    data = opened(path)
    tokens = data.scenes()[0].samples
    assert camera_of(data)["width"] == 0, "nothing is fetched before it is asked for"
    said: list[str] = []
    fetch_files(data, said.append)
    assert said[-1] == "fetched 1 of 1 picture"
    assert not any("secret" in line for line in said)
    assert not any("secret" in file.read_text() for file in (tmp_path / "repository").rglob("*.json"))
    again = opened(path)
    fetch_files(again, said.append)
    assert again.scenes()[0].samples == tokens
    camera = camera_of(again)
    assert (camera["width"], camera["height"]) == SIZE
    assert Path(camera["path"]).read_bytes() == content
    assert len(server.requests) == 1


def test_equal_content_lies_there_once(tmp_path: Path, server: FileServer, content: bytes) -> None:
    urls = [server.serve(f"/{number}.jpg", whole(content)) for number in range(3)]
    data = opened(write(tmp_path / "list.txt", "\n".join(urls)))
    fetch_files(data, print)
    assert len({camera_of(data, index)["path"] for index in range(3)}) == 1


def test_a_dropped_connection_goes_on_and_a_busy_server_is_asked_again(
    tmp_path: Path, server: FileServer, content: bytes
) -> None:
    cut = server.serve("/cut.jpg", cut_after(content, 100), whole(content))
    busy = server.serve("/busy.jpg", status(503), status(503), whole(content))
    data = opened(write(tmp_path / "list.txt", f"{cut}\n{busy}\n"))
    fetch_files(data, print)
    assert Path(camera_of(data, 0)["path"]).read_bytes() == content
    assert Path(camera_of(data, 1)["path"]).read_bytes() == content
    assert "bytes=100-" in server.ranges()


def test_a_changed_file_is_not_taken_in_place_of_the_first(tmp_path: Path, server: FileServer, content: bytes) -> None:
    url = server.serve("/one.jpg", whole(content))
    path = write(tmp_path / "list.txt", url)
    fetch_files(opened(path), print)
    other = draw(tmp_path / "other.jpg", seed=7).read_bytes()
    server.serve("/one.jpg", whole(other, etag='"v2"'))
    fetch_files(opened(path), print)
    kept = Path(camera_of(opened(path))["path"])
    assert kept.read_bytes() == content, "it is here: the server is not asked"
    kept.unlink()
    with pytest.raises(DownloadError, match="has changed: its sha256 was") as error:
        fetch_files(opened(path), print)
    note = Path(error.value.hint.split()[1])
    note.unlink()
    fetch_files(opened(path), print)
    assert Path(camera_of(opened(path))["path"]).read_bytes() == other


def test_damage_in_the_cache_is_found(tmp_path: Path, server: FileServer, content: bytes, admlops: Admlops) -> None:
    path = write(tmp_path / "list.txt", server.serve("/one.jpg", whole(content)))
    fetch_files(opened(path), print)
    kept = Path(camera_of(opened(path))["path"])
    kept.write_bytes(content[:-1] + b"x")
    done = admlops("data", "check", str(path), check=False)
    assert done.returncode == 1
    assert "is not what was fetched" in done.stdout


def test_what_cannot_be_had_costs_its_own_sample(tmp_path: Path, server: FileServer, content: bytes) -> None:
    good = server.serve("/good.jpg", whole(content))
    gone = f"{server.url}/gone.jpg"
    web = server.serve("/page.jpg", page("<html><title>Log in</title></html>"))
    data = opened(write(tmp_path / "list.txt", f"{gone}\n{good}\n{web}\n"))
    said: list[str] = []
    fetch_files(data, said.append)
    assert any("404" in line for line in said)
    assert any("Log in" in line for line in said)
    assert said[-1] == "could not fetch 2 of 3 pictures: their samples will fail"
    assert [camera_of(data, index)["width"] for index in range(3)] == [0, SIZE[0], 0]
    assert camera_of(data)["path"].endswith("not-fetched/gone.jpg")


def test_none_at_all_is_an_error(tmp_path: Path, server: FileServer) -> None:
    data = opened(write(tmp_path / "list.txt", f"{server.url}/gone.jpg"))
    with pytest.raises(DownloadError, match="cannot fetch any of 1 picture;") as error:
        fetch_files(data, print)
    assert "check the address in the list" in error.value.hint


def test_without_a_network_not_every_address_is_tried(tmp_path: Path, server: FileServer, content: bytes) -> None:
    """What was fetched before is taken, and the rest is given up after the first few."""
    here = server.serve("/here.jpg", whole(content))
    fetch_files(opened(write(tmp_path / "list.txt", here)), print)
    gone = [f"http://127.0.0.1:9/{number}.jpg" for number in range(40)]  # nothing listens there
    data = opened(write(tmp_path / "list.txt", "\n".join([here, *gone])))
    said: list[str] = []
    fetch_files(data, said.append)
    assert "no server answers: the other pictures are not tried" in said
    assert said[-1] == "could not fetch 40 of 41 pictures: their samples will fail"
    sizes = {camera_of(data, index)["width"] for index in range(41)}
    assert sizes == {0, SIZE[0]}


def test_a_pinned_picture_must_be_that_one(tmp_path: Path, server: FileServer, content: bytes) -> None:
    url = server.serve("/one.jpg", whole(content))
    data = opened(write(tmp_path / "list.json", json.dumps([{"image_path": url, "sha256": "0" * 64}])))
    with pytest.raises(DownloadError, match="another file than the wanted one"):
        fetch_files(data, print)


def test_plain_http_from_elsewhere_is_not_trusted(tmp_path: Path) -> None:
    data = opened(write(tmp_path / "list.txt", "http://192.0.2.1/one.jpg"))
    with pytest.raises(DownloadError, match="without a known sha256 only https is safe"):
        fetch_files(data, print)


def test_a_list_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        open_data(write(tmp_path / "list.json", "[]")).scenes()
