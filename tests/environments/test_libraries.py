"""Libraries are shared, texts are not; what was written through one name reaches no new environment."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from tests.environments.pack_prefix import DIGEST, make_prefix, tree_of
from tests.environments.small_checkout import SmallCheckout, locked

from admlops.environments.integrity.hashing import hash_file
from admlops.environments.integrity.verification import inspect
from admlops.environments.reuse.libraries import SMALLEST_BYTES, Libraries, is_library
from admlops.environments.reuse.packs import (
    COMPRESSED,
    STORED,
    Pack,
    libraries_wanted,
    pack_environment,
    restore_from_pack,
    unpack,
)

LIBRARY = Path("lib/libbig.so.12")
HUGE = Path("lib/libhuge.a")
SMALL = Path("lib/libsmall.so")
TEXT = Path("lib/python3.11/site-packages/pkg/__init__.py")

TWIN = """
[variants.twin]
python = ">=3.11"
installers = ["venv"]
requirements = "twin/requirements.txt"
"""


def make_native(prefix: Path) -> Path:
    """An environment with libraries: one for a writer, one that is unpacked in pieces, one too small to share."""
    made = make_prefix(prefix)
    chance = random.Random(2)
    for path, size in ((LIBRARY, SMALLEST_BYTES), (HUGE, 9 << 20), (SMALL, SMALLEST_BYTES - 1)):
        (made / path).write_bytes(chance.randbytes(size))
    (made / LIBRARY).chmod(0o755)
    (made / "lib/libbig.so").symlink_to(LIBRARY.name)
    (made / "lib/absolute").unlink()  # it leads to this very place
    return made


@pytest.fixture
def libraries(tmp_path: Path) -> Libraries:
    return Libraries(tmp_path / "environments" / ".libraries")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return make_native(tmp_path / "environments" / "Tiny-modern-dddddddddddd")


@pytest.fixture(params=[COMPRESSED, STORED], ids=["compressed", "stored"])
def pack(prefix: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Pack:
    return pack_environment(prefix, tmp_path / "packs", level=request.param)


def restored(pack: Pack, libraries: Libraries, name: str) -> Path:
    """The pack's environment at another place, where it may stand though it would not run."""
    target = libraries.folder.parent / name
    unpack(pack, target, libraries=libraries)
    return target


@pytest.mark.parametrize(
    ("path", "size_bytes", "shared"),
    [
        ("torch/lib/libtorch_cuda.so", 1 << 20, True),
        ("lib/libcudart.so.12", 1 << 20, True),
        ("lib/libz.so.1.2.13", SMALLEST_BYTES, True),
        ("lib/libcudart_static.a", 1 << 20, True),
        ("lib/libz.so", SMALLEST_BYTES - 1, False),
        ("site-packages/big.py", 1 << 20, False),
        ("site-packages/notes.so.txt", 1 << 20, False),
        ("site-packages/notso", 1 << 20, False),
    ],
)
def test_what_a_person_may_edit_is_no_library(path: str, size_bytes: int, shared: bool) -> None:
    assert is_library(path, size_bytes) is shared


def test_restored_environments_share_their_libraries_and_nothing_else(
    pack: Pack, prefix: Path, libraries: Libraries
) -> None:
    one, two = restored(pack, libraries, "one"), restored(pack, libraries, "two")
    for path in (LIBRARY, HUGE):
        assert (one / path).samefile(two / path)
    for path in (SMALL, TEXT):
        assert not (one / path).samefile(two / path)
    before = tree_of(prefix)
    for made in (one, two):
        there = tree_of(made)
        assert there.keys() == before.keys()
        assert {name: (kind, mode, content) for name, (kind, mode, _, content) in there.items()} == {
            name: (kind, mode, content) for name, (kind, mode, _, content) in before.items()
        }


def test_an_edited_library_reaches_no_new_environment(pack: Pack, prefix: Path, libraries: Libraries) -> None:
    original = (prefix / HUGE).read_bytes()
    one = restored(pack, libraries, "one")
    with (one / HUGE).open("r+b") as file:
        file.write(b"edited")
    (one / LIBRARY).chmod(0o700)
    two = restored(pack, libraries, "two")
    assert (two / HUGE).read_bytes() == original
    assert (two / LIBRARY).stat().st_mode & 0o777 == 0o755
    assert (one / HUGE).read_bytes().startswith(b"edited"), "a person's edit stays where it is"
    three = restored(pack, libraries, "three")
    assert (three / HUGE).samefile(two / HUGE)


def share(libraries: Libraries, prefix: Path) -> int:
    return libraries.share(prefix, inspect(prefix, overrides={}).listing.entries)


def test_built_environments_come_to_share(tmp_path: Path, libraries: Libraries) -> None:
    one, two = (make_native(libraries.folder.parent / name) for name in ("one", "two"))
    assert share(libraries, one) == 0
    assert share(libraries, two) == sum((two / path).stat().st_blocks * 512 for path in (LIBRARY, HUGE))
    assert (one / HUGE).samefile(two / HUGE)
    assert not (one / SMALL).samefile(two / SMALL)
    again = share(libraries, two)
    assert again == sum((two / path).stat().st_blocks * 512 for path in (LIBRARY, HUGE)), "it is shared as before"
    assert tree_of(one).keys() == tree_of(two).keys(), "nothing is left beside the libraries"
    assert len(list(libraries.folder.iterdir())) == 2


def test_a_disk_without_hard_links_works(
    pack: Pack, prefix: Path, libraries: Libraries, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    one, two = restored(pack, libraries, "one"), restored(pack, libraries, "two")
    assert tree_of(one) == tree_of(two) == tree_of(prefix)
    assert share(libraries, one) == share(libraries, two) == 0
    assert tree_of(one) == tree_of(prefix)
    assert not (one / HUGE).samefile(two / HUGE)


def test_a_stored_pack_keeps_its_libraries_and_a_compressed_one_does_not(
    prefix: Path, tmp_path: Path, libraries: Libraries
) -> None:
    share(libraries, prefix)
    folder = tmp_path / "packs"
    for level, kept in ((STORED, 2), (COMPRESSED, 0)):
        pack_environment(prefix, folder, level=level)
        assert len(libraries_wanted(folder)) == kept
    pack_environment(prefix, folder, level=STORED)
    (prefix / "lib/closed").chmod(0o755)
    shutil.rmtree(prefix)
    assert libraries.prune(libraries_wanted(folder)) == 0
    kept_inode = next(path for path in libraries.folder.iterdir() if path.stat().st_size > 1 << 20).stat().st_ino
    assert restore_from_pack(folder, prefix, digest=DIGEST, say=print, libraries=libraries) is not None
    assert (prefix / HUGE).stat().st_ino == kept_inode
    (prefix / "lib/closed").chmod(0o755)
    shutil.rmtree(prefix)
    assert libraries.prune() > 9 << 20
    assert list(libraries.folder.iterdir()) == []


def core_of(prefix: Path) -> Path:
    """A library of a package that both variants lock."""
    (found,) = prefix.glob("lib/python3*/site-packages/msgspec/_core.*.so")
    return found


@pytest.fixture
def twins(small: SmallCheckout, tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallCheckout, Path, Path]:
    """Two environments with the same package; both are built from uv's cache, by the command.

    The cache is the test's own: libraries are links to it, and so are those of whatever else was installed from it.
    """
    small.variables["UV_CACHE_DIR"] = str(tmp_path_factory.mktemp("uv"))
    with (small.model / "model.toml").open("a") as file:
        file.write(TWIN)
    for variant, names in (("modern", ("msgspec",)), ("twin", ("click", "msgspec"))):
        (small.model / variant).mkdir(exist_ok=True)
        (small.model / variant / "requirements.txt").write_text("".join(map(locked, names)))
        said = small.admlops("env", "install", "Tiny", "--variant", variant).stderr
    assert "shared with other environments" in said
    return small, small.prefix("modern"), small.prefix("twin")


def test_an_edit_shows_in_each_environment_and_repair_parts_them(twins: tuple[SmallCheckout, Path, Path]) -> None:
    small, one, two = twins
    assert core_of(one).samefile(core_of(two))
    with core_of(one).open("r+b") as file:
        file.seek(1 << 12)
        file.write(b"edited")
    for prefix in (one, two):
        said = small.admlops("env", "verify", prefix.name, "--full", check=False)
        assert said.returncode == 1
        assert "environments that share it have it so too [msgspec]" in said.stdout
    small.admlops("env", "repair", one.name)
    small.admlops("env", "verify", one.name, "--full")
    assert hash_file(str(core_of(one))) != hash_file(str(core_of(two))), "a repair changes no other environment"
    small.admlops("env", "repair", two.name)
    small.admlops("env", "verify", "--full")
    assert core_of(one).samefile(core_of(two))


def test_what_is_shared_goes_with_the_last_environment(twins: tuple[SmallCheckout, Path, Path]) -> None:
    small, one, two = twins
    shared_bytes = core_of(one).stat().st_blocks * 512
    library = small.layout.libraries

    def freed(prefix: Path) -> int:
        (row,) = json.loads(small.admlops("env", "remove", prefix.name, "--json").stdout)
        return int(row["freed_bytes"])

    texts = sum(path.lstat().st_blocks * 512 for path in one.rglob("*")) - shared_bytes
    assert freed(one) == pytest.approx(texts, rel=0.1)
    assert any(library.iterdir())
    assert freed(two) > shared_bytes
    assert list(library.iterdir()) == []


def test_gc_removes_libraries_that_nobody_has(twins: tuple[SmallCheckout, Path, Path]) -> None:
    small, one, two = twins
    assert "nothing to remove" in small.admlops("env", "gc").stdout
    for prefix in (one, two):
        shutil.rmtree(prefix)
    (planned,) = json.loads(small.admlops("env", "gc", "--dry-run", "--json").stdout)
    assert Path(planned["path"]) == small.layout.libraries
    kept = [path.stat() for path in small.layout.libraries.iterdir()]
    assert any(status.st_size > SMALLEST_BYTES for status in kept)
    freed = sum(status.st_blocks * 512 for status in kept if status.st_nlink == 1)
    assert planned["size_bytes"] == freed, "what uv's cache has too frees nothing"
    assert "that no environment and no stored pack here has" in small.admlops("env", "gc").stdout
    assert list(small.layout.libraries.iterdir()) == []
