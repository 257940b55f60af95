"""How much is to be downloaded, by what an index on the loopback says of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.file_server import FileServer, file_server, status, whole

from admlops.core.paths import Layout, find_layout
from admlops.environments.install.python_sizes import missing_python_bytes
from admlops.environments.spec.requirements import LockedPackage

INDEX_PAGE = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True)
class Index:
    """An index whose every file is a wheel, and the folder that is uv's cache."""

    server: FileServer
    cache: Path

    def publish(self, name: str, **size_bytes: int | None) -> LockedPackage:
        """Publish version 1.0 of a package: a wheel for each of these Pythons, `None` for a size that is not told."""
        files = []
        for python, size in size_bytes.items():
            file: dict[str, object] = {"filename": f"{name}-1.0-{python}-none-any.whl", "size": size}
            file |= {"url": f"{self.server.url}/{name}-{python}.whl", "hashes": {"sha256": sha256_of(name, python)}}
            files.append({key: value for key, value in file.items() if value is not None})
        page = {"meta": {"api-version": "1.1"}, "name": name, "versions": ["1.0"], "files": files}
        self.server.serve(f"/simple/{name}/", whole(json.dumps(page).encode(), kind=INDEX_PAGE))
        return locked(name, *size_bytes)


def sha256_of(name: str, python: str) -> str:
    return hashlib.sha256(f"{name} {python}".encode()).hexdigest()


def locked(name: str, *pythons: str) -> LockedPackage:
    hashes = tuple(f"sha256:{sha256_of(name, python)}" for python in pythons)
    return LockedPackage(requirement=Requirement(f"{name}==1.0"), version="1.0", hashes=hashes)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with file_server() as server:
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{server.url}/simple")
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
        yield Index(server=server, cache=tmp_path / "cache")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=find_layout().root, repository=tmp_path / "repository", environments=tmp_path / "environments")


def test_sizes_are_the_indexs_own(index: Index, layout: Layout) -> None:
    packages = [index.publish("torch", py3=915_518_691), index.publish("einops", py3=64_359)]
    assert missing_python_bytes(packages, "3.11.7", layout=layout) == 915_518_691 + 64_359
    assert not [path for path, _ in index.server.requests if path.endswith(".whl")], "it only asks"
    assert not index.cache.exists()


def test_the_file_that_is_locked_counts(index: Index, layout: Layout) -> None:
    index.publish("torch", py2=5, py3=7)
    assert missing_python_bytes([locked("torch", "py3")], "3.11.7", layout=layout) == 7
    assert missing_python_bytes([locked("torch", "py2", "py3")], "3.11.7", layout=layout) == 7


@pytest.mark.parametrize(
    "folder", ["wheels-v9/pypi/torch/1.0-py3-none-any", "wheels-v9/index/ab/torch/1.0-py3-none-any"]
)
def test_what_uv_has_unpacked_is_not_downloaded(folder: str, index: Index, layout: Layout) -> None:
    packages = [index.publish("torch", py3=7), index.publish("einops", py3=11)]
    (index.cache / folder).mkdir(parents=True)
    assert missing_python_bytes(packages, "3.11.7", layout=layout) == 11
    asked = len(index.server.requests)
    assert missing_python_bytes(packages[:1], "3.11.7", layout=layout) == 0
    assert len(index.server.requests) == asked


def test_a_download_that_was_cut_off_counts_as_missing(index: Index, layout: Layout) -> None:
    package = index.publish("torch", py3=7)
    kept = index.cache / "wheels-v9" / "pypi" / "torch" / "1.0-py3-none-any.lock"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert missing_python_bytes([package], "3.11.7", layout=layout) == 7


def test_nothing_is_said_where_the_index_does_not_say(index: Index, layout: Layout) -> None:
    assert missing_python_bytes([index.publish("torch", py3=None)], "3.11.7", layout=layout) is None
    index.server.serve("/simple/torch/", status(503))
    assert missing_python_bytes([locked("torch", "py3")], "3.11.7", layout=layout) is None
