"""A removed environment with a stored pack is set aside: what is as the pack says comes back, and nothing else."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.environments.pack_prefix import DIGEST, LONG_NAME, make_prefix, tree_of
from tests.environments.small_checkout import SmallCheckout

from admlops.environments.options import COMPRESSED, STORED
from admlops.environments.packs import aside_of, pack_environment, restore_from_pack, set_aside
from admlops.environments.prefix import SENTINEL

SITE = Path("lib/python3.11/site-packages")
INIT = SITE / "pkg/__init__.py"
LARGE = SITE / "large.bin"

RESTORE = """
import sys
from pathlib import Path
from admlops.environments.building import clear_prefix
from admlops.environments.packs import restore_from_pack

prefix = Path(sys.argv[2])
clear_prefix(prefix)
print("begun", flush=True)
assert restore_from_pack(Path(sys.argv[1]), prefix, digest=sys.argv[3], say=print) is not None
"""


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return make_prefix(tmp_path / "environments" / "Tiny-modern-dddddddddddd")


@pytest.fixture
def packs(prefix: Path, tmp_path: Path) -> Path:
    pack_environment(prefix, tmp_path / "packs", level=STORED)
    return tmp_path / "packs"


def restore(packs: Path, prefix: Path, said: list[str]) -> None:
    prefix.mkdir()
    (prefix / SENTINEL).write_text("made here\n")
    assert restore_from_pack(packs, prefix, digest=DIGEST, say=said.append) is not None


def test_files_come_back_where_they_lay(prefix: Path, packs: Path) -> None:
    before, inode = tree_of(prefix), (prefix / LARGE).stat().st_ino
    set_aside(prefix)
    assert not prefix.exists()
    said: list[str] = []
    restore(packs, prefix, said)
    assert tree_of(prefix) == before
    assert (prefix / LARGE).stat().st_ino == inode
    assert "was set aside: 16 of 16 entries are as its pack says" in said[0]
    assert not aside_of(prefix).exists()


def edit_keeping_its_look(prefix: Path) -> None:
    """Same size and time, another content."""
    status = (prefix / LARGE).stat()
    with (prefix / LARGE).open("r+b") as file:
        file.seek(5 << 20)
        file.write(b"edited")
    os.utime(prefix / LARGE, ns=(status.st_atime_ns, status.st_mtime_ns))


def link_elsewhere(prefix: Path) -> None:
    (prefix / "lib64").unlink()
    (prefix / "lib64").symlink_to("/tmp")


def put_a_folder_in_the_way(prefix: Path) -> None:
    (prefix / INIT).unlink()
    (prefix / INIT / "deeper").mkdir(parents=True)
    (prefix / INIT / "deeper" / "file").write_text("in the way")


def put_a_file_in_the_way(prefix: Path) -> None:
    (prefix / "lib/empty").rmdir()
    (prefix / "lib/empty").write_text("was a folder")


def add_a_package(prefix: Path) -> None:
    (prefix / SITE / "added").mkdir()
    (prefix / SITE / "added" / "__init__.py").write_text("")
    (prefix / SITE / "sitecustomize.py").write_text("raise SystemExit\n")


CHANGES: list[Callable[[Path], object]] = [
    edit_keeping_its_look,
    link_elsewhere,
    put_a_folder_in_the_way,
    put_a_file_in_the_way,
    add_a_package,
    lambda prefix: (prefix / INIT).write_text("value = 2\n"),
    lambda prefix: (prefix / INIT).unlink(),
    lambda prefix: (prefix / INIT).chmod(0o755),
    lambda prefix: os.utime(prefix / INIT, (1_700_000_000, 1_700_000_000)),
    lambda prefix: (prefix / SITE / LONG_NAME).rename(prefix / SITE / "renamed.py"),
    lambda prefix: (prefix / "bin/python").unlink(),
    lambda prefix: (prefix / "lib/closed").chmod(0o700),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_does_not_come_back(prefix: Path, packs: Path, change: Callable[[Path], object]) -> None:
    before = tree_of(prefix)
    change(prefix)
    assert tree_of(prefix) != before
    set_aside(prefix)
    restore(packs, prefix, [])
    assert tree_of(prefix) == before


def test_a_file_that_has_another_name_elsewhere_is_written_anew(prefix: Path, packs: Path, tmp_path: Path) -> None:
    """Somebody who linked it out of the environment may still write into it."""
    os.link(prefix / INIT, tmp_path / "mine.py")
    set_aside(prefix)
    restore(packs, prefix, [])
    assert not (prefix / INIT).samefile(tmp_path / "mine.py")
    assert (prefix / INIT).read_text() == "value = 1\n"


def test_only_a_stored_pack_brings_it_back(prefix: Path, packs: Path) -> None:
    before, inode = tree_of(prefix), (prefix / LARGE).stat().st_ino
    pack_environment(prefix, packs, level=COMPRESSED)
    set_aside(prefix)
    restore(packs, prefix, [])
    assert tree_of(prefix) == before
    assert (prefix / LARGE).stat().st_ino != inode


@pytest.mark.parametrize("seed", range(6))
def test_taking_it_back_may_be_killed_at_any_moment(prefix: Path, packs: Path, seed: int) -> None:
    before, chance = tree_of(prefix), random.Random(seed)
    edit_keeping_its_look(prefix)
    add_a_package(prefix)
    set_aside(prefix)
    command = [sys.executable, "-c", RESTORE, str(packs), str(prefix), DIGEST]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"begun\n"
        time.sleep(chance.uniform(0, 0.05))
        killed.send_signal(signal.SIGKILL)
    subprocess.run(command, check=True)
    assert tree_of(prefix) == before


def test_remove_sets_aside_and_gc_frees(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--pack")
    prefix = small.prefix("modern")
    before, inode = tree_of(prefix), (prefix / "pyvenv.cfg").stat().st_ino
    with (prefix / "pyvenv.cfg").open("a") as file:
        file.write("edited = true\n")
    (row,) = json.loads(small.admlops("env", "remove", "Tiny", "--yes", "--json").stdout)
    assert row["freed_bytes"] == 0
    assert row["aside_bytes"] > 0
    assert "no environments" in small.admlops("env", "list").stdout + small.admlops("env", "remove", "--all").stdout
    said = small.admlops("env", "install", "Tiny", "--json").stderr
    assert "was set aside: " in said
    assert "restored Tiny-modern from its pack" in said
    assert tree_of(prefix) == before
    assert (prefix / "pyvenv.cfg").stat().st_ino != inode
    assert "set Tiny-modern" in small.admlops("env", "remove", "Tiny", "--yes").stdout
    assert "set aside for its stored pack" in small.admlops("env", "gc").stdout
    assert not aside_of(prefix).exists()
    said = small.admlops("env", "install", "Tiny", "--json").stderr
    assert "was set aside" not in said
    assert "restored" in said
    assert tree_of(prefix) == before


def test_a_second_removal_leaves_one_aside(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--pack")
    prefix = small.prefix("modern")
    small.admlops("env", "remove", "Tiny", "--yes")
    small.admlops("env", "install", "Tiny", "--no-pack")
    small.admlops("env", "remove", "Tiny", "--yes")
    assert [path.name for path in prefix.parent.glob(".Tiny*")] == [aside_of(prefix).name]
    assert "was set aside" in small.admlops("env", "install", "Tiny", "--json").stderr
    small.admlops("env", "verify", "Tiny", "--full")


def test_an_environment_without_a_stored_pack_is_gone(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny")
    prefix = small.prefix("modern")
    small.admlops("env", "pack", "Tiny")
    assert "removed Tiny-modern" in small.admlops("env", "remove", "Tiny", "--yes").stdout
    assert not aside_of(prefix).exists()
