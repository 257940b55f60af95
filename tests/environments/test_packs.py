"""Packs: what goes in comes out, and nothing that is damaged or malicious does."""

from __future__ import annotations

import io
import os
import random
import signal
import socket
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path

import msgspec
import pytest
import zstandard
from blake3 import blake3
from tests.environments.pack_prefix import DIGEST, Tree, make_prefix, tree_of

from admlops.core.errors import EnvError, StorageError
from admlops.environments.integrity.manifest import SCHEMA, Entry, Interpreter
from admlops.environments.prefix import STATE_FILE
from admlops.environments.reuse.packs import (
    COMPRESSED,
    STORED,
    Pack,
    PackManifest,
    pack_environment,
    pack_path,
    read_pack,
    restore_from_pack,
    unpack,
)
from admlops.environments.reuse.packs.manifest import encode_manifest, manifest_of, parse_manifest

HELLO = b"hello"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return make_prefix(tmp_path / "environments" / "Tiny-modern-dddddddddddd")


@pytest.fixture(params=[COMPRESSED, STORED], ids=["compressed", "stored"])
def pack(prefix: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Pack:
    return pack_environment(prefix, tmp_path / "packs", level=request.param)


def emptied(prefix: Path) -> Tree:
    """What was at `prefix`, which is gone afterwards, as on a pod that was stopped."""
    tree = tree_of(prefix)
    (prefix / "lib/closed").chmod(0o755)
    subprocess.run(["rm", "-rf", prefix], check=True)
    return tree


def test_a_pack_brings_everything_back(prefix: Path, pack: Pack) -> None:
    before = emptied(prefix)
    again = read_pack(pack.archive)
    assert again == pack
    seen: list[tuple[int, int]] = []
    unpack(pack, prefix, on_progress=lambda done, total: seen.append((done, total)))
    assert tree_of(prefix) == before
    assert seen[-1][0] == seen[-1][1] == pack.manifest.size_bytes
    assert not (prefix / STATE_FILE).exists(), "the caller writes the state last"


def test_one_environment_gives_one_pack(prefix: Path, pack: Pack, tmp_path: Path) -> None:
    level = STORED if pack.manifest.stored else COMPRESSED
    again = pack_environment(prefix, tmp_path / "again", level=level)
    assert again.archive.read_bytes() == pack.archive.read_bytes()
    assert again.manifest.entries == pack.manifest.entries


def test_the_interpreter_outside_is_linked_not_packed(prefix: Path, pack: Pack) -> None:
    outside = pack.manifest.interpreter
    assert outside is not None
    assert (outside.link, outside.target, outside.version) == ("bin/python", sys.executable, "3.11.7")
    assert "bin/python" not in [entry.path for entry in pack.manifest.entries]
    missing = msgspec.structs.replace(pack.manifest, interpreter=msgspec.structs.replace(outside, target="/no/python"))
    pack.manifest_path.write_bytes(encode_manifest(missing))
    emptied(prefix)
    said: list[str] = []
    assert restore_from_pack(pack.archive.parent, prefix, digest=DIGEST, say=said.append) is None
    assert "needs Python 3.11.7 at /no/python" in said[0]


def test_restoring_needs_the_same_locks_and_the_same_place(prefix: Path, pack: Pack) -> None:
    folder, said = pack.archive.parent, []  # type: Path, list[str]
    emptied(prefix)
    restored = restore_from_pack(folder, prefix, digest=DIGEST, say=said.append)
    assert restored is not None
    assert restored.state["packages"] == 1
    assert said == []
    assert restore_from_pack(folder, prefix, digest="e" * 64, say=said.append) is None
    assert "other locks" in said[-1]
    assert restore_from_pack(folder, prefix.parent / "elsewhere" / prefix.name, digest=DIGEST, say=said.append) is None
    assert "ADMLOPS_ENVIRONMENTS" in said[-1]
    assert restore_from_pack(folder / "none", prefix, digest=DIGEST, say=said.append) is None


def test_what_cannot_be_packed_is_named(prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outwards = prefix / "lib/out"
    outwards.symlink_to("../../../outside")
    with pytest.raises(EnvError, match="lib/out links to"):
        pack_environment(prefix, tmp_path / "packs")
    outwards.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(prefix)  # a socket's whole path may be too long for the kernel
        listening.bind("socket")
        with pytest.raises(EnvError, match="neither file, folder nor link"):
            pack_environment(prefix, tmp_path / "packs")
    (prefix / "socket").unlink()
    (prefix / STATE_FILE).unlink()
    with pytest.raises(EnvError, match="not a ready environment"):
        pack_environment(prefix, tmp_path / "packs")
    assert list((tmp_path / "packs").glob("*")) == []


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_archive_never_passes(prefix: Path, pack: Pack, seed: int) -> None:
    before = emptied(prefix)
    content = bytearray(pack.archive.read_bytes())
    place = random.Random(seed).randrange(len(content))
    if seed % 3 == 0:
        del content[place:]
    else:
        content[place] ^= 1 << seed % 8
    pack.archive.write_bytes(content)
    refused = ""
    try:
        unpack(pack, prefix)
    except EnvError as error:
        refused = error.message
    assert str(pack.archive) in refused or tree_of(prefix) == before


def test_a_damaged_pack_is_said_and_not_used(prefix: Path, pack: Pack) -> None:
    emptied(prefix)
    pack.archive.write_bytes(pack.archive.read_bytes()[: -pack.manifest.archive_size_bytes // 2])
    said: list[str] = []
    assert restore_from_pack(pack.archive.parent, prefix, digest=DIGEST, say=said.append) is None
    assert "damaged" in said[0]
    assert "building instead" in said[0]


def entry(path: str, kind: str = "file", content: str = "", size_bytes: int = 0, mode: int = 0o644) -> Entry:
    digest = str(blake3(HELLO).hexdigest()) if kind == "file" and not content else content
    return Entry(path=path, kind=kind, mode=mode, size_bytes=size_bytes, content=digest)  # type: ignore[arg-type]


def manifest(*entries: Entry, prefix: str = "/p/env") -> PackManifest:
    return PackManifest(
        schema=SCHEMA,
        name="Evil-modern",
        digest=DIGEST,
        prefix=prefix,
        state={},
        interpreter=None,
        archive_size_bytes=1,
        archive_blake3="0" * 64,
        entries=entries,
    )


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([entry("../out")], "not a path inside"),
        ([entry("/etc/passwd")], "not a path inside"),
        ([entry("a/../../out")], "not a path inside"),
        ([entry("./a")], "not a path inside"),
        ([entry("")], "not a path inside"),
        ([entry("a"), entry("a")], "listed twice"),
        ([entry("a/b")], "does not lie in a folder"),
        ([entry("a", "link", "b"), entry("a/b")], "does not lie in a folder"),
        ([entry("a", "link", "/etc")], "leads out"),
        ([entry("a", "link", "../env2/x")], "leads out"),
        ([entry("a", "link", "../../../../../..")], "leads out"),
        ([entry("a", "link", "/p/env-other/x")], "leads out"),
    ],
)
def test_a_manifest_that_leaves_the_prefix_is_refused(entries: list[Entry], reason: str) -> None:
    content = msgspec.json.encode(manifest(*entries))
    with pytest.raises(EnvError, match=reason):
        parse_manifest(content, "there.json")


@pytest.mark.parametrize("link", ["../python", "/usr/bin/python", "lib/x", "bin/python3"])
def test_a_link_to_a_python_is_made_in_one_place_only(link: str) -> None:
    bin_, taken = entry("bin", "folder", mode=0o755), entry("bin/python3")
    outside = Interpreter(link=link, target=sys.executable, version="3.11.7")
    evil = msgspec.structs.replace(manifest(bin_, taken), interpreter=outside)
    with pytest.raises(EnvError, match="no place for a link to a Python"):
        parse_manifest(msgspec.json.encode(evil), "there.json")
    good = msgspec.structs.replace(evil, interpreter=msgspec.structs.replace(outside, link="bin/python"))
    assert parse_manifest(msgspec.json.encode(good), "there.json") == good


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"schema": 2}', b'{"schema": 1}', b"\xff"])
def test_a_manifest_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(EnvError, match=r"there\.json"):
        parse_manifest(content, "there.json")


def archive_of(folder: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    folder.mkdir(exist_ok=True)
    archive = folder / "Evil.tar.zst"
    archive.write_bytes(zstandard.compress(buffer.getvalue()))
    return archive


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


@pytest.mark.parametrize(
    "members",
    [
        [(member("../out"), HELLO)],
        [(member("a"), HELLO), (member("../out"), HELLO)],
        [(member("a", tarfile.LNKTYPE, "/etc/passwd"), b"")],
        [(member("a", tarfile.SYMTYPE, "/etc"), b"")],
        [(member("a", tarfile.FIFOTYPE), b"")],
        [(member("a"), b"other")],
        [(member("a", mode=0o4755), HELLO)],
        [],
    ],
)
def test_an_archive_that_is_not_its_manifest_is_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    target = tmp_path / "environments" / "Evil"
    listed = manifest(entry("a", size_bytes=len(HELLO)), prefix=str(target))
    pack = Pack(archive=archive_of(tmp_path / "packs", members), manifest=listed)
    with pytest.raises(EnvError, match="damaged"):
        unpack(pack, target)
    assert not (tmp_path / "environments" / "out").exists()
    assert not (tmp_path / "out").exists()


def test_links_that_leave_only_together_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "Evil"
    links = {"deep/er/up": "../..", "out": "deep/er/up/../x"}
    entries = [entry("deep", "folder", mode=0o755), entry("deep/er", "folder", mode=0o755)]
    entries += [entry(path, "link", to, mode=0o777) for path, to in links.items()]
    listed = manifest(*entries, prefix=str(target))
    parse_manifest(msgspec.json.encode(listed), "there.json")  # each on its own stays inside
    members = [(member(item.path, tarfile.DIRTYPE, mode=0o755), b"") for item in entries[:2]]
    members += [(member(path, tarfile.SYMTYPE, to, mode=0o777), b"") for path, to in links.items()]
    with pytest.raises(EnvError, match="leads out"):
        unpack(Pack(archive=archive_of(tmp_path / "packs", members), manifest=listed), target)


def test_a_killed_packing_leaves_the_old_pack_or_none(prefix: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packs"
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from admlops.environments.reuse.packs import pack_environment
        pack_environment(Path(sys.argv[1]), Path(sys.argv[2]))
        """
    )
    moments = random.Random(5)
    archive = folder / f"{prefix.name}.tar.zst"
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", program, prefix, folder]) as process:
            deadline = time.monotonic() + 20
            while not list(folder.glob(f".*{process.pid}")) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
        pack = read_pack(archive)
        assert pack is None or blake3(archive.read_bytes()).hexdigest() == pack.manifest.archive_blake3
    pack_environment(prefix, folder)
    assert sorted(path.name for path in folder.iterdir()) == [f"{prefix.name}.json", archive.name]


def test_another_machine_on_the_same_volume_is_not_disturbed_for_a_day(prefix: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packs"
    folder.mkdir()
    theirs, abandoned = (folder / f".{prefix.name}.tar.zst.other-pod.{pid}" for pid in (1, 2))
    for path in (theirs, abandoned):
        path.write_text("half")
    os.utime(abandoned, (0, 0))
    pack_environment(prefix, folder)
    assert theirs.is_file()
    assert not abandoned.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small tmpfs")
def test_a_full_disk_is_said(prefix: Path, pack: Pack, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=False).returncode != 0:
        pytest.skip("this container may not mount a tmpfs")
    try:
        with pytest.raises(StorageError, match="No space left"):
            unpack(pack, small / "env")
        with pytest.raises(StorageError, match="No space left"):
            pack_environment(prefix, small / "packs")
        assert list((small / "packs").iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_pack_without_its_manifest_is_none(pack: Pack) -> None:
    manifest_of(pack.archive).unlink()
    assert read_pack(pack.archive) is None


def test_a_stored_pack_is_a_tar_archive_and_takes_the_place_of_a_compressed_one(prefix: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packs"
    compressed = pack_environment(prefix, folder)
    stored = pack_environment(prefix, folder, level=STORED)
    assert sorted(path.name for path in folder.iterdir()) == [f"{prefix.name}.json", f"{prefix.name}.tar"]
    assert pack_path(folder, prefix) == stored.archive
    with tarfile.open(stored.archive, mode="r:") as tar:
        assert tar.getnames() == [item.path for item in stored.manifest.entries]
    again = pack_environment(prefix, folder)
    assert pack_path(folder, prefix) == again.archive == compressed.archive
    assert not stored.archive.exists()


def test_a_stored_pack_that_was_rewritten_is_refused(prefix: Path, tmp_path: Path) -> None:
    pack = pack_environment(prefix, tmp_path / "packs", level=STORED)
    emptied(prefix)
    content = pack.archive.read_bytes()
    assert content.count(b"value = 1\n") == 1
    pack.archive.write_bytes(content.replace(b"value = 1\n", b"value = 2\n"))
    with pytest.raises(EnvError, match=r"pkg/__init__\.py"):
        unpack(pack, prefix)
