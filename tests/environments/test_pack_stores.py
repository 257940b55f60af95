"""Packs in stores: a folder, and a real S3 server on loopback."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import pytest
from tests.environments.pack_prefix import make_prefix
from tests.s3_server import KEYS, Server

from admlops.core.errors import EnvError, UsageError
from admlops.core.file_lock import hold
from admlops.core.object_store import open_store
from admlops.environments.reuse.packs import Pack, pack_environment
from admlops.environments.reuse.packs.stores import PUSH, Listing, pull, push

PART_BYTES = 1 << 18


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """A pack of many parts."""
    monkeypatch.setattr("admlops.environments.reuse.packs.stores.PART_BYTES", PART_BYTES)
    prefix = make_prefix(tmp_path / "environments" / "Tiny-modern-dddddddddddd")
    return pack_environment(prefix, tmp_path / "packs")


def name_of(pack: Pack) -> str:
    return pack.archive.name.removesuffix(".tar.zst")


def parts_in(folder: Path) -> list[Path]:
    return sorted((folder / "parts").iterdir())


def test_a_folder_holds_a_pack(pack: Pack, tmp_path: Path) -> None:
    store = tmp_path / "volume" / "packs"
    seen: list[tuple[int, int]] = []
    sent = push(pack, str(store), on_progress=lambda done, total: seen.append((done, total)))
    assert sent == pack.archive.stat().st_size + pack.manifest_path.stat().st_size
    assert push(pack, str(store)) == 0, "what is there need not travel again"
    pulled = pull(name_of(pack), str(store), tmp_path / "pulled")
    assert pulled is not None
    assert pulled.manifest == pack.manifest
    assert pulled.archive.read_bytes() == pack.archive.read_bytes()
    assert pull("Other-modern-eeeeeeeeeeee", str(store), tmp_path / "pulled") is None


@pytest.mark.full
def test_an_s3_store_holds_a_pack(pack: Pack, s3: Server, tmp_path: Path) -> None:
    push(pack, "s3://bucket/some/where")
    puts = len(s3.requests("PUT"))
    assert puts > 9
    assert push(pack, "s3://bucket/some/where") == 0
    assert len(s3.requests("PUT")) == puts + 1, "the listing alone is written again"
    pulled = pull(name_of(pack), "s3://bucket/some/where", tmp_path / "pulled")
    assert pulled is not None
    assert pulled.archive.read_bytes() == pack.archive.read_bytes()
    assert pull("Other-modern-eeeeeeeeeeee", "s3://bucket/some/where", tmp_path / "pulled") is None


TRANSFER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from admlops.environments.reuse.packs import read_pack, stores
    action, archive, target, part_bytes = sys.argv[1:]
    stores.PART_BYTES = int(part_bytes)
    if action == "push":
        stores.push(read_pack(Path(archive)), target)
    else:
        name = Path(archive).name.removesuffix(".tar.zst")
        stores.pull(name, target, Path(archive).parent, say=lambda line: print(line, flush=True))
    """
)


def kill_after(server: Server, method: str, count: int, arguments: list[str | Path]) -> None:
    """Start a transfer and kill it when the server has seen `count` more requests of a method for parts."""
    before = len([path for path in server.requests(method) if "/parts/" in path])
    with subprocess.Popen([sys.executable, "-c", TRANSFER, *map(str, arguments), str(PART_BYTES)]) as process:
        while process.poll() is None:
            if len([path for path in server.requests(method) if "/parts/" in path]) - before >= count:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.002)


def test_killed_transfers_go_on_where_they_were(pack: Pack, s3: Server, tmp_path: Path) -> None:
    target, moments = "s3://bucket/packs", random.Random(3)
    kill_after(s3, "PUT", moments.randint(2, 4), ["push", pack.archive, target])
    sent = [path for path in s3.requests("PUT") if "/parts/" in path]
    push(pack, target)
    again = [path for path in s3.requests("PUT") if "/parts/" in path][len(sent) :]
    # What was under way when it was killed may travel twice: four at most.
    assert len(set(sent) & set(again)) <= 4
    archive = tmp_path / "pulled" / pack.archive.name
    for _ in range(10):
        kill_after(s3, "GET", 6, ["pull", archive, target])
        if not archive.exists():
            break
        archive.unlink()  # it was whole before the signal came
    got = len([path for path in s3.requests("GET") if "/parts/" in path])
    pulled = pull(name_of(pack), target, archive.parent)
    assert pulled is not None
    assert pulled.archive.read_bytes() == pack.archive.read_bytes()
    total = len([path for path in s3.requests("GET") if "/parts/" in path])
    parts = len({path for path in s3.requests("PUT") if "/parts/" in path})
    assert total - got <= parts - 1, "the parts that had come were asked for again"
    assert sorted(path.name for path in archive.parent.iterdir()) == [f"{name_of(pack)}.json", archive.name]


def test_two_pulls_at_once_share_one_transfer(pack: Pack, s3: Server, tmp_path: Path) -> None:
    target = "s3://bucket/packs"
    push(pack, target)
    parts = len({path for path in s3.requests("PUT") if "/parts/" in path})
    archive = tmp_path / "pulled" / pack.archive.name
    command = [sys.executable, "-c", TRANSFER, "pull", str(archive), target, str(PART_BYTES)]
    with hold(archive.parent / f".{name_of(pack)}.pull.lock", what="", say=lambda line: None):
        pulls = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for process in pulls:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith(f"waiting for process {os.getpid()} on ")
            assert said.endswith(f", which is pulling {name_of(pack)}\n")
    assert [process.wait(timeout=120) for process in pulls] == [0, 0]
    assert archive.read_bytes() == pack.archive.read_bytes()
    assert sorted(path.name for path in archive.parent.iterdir()) == [f"{name_of(pack)}.json", archive.name]
    # The manifest is a part as well, and both read it.
    assert len([path for path in s3.requests("GET") if "/parts/" in path]) == parts + 1


def test_a_damaged_part_is_named(pack: Pack, tmp_path: Path) -> None:
    store = tmp_path / "store"
    push(pack, str(store))
    victim = parts_in(store)[3]
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    with pytest.raises(EnvError, match=victim.name):
        pull(name_of(pack), str(store), tmp_path / "pulled")
    assert not list((tmp_path / "pulled").glob("*.json"))


@pytest.mark.parametrize(
    "change",
    [{"schema": 2}, {"name": "Other"}, {"archive": []}, {"manifest": {"blake3": "../../etc/passwd", "size_bytes": 1}}],
)
def test_a_listing_that_is_none_is_refused(pack: Pack, tmp_path: Path, change: dict[str, object]) -> None:
    store = tmp_path / "store"
    push(pack, str(store))
    path = store / f"{name_of(pack)}.pack.json"
    listing = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    path.write_bytes(msgspec.json.encode({**listing, **change}))
    with pytest.raises(EnvError):
        pull(name_of(pack), str(store), tmp_path / "pulled")
    assert not list((tmp_path / "pulled").glob("*.json"))


def test_secrets_and_refusals(pack: Pack, s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvError, match="s3://no-such-bucket") as refused:
        push(pack, "s3://no-such-bucket/packs")
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(refused.value)
    with pytest.raises(UsageError, match="ftp"):
        open_store("ftp://host/packs", push=PUSH)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in s3.log.read_text()


def test_the_listing_names_parts_by_content(pack: Pack, tmp_path: Path) -> None:
    store = tmp_path / "store"
    push(pack, str(store))
    listing = msgspec.json.decode((store / f"{name_of(pack)}.pack.json").read_bytes(), type=Listing)
    assert {part.blake3 for part in (*listing.archive, listing.manifest)} == {path.name for path in parts_in(store)}
    assert sum(part.size_bytes for part in listing.archive) == pack.archive.stat().st_size
