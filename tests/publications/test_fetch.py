"""`admlops data fetch`: archives of a store on the loopback, with the faults that stores and disks have."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.file_server import Answer, FileServer, Request, cut_after, file_server, status, whole
from tests.typed import Said, Typed

from admlops.core.errors import DataError, StoppedError, UsageError
from admlops.publications import publication as publications
from admlops.publications.manifest import read_manifests
from admlops.publications.publication import list_publications, load_publication
from admlops.publications.unpack import Destination, unpack

BUCKET = "/motional-nuscenes.s3.ap-northeast-1.amazonaws.com/public/v1.0"
FILES = {f"samples/CAM_FRONT/{number:03}.jpg": random.Random(number).randbytes(20_000) for number in range(30)}
TABLES = {"v1.0-trainval/scene.json": b"[]", "maps/a.png": b"map"}


def pack_tar(files: Mapping[str, bytes], *, mode: str = "w:gz") -> bytes:
    """An archive with these files, and a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("samples")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def pack_zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with file_server() as server:
        monkeypatch.setenv("ADMLOPS_DOWNLOAD_MIRROR", server.url)
        for number in range(1, 11):
            files = {name: content for name, content in FILES.items() if int(name[-7:-4]) % 10 == number - 1}
            mode = "w" if number == 2 else "w:gz"  # the older generation: plain tar files that are called .tgz
            content = pack_tar(files, mode=mode)
            server.serve(f"{BUCKET}/v1.0-trainval{number:02}_keyframes.tgz", whole(content))
        server.serve(f"{BUCKET}/can_bus.zip", whole(pack_zip({"can_bus/scene-0001_pose.json": b"[1]"})))
        server.serve(f"{BUCKET}/nuScenes-map-expansion-v1.3.zip", whole(pack_zip({"expansion/boston.json": b"{}"})))
        yield server


@pytest.fixture
def ask(typed: Typed) -> Callable[..., Said]:
    """Type a command line that is to end with a code, 0 unless told."""

    def run(*arguments: str, code: int = 0) -> Said:
        said = typed(*arguments)
        assert said.code == code, said
        return said

    return run


def slowly(content: bytes, *, piece: int, every_s: float) -> Answer:
    """The whole file, piece by piece."""

    def answer(request: Request) -> None:
        request.send(200, b"", {"ETag": '"v1"'}, length=len(content))
        for begin in range(0, len(content) if request.command == "GET" else 0, piece):
            request.wfile.write(content[begin : begin + piece])
            time.sleep(every_s)

    return answer


def test_parts_come_are_unpacked_and_verified(ask: Callable[..., Said], store: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "nuscenes"
    asked = (
        "data",
        "fetch",
        "nuscenes",
        "--part",
        "keyframes",
        "--part",
        "can-bus",
        "--part",
        "maps",
        "--to",
        str(root),
    )
    refused = ask(*asked, code=2)
    assert "CC BY-NC-SA" in refused.err
    assert "--accept-terms" in refused.err
    assert not list(root.rglob("*.jpg"))
    done = json.loads(ask(*asked, "--accept-terms", "--json").out)
    assert (len(done["fetched"]), done["failed"]) == (12, {})
    assert {name: (root / name).read_bytes() for name in FILES} == FILES
    assert (root / "maps" / "expansion" / "boston.json").read_bytes() == b"{}"
    assert (root / "can_bus" / "scene-0001_pose.json").exists()
    assert list((root / ".admlops" / "incoming").glob("*.tgz")) == [], "archives are removed once they are unpacked"
    entries = read_manifests(root)
    assert {path: entry.sha256 for path, entry in entries.items() if path in FILES} == {
        name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }
    asked_before = len(store.requests)
    again = json.loads(ask(*asked, "--json").out)  # the terms were accepted for this folder
    assert (again["fetched"], len(again["present"])) == ([], 12)
    assert len(store.requests) == asked_before
    verdict = json.loads(ask("data", "verify", str(root), "--json").out)
    assert (verdict["whole"], verdict["files"], verdict["extra"]) == (True, 32, [])
    victims = sorted(FILES)[:3]
    (root / victims[0]).unlink()
    (root / victims[1]).write_bytes(bytes(20_000))
    (root / victims[2]).write_bytes(b"short")
    found = json.loads(ask("data", "verify", str(root), "--json", code=1).out)
    assert (found["missing"], found["changed"]) == ([victims[0]], sorted(victims[1:]))
    quick = json.loads(ask("data", "verify", str(root), "--quick", "--json", code=1).out)
    assert quick["changed"] == [victims[2]]


def test_faults_of_the_store_are_overcome_or_named(ask: Callable[..., Said], store: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "nuscenes"
    path = f"{BUCKET}/can_bus.zip"
    content = pack_zip({"can_bus/a.json": random.Random(1).randbytes(400_000)})
    store.serve(path, status(503, headers={"Retry-After": "0"}), cut_after(content, 150_000), whole(content))
    asked = ("data", "fetch", "nuscenes", "--part", "can-bus", "--to", str(root), "--accept-terms")
    ask(*asked)
    assert store.ranges()[-1] == "bytes=150000-", "what was there is not asked for again"
    assert (root / "can_bus" / "a.json").stat().st_size == 400_000
    store.answers.pop(f"{BUCKET}/nuScenes-map-expansion-v1.3.zip")
    gone = ask("data", "fetch", "nuscenes", "--part", "maps", "--to", str(root), code=2)
    assert "404" in gone.err
    store.serve(f"{BUCKET}/nuScenes-map-expansion-v1.3.zip", whole(b"PK\x03\x04 this is no archive at all"))
    broken = ask("data", "fetch", "nuscenes", "--part", "maps", "--to", str(root), code=2)
    assert "damaged or no archive" in broken.err
    store.serve(f"{BUCKET}/nuScenes-map-expansion-v1.3.zip", whole(pack_zip({"expansion/a.json": b"{}"})))
    ask("data", "fetch", "nuscenes", "--part", "maps", "--to", str(root))


def test_either_generation_is_taken_and_no_other(
    ask: Callable[..., Said], store: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "nuscenes"
    old, new, other = (pack_tar({"v1.0-mini/scene.json": text}, mode=mode) for text, mode in (
        (b"[1]", "w"), (b"[1]", "w:gz"), (b"[2]", "w:gz")
    ))  # fmt: skip
    sets = tmp_path / "sets"
    sets.mkdir()
    known = [hashlib.md5(one).hexdigest() for one in (old, new)]
    text = (
        (publications.FOLDER / "nuscenes.toml")
        .read_text()
        .replace('["791dd9ced556cfa1b425682f177b5d9b"]', json.dumps(known))
    )
    (sets / "nuscenes.toml").write_text(text)
    monkeypatch.setattr(publications, "FOLDER", sets)
    asked = ("data", "fetch", "nuscenes", "--part", "mini", "--accept-terms", "--to")
    path = f"{BUCKET}/v1.0-mini.tgz"
    for content in (old, new):
        store.serve(path, whole(content))
        ask(*asked, str(root / hashlib.md5(content).hexdigest()))
    store.serve(path, whole(other))
    wrong = ask(*asked, str(root / "wrong"), code=2)
    assert hashlib.md5(other).hexdigest() in wrong.err
    assert all(one in wrong.err for one in known)
    assert not (root / "wrong" / "v1.0-mini").exists()
    ask(*asked, str(root / "wrong"), "--any-md5")
    assert (root / "wrong" / "v1.0-mini" / "scene.json").read_bytes() == b"[2]"


def test_what_was_downloaded_by_hand_is_known_by_its_content(
    ask: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack_tar({"OpenLane-V2/train/00000/info/1.json": b"{}"}, mode="w")
    sets = tmp_path / "sets"
    sets.mkdir()
    text = (publications.FOLDER / "openlanev2.toml").read_text()
    text = text.replace("95bf28ccf22583d20434d75800be065d", hashlib.md5(archive).hexdigest())
    (sets / "openlanev2.toml").write_text(text)
    monkeypatch.setattr(publications, "FOLDER", sets)
    downloads, root = tmp_path / "Downloads", tmp_path / "lanes"
    downloads.mkdir()
    asked = ("data", "fetch", "openlanev2", "--part", "a-info", "--to", str(root), "--accept-terms")
    assert "README.md" in ask(*asked, code=2).err
    (downloads / "another.tar").write_bytes(pack_tar({"x": b"x"}))
    assert "none of that name or md5" in ask(*asked, "--from", str(downloads), code=2).err
    (downloads / "info (1).tar").write_bytes(archive)
    ask(*asked, "--from", str(downloads))
    assert (root / "train" / "00000" / "info" / "1.json").read_bytes() == b"{}"
    assert (downloads / "info (1).tar").exists(), "a person's own file stays"


def test_a_full_disk_is_said_before_anything_is_fetched(
    ask: Callable[..., Said], store: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1 << 20))
    asked = ("data", "fetch", "nuscenes", "--part", "can-bus", "--to", str(tmp_path / "n"), "--accept-terms")
    assert "free" in ask(*asked, code=2).err
    assert store.requests == []


@pytest.mark.parametrize("moment", ["download", "unpack"])
def test_a_killed_fetch_goes_on(store: FileServer, tmp_path: Path, moment: str) -> None:
    root = tmp_path / "nuscenes"
    files = {f"can_bus/{number}.json": random.Random(number).randbytes(50_000) for number in range(40)}
    content = pack_zip(files)
    path = f"{BUCKET}/can_bus.zip"
    store.serve(path, slowly(content, piece=20_000, every_s=0.005) if moment == "download" else whole(content))
    command = [sys.executable, "-m", "admlops", "data", "fetch", "nuscenes", "--part", "can-bus", "--to", str(root)]
    begun = subprocess.Popen([*command, "--accept-terms"], env=os.environ, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60

    def is_under_way() -> bool:
        if moment == "unpack":
            return len(list(root.glob("can_bus/*.json"))) >= 3
        return any(one.stat().st_size > 20_000 for one in root.glob(".admlops/incoming/.*.part"))

    while not is_under_way() and begun.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    store.serve(path, whole(content))
    subprocess.run(command, check=True, env=os.environ, stderr=subprocess.DEVNULL)
    assert {name: (root / name).read_bytes() for name in files} == files
    assert not list(root.rglob("*.admlops-part"))
    if moment == "download":
        assert (store.ranges()[-1] or "").startswith("bytes=")


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/outside.txt", ".admlops/manifest/own.jsonl", "a/../../b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    for number, content in enumerate((pack_tar({name: b"x"}), pack_zip({name: b"x"}))):
        archive = tmp_path / f"{number}.tgz"
        archive.write_bytes(content)
        with pytest.raises(DataError, match="would write"):
            unpack(archive, Destination(root=tmp_path / "root"))
    assert not list(tmp_path.rglob("outside.txt"))
    assert not (tmp_path / "root").exists()


def test_links_damage_and_stopping(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("samples/passwd")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    archive = tmp_path / "a.tgz"
    archive.write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="a link"):
        unpack(archive, Destination(root=tmp_path / "root"))
    content = bytearray(pack_tar(FILES))
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, Destination(root=tmp_path / "root"))
    archive.write_bytes(gzip.compress(b"no tar"))
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, Destination(root=tmp_path / "root"))
    stop = threading.Event()
    stop.set()
    archive.write_bytes(pack_tar(FILES))
    with pytest.raises(StoppedError):
        unpack(archive, Destination(root=tmp_path / "root"), stop=stop)


def test_a_file_of_somebody_else_is_not_written_over(tmp_path: Path) -> None:
    archive = tmp_path / "a.tgz"
    archive.write_bytes(pack_tar(TABLES))
    own = tmp_path / "root" / "maps" / "a.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"my own map")
    with pytest.raises(UsageError, match="is there already"):
        unpack(archive, Destination(root=tmp_path / "root"))
    assert own.read_bytes() == b"my own map"
    unpack(archive, Destination(root=tmp_path / "root", replace=True))
    assert own.read_bytes() == b"map"


def test_every_publication_can_be_read() -> None:
    for name in list_publications():
        one = load_publication(name)
        assert one.parts
        for part in one.parts.values():
            assert bool(part.archives) != bool(part.objects)
            assert all(len(md5) == 32 for archive in part.archives for md5 in archive.md5)
        assert one.base or one.by_hand or all(part.objects for part in one.parts.values())
    with pytest.raises(UsageError, match="nuscenes"):
        load_publication("nuscene")
    with pytest.raises(UsageError, match="no part"):
        load_publication("nuscenes").choose(["keyframe"])


def test_a_link_into_data(ask: Callable[..., Said], tmp_path: Path, synthetic_root: Path) -> None:
    link = tmp_path / "repository" / "data" / "lab"
    assert "is no folder" in ask("data", "link", str(tmp_path / "nothing"), code=2).err
    ask("data", "link", str(synthetic_root), "--name", "lab")
    assert link.resolve() == synthetic_root.resolve()
    assert "nothing was done" in ask("data", "link", str(synthetic_root), "--name", "lab").out
    other = tmp_path / "other"
    shutil.copytree(synthetic_root / "v1.0-mini", other / "v1.0-mini")
    assert "there already" in ask("data", "link", str(other), "--name", "lab", code=2).err
    ask("data", "link", "lab", "--remove")
    assert not link.exists()
    assert synthetic_root.exists()


def test_own_data_get_a_manifest(ask: Callable[..., Said], tmp_path: Path) -> None:
    root = tmp_path / "own"
    (root / "a").mkdir(parents=True)
    (root / "a" / "1.jpg").write_bytes(b"1")
    (root / "2.jpg").write_bytes(b"22")
    assert "--write" in ask("data", "verify", str(root), code=2).err
    written = json.loads(ask("data", "verify", str(root), "--write", "--json").out)
    assert (written["files"], written["size_bytes"]) == (2, 3)
    verdict = json.loads(ask("data", "verify", str(root), "--json").out)
    assert (verdict["whole"], verdict["digest"]) == (True, written["digest"])
    (root / "3.jpg").write_bytes(b"333")
    verdict = json.loads(ask("data", "verify", str(root), "--json").out)
    assert (verdict["whole"], verdict["extra"]) == (True, ["3.jpg"])
