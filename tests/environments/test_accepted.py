"""Files that differ from their package's record and are right: uv's own, and those of a wheel whose RECORD is wrong."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.file_server import FileServer, file_server
from tests.interpreters import PYTHON38

from admlops.core.paths import Layout, find_layout
from admlops.environments import EnvironmentSpec, ensure
from admlops.environments.integrity.manifest import read_manifest
from admlops.environments.integrity.record_overrides import LEGACY_FILE, read_legacy_overrides
from admlops.environments.integrity.verification import verify
from admlops.environments.prefix import MANIFEST_FILE

WHEEL = "odd-1.0-py3-none-any.whl"
MODULE = "odd/__init__.py"


def odd_wheel() -> bytes:
    """A wheel whose RECORD states another hash and size for its module than the module has."""
    members = {
        MODULE: "value = 1\n",
        "odd/other.py": "value = 2\n",
        "odd-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n",
        "odd-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in members if name != MODULE)
    record += f"{MODULE},sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,999\nodd-1.0.dist-info/RECORD,,\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {**members, "odd-1.0.dist-info/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with file_server() as running:
        monkeypatch.setenv("ADMLOPS_DOWNLOAD_MIRROR", running.url)
        yield running


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("ADMLOPS_CACHE", str(tmp_path / "cache"))
    return Layout(root=find_layout().root, repository=tmp_path / "repository", environments=tmp_path / "environments")


def odd_spec(folder: Path, server: FileServer, name: str) -> EnvironmentSpec:
    content = odd_wheel()
    server.serve(f"/files.example.org/{WHEEL}", lambda request: request.send(200, content))
    lock = folder / "requirements.txt"
    digest = hashlib.sha256(content).hexdigest()
    lock.write_text(f"odd @ https://files.example.org/{WHEEL} --hash=sha256:{digest}\n")
    return EnvironmentSpec(name=name, python=">=3.11", requirements=(lock,))


def test_a_wheel_with_a_wrong_record_is_installed_and_held_to_what_it_is(
    layout: Layout, server: FileServer, tmp_path: Path
) -> None:
    said: list[str] = []
    first = ensure(layout, odd_spec(tmp_path, server, "First-modern"), say=said.append)
    assert any("installing odd anew" in line for line in said)
    assert any("1 file of odd 1.0 not as its own RECORD states" in line for line in said)
    manifest = read_manifest(first.prefix)
    assert manifest is not None
    [listed] = [entry for entry in manifest.entries if entry.path.endswith(MODULE)]
    assert listed.owner == "python:odd"
    module = first.prefix / listed.path
    for full in (False, True):
        assert verify(first.prefix, full=full).clean

    said.clear()
    second = ensure(layout, odd_spec(tmp_path, server, "Second-modern"), say=said.append)
    assert not any("anew" in line for line in said), "what was learnt once is not learnt again"
    assert verify(second.prefix, full=True).clean

    module.write_text("value = 9\n")  # an edit that keeps the size
    assert [one.path for one in verify(first.prefix, full=True).differences] == [str(module.relative_to(first.prefix))]
    module.write_text("value = 1\n")
    (module.parent / "other.py").unlink()
    assert [one.kind for one in verify(first.prefix, full=False).differences] == ["missing"]


@pytest.mark.skipif(PYTHON38 is None, reason="needs a python3.8 on PATH or in ~/.pyenv/versions")
def test_what_uv_adds_for_an_old_python_is_held_to_what_it_was(layout: Layout, tmp_path: Path) -> None:
    lock = tmp_path / "empty.txt"
    lock.write_text("# no packages\n")
    built = ensure(layout, EnvironmentSpec(name="Old-classic", python=">=3.8,<3.9", requirements=(lock,)), say=print)
    assert verify(built.prefix, full=True).clean
    hook = built.prefix / "lib/python3.8/site-packages/_virtualenv.pth"
    before = hook.read_text()
    hook.write_text(f"{before[:-1]}#")
    found = verify(built.prefix, full=False).differences
    assert [(one.path, one.kind) for one in found] == [(str(hook.relative_to(built.prefix)), "changed")]
    hook.write_text(before)
    hook.with_name("mine.pth").write_text("import os\n")
    assert [one.kind for one in verify(built.prefix, full=False).differences] == ["added"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '[{"path": 1}]', "nonsense"])
def test_a_broken_list_accepts_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / LEGACY_FILE).write_text(content)
    assert read_legacy_overrides(tmp_path) == {}


def test_an_environment_without_a_manifest_is_held_to_its_packages_and_what_was_written_down(
    layout: Layout, server: FileServer, tmp_path: Path
) -> None:
    """As admlops 0.1 left them: no manifest, and a file of what differs from RECORD and is right."""
    built = ensure(layout, odd_spec(tmp_path, server, "Old-modern"), say=print)
    (built.prefix / MANIFEST_FILE).unlink()
    report = verify(built.prefix, full=True)
    assert not report.by_manifest
    [wrong] = report.differences
    assert wrong.path.endswith(MODULE)
    content = (built.prefix / wrong.path).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    row = {"path": wrong.path, "size_bytes": len(content), "sha256": sha256, "package": "odd"}
    (built.prefix / LEGACY_FILE).write_text(json.dumps([row]))
    assert verify(built.prefix, full=True).clean
    (built.prefix / wrong.path).write_text("value = 9\n")
    assert [one.path for one in verify(built.prefix, full=True).differences] == [wrong.path]
