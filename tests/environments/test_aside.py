"""A removed environment is set aside: what is as it was built comes back, and nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.environments.pack_prefix import DIGEST, LONG_NAME, make_prefix, tree_of
from tests.environments.small_checkout import SmallCheckout

from admlops.environments.integrity.file_manifest import CONTENTS_FILE, SCHEMA, list_contents, read_contents
from admlops.environments.prefix import SENTINEL, STATE_FILE, read_state
from admlops.environments.removal import held
from admlops.environments.reuse.aside import aside_of, can_come_back, restore_from_aside, set_aside

SITE = Path("lib/python3.11/site-packages")
INIT = SITE / "pkg/__init__.py"
LARGE = SITE / "large.bin"

RESTORE = """
import sys
from pathlib import Path
from admlops.environments.reuse.aside import restore_from_aside
from admlops.environments.install.prefix_lock import clear_prefix

prefix = Path(sys.argv[1])
clear_prefix(prefix)
print("begun", flush=True)
restore_from_aside(prefix, digest=sys.argv[2], say=print)
"""


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    made = make_prefix(tmp_path / "environments" / "Tiny-modern-dddddddddddd")
    record(made)
    return made


def record(prefix: Path) -> None:
    list_contents(prefix).write(prefix, name="Tiny-modern", digest=DIGEST, state={"packages": 1})


def restore(prefix: Path, said: list[str], *, digest: str = DIGEST) -> bool:
    prefix.mkdir()
    (prefix / SENTINEL).write_text("made here\n")
    state = restore_from_aside(prefix, digest=digest, say=said.append)
    assert state in (None, {"packages": 1})
    return state is not None


def test_files_come_back_where_they_lay(prefix: Path) -> None:
    before, inode = tree_of(prefix), (prefix / LARGE).stat().st_ino
    assert can_come_back(prefix)
    set_aside(prefix)
    assert not prefix.exists()
    said: list[str] = []
    assert restore(prefix, said)
    assert said == []
    assert tree_of(prefix) == before
    assert (prefix / LARGE).stat().st_ino == inode
    assert not aside_of(prefix).exists()


def test_hashing_shows_how_far_it_is(prefix: Path) -> None:
    seen: list[tuple[int, int]] = []
    list_contents(prefix, lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 9 << 20
    set_aside(prefix)
    prefix.mkdir()
    assert restore_from_aside(prefix, digest=DIGEST, say=print, watch=lambda *one: seen.append(one)) is not None
    assert seen[-1] == seen[0]


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


HEALED: list[Callable[[Path], object]] = [
    add_a_package,
    lambda prefix: os.utime(prefix / INIT, (1_700_000_000, 1_700_000_000)),
    lambda prefix: (prefix / "bin/python").unlink(),
    lambda prefix: (prefix / "lib/closed").chmod(0o700),
]
REFUSED: list[Callable[[Path], object]] = [
    edit_keeping_its_look,
    link_elsewhere,
    put_a_folder_in_the_way,
    put_a_file_in_the_way,
    lambda prefix: (prefix / INIT).write_text("value = 2\n"),
    lambda prefix: (prefix / INIT).unlink(),
    lambda prefix: (prefix / INIT).chmod(0o755),
    lambda prefix: (prefix / SITE / LONG_NAME).rename(prefix / SITE / "renamed.py"),
    lambda prefix: os.link(prefix / INIT, prefix.parent / "mine.py"),
]


@pytest.mark.parametrize("change", HEALED)
def test_what_was_added_goes(prefix: Path, change: Callable[[Path], object]) -> None:
    before = tree_of(prefix)
    change(prefix)
    assert tree_of(prefix) != before
    set_aside(prefix)
    assert restore(prefix, [])
    assert tree_of(prefix) == before


@pytest.mark.parametrize("change", REFUSED)
def test_what_was_changed_does_not_come_back(prefix: Path, change: Callable[[Path], object]) -> None:
    change(prefix)
    set_aside(prefix)
    said: list[str] = []
    assert not restore(prefix, said)
    assert "was set aside, but changed since it was built (" in said[0]
    assert not aside_of(prefix).exists()


def test_it_comes_back_only_as_what_it_was(prefix: Path) -> None:
    set_aside(prefix)
    assert not restore(prefix, [], digest="e" * 64)
    assert aside_of(prefix).is_dir(), "another lock's environment leaves it alone"
    shutil.rmtree(prefix)
    aside_of(prefix).rename(aside_of(prefix.with_name("Elsewhere")))
    assert not restore(prefix.with_name("Elsewhere"), [])


def edit_contents(prefix: Path, *, change: Callable[[dict[str, Any]], object]) -> None:
    contents = json.loads((prefix / CONTENTS_FILE).read_text())
    change(contents)
    (prefix / CONTENTS_FILE).write_text(json.dumps(contents))


@pytest.mark.parametrize(
    "change",
    [
        lambda contents: contents.update(schema=SCHEMA + 1),
        lambda contents: contents["entries"].append(["../beside", "file", 0o644, 0, "0" * 64, 0, 0]),
        lambda contents: contents["entries"].append(["leads", "link", 0o777, 0, "/etc", 0, 0]),
        lambda contents: contents.update(entries="all of them"),
        lambda contents: contents.pop("prefix"),
    ],
)
def test_a_list_that_cannot_be_followed_is_none(prefix: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit_contents(prefix, change=change)
    assert read_contents(prefix) is None
    assert not can_come_back(prefix)


def test_a_python_that_is_gone_is_not_linked_to(prefix: Path) -> None:
    edit_contents(prefix, change=lambda contents: contents["interpreter"].update(target="/no/python"))
    set_aside(prefix)
    assert not restore(prefix, [])


@pytest.mark.parametrize("odd", ["link", "pipe"])
def test_one_with_what_no_list_can_hold_cannot_come_back(prefix: Path, odd: str) -> None:
    """Nothing else is wrong with it."""
    (prefix / CONTENTS_FILE).unlink()
    if odd == "link":
        (prefix / "lib/out").symlink_to("../../..")
    else:
        os.mkfifo(prefix / "lib/pipe")
    record(prefix)
    assert not can_come_back(prefix)


def test_links_that_leave_together_do_not_come_back(prefix: Path) -> None:
    """Each stays inside by its text, but the second leads through the first."""
    (prefix / "lib/deep/deeper").mkdir(parents=True)
    (prefix / "lib/through").symlink_to("../bin")
    (prefix / "lib/deep/deeper/out").symlink_to("../../through/../..")
    (prefix / CONTENTS_FILE).unlink()
    record(prefix)
    assert can_come_back(prefix)
    set_aside(prefix)
    said: list[str] = []
    assert not restore(prefix, said)
    assert "'lib/deep/deeper/out' leads out of the environment" in said[0]


@pytest.mark.parametrize("seed", range(6))
def test_taking_it_back_may_be_killed_at_any_moment(prefix: Path, seed: int) -> None:
    """It is whole only when all was looked at: whoever comes next clears what is there, or has it all."""
    before, chance = tree_of(prefix), random.Random(seed)
    add_a_package(prefix)
    set_aside(prefix)
    command = [sys.executable, "-c", RESTORE, str(prefix), DIGEST]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"begun\n"
        time.sleep(chance.uniform(0, 0.05))
        killed.send_signal(signal.SIGKILL)
    assert read_state(prefix) is None, "nothing says that it is ready"
    subprocess.run(command, check=True)
    assert tree_of(prefix) in (before, {}), "taken back, or cleared for a build"
    assert not aside_of(prefix).exists()


@pytest.mark.parametrize("variant", ["modern", "conda"])
def test_remove_sets_aside_and_install_takes_back(small: SmallCheckout, variant: str) -> None:
    chosen = ("Tiny", "--variant", variant)
    small.admlops("env", "install", *chosen)
    prefix = small.prefix(variant)
    core = next(prefix.rglob("click/core.py"))
    before, inode = tree_of(prefix), core.stat().st_ino
    (row,) = json.loads(small.admlops("env", "remove", *chosen, "--yes", "--json").stdout)
    assert row["freed_bytes"] == 0
    assert row["aside_bytes"] > 0
    listed = json.loads(small.admlops("env", "list", "--json").stdout)[-1]
    assert listed["prefix"] == str(aside_of(prefix))
    assert listed["status"] == "set aside: env install takes it back, env gc frees it"
    assert listed["size_bytes"] > 0
    assert "no environments" in small.admlops("env", "remove", "--all").stdout
    said = small.admlops("env", "install", *chosen, "--json").stderr
    assert f"took back Tiny-{variant}, which was set aside and is as it was built, in " in said
    assert tree_of(prefix) == before
    assert core.stat().st_ino == inode
    small.admlops("env", "verify", *chosen, "--full")
    assert small.admlops("env", "run", *chosen, "--", "python", "-c", "import click; print(1)").stdout == "1\n"
    assert read_state(prefix)["built_s"] > 0  # type: ignore[index]


@pytest.mark.parametrize("packed", [False, True])
def test_an_edit_does_not_come_back(small: SmallCheckout, packed: bool) -> None:
    small.admlops("env", "install", "Tiny", *(["--pack"] if packed else []))
    prefix = small.prefix("modern")
    before = contents_of(prefix)
    edited = next(prefix.rglob("click/core.py"))
    with edited.open("a") as file:
        file.write("edited = True\n")
    small.admlops("env", "remove", "Tiny", "--yes")
    said = small.admlops("env", "install", "Tiny", "--json").stderr
    assert "changed since it was built (lib/" in said
    assert ("restored Tiny-modern from its pack" if packed else "built Tiny-modern in") in said
    assert contents_of(prefix) == before
    small.admlops("env", "remove", "Tiny", "--yes")
    said = small.admlops("env", "install", "Tiny", "--json").stderr
    assert "took back" in said, "what was built or restored anew can be set aside again"
    assert contents_of(prefix) == before


def contents_of(prefix: Path) -> dict[str, bytes]:
    """Of the files that packages brought."""
    return {path: row[3] for path, row in tree_of(prefix).items() if "site-packages" in path and row[0] == "file"}


def test_gc_and_purge_free_the_disk(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny")
    prefix = small.prefix("modern")
    assert "are set aside, until: admlops env gc" in small.admlops("env", "remove", "Tiny", "--yes").stdout
    assert aside_of(prefix).is_dir()
    assert "set aside for the next installation" in small.admlops("env", "gc").stdout
    assert not aside_of(prefix).exists()
    assert "built Tiny-modern in" in small.admlops("env", "install", "Tiny", "--json").stderr
    small.admlops("env", "remove", "Tiny", "--yes")
    small.admlops("env", "install", "Tiny", "--no-pack")
    assert aside_of(prefix).is_dir()
    (row,) = json.loads(small.admlops("env", "remove", "Tiny", "--purge", "--yes", "--json").stdout)
    assert row["freed_bytes"] > 0
    assert not list(prefix.parent.glob("*Tiny-modern*[0-9a-f]"))
    assert not aside_of(prefix).exists(), "what was set aside before goes too"


def test_gc_leaves_alone_what_an_installation_takes_back(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny")
    prefix = small.prefix("modern")
    small.admlops("env", "remove", "Tiny", "--yes")
    with held(prefix):
        assert "another process is building" in small.admlops("env", "gc").stdout
        assert aside_of(prefix).is_dir()
    small.admlops("env", "gc")
    assert not aside_of(prefix).exists()


def test_a_second_removal_leaves_one_aside(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny")
    prefix = small.prefix("modern")
    small.admlops("env", "remove", "Tiny", "--yes")
    assert "built Tiny-modern" in small.admlops("env", "install", "Tiny", "--no-pack", "--json").stderr
    small.admlops("env", "remove", "Tiny", "--yes")
    assert [path.name for path in prefix.parent.glob(".Tiny*")] == [aside_of(prefix).name]
    assert "took back" in small.admlops("env", "install", "Tiny", "--json").stderr
    small.admlops("env", "verify", "Tiny", "--full")


def test_what_was_repaired_can_come_back(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny")
    prefix = small.prefix("modern")
    edited = next(prefix.rglob("click/core.py"))
    edited.write_text("raise SystemExit\n")
    small.admlops("env", "repair", "Tiny")
    small.admlops("env", "remove", "Tiny", "--yes")
    assert "took back" in small.admlops("env", "install", "Tiny", "--json").stderr
    small.admlops("env", "verify", "Tiny", "--full")


def test_one_that_no_lock_asks_for_is_gone(small: SmallCheckout) -> None:
    """No installation would take it back."""
    small.admlops("env", "install", "Tiny")
    prefix = small.prefix("modern")
    lock = small.model / "modern" / "requirements.txt"
    lock.write_text(lock.read_text() + "# another lock\n")
    (row,) = json.loads(small.admlops("env", "remove", prefix.name, "--yes", "--json").stdout)
    assert row["freed_bytes"] > 0
    assert not aside_of(prefix).exists()


def test_one_that_is_not_ready_is_gone(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny")
    prefix = small.prefix("modern")
    state = json.loads((prefix / STATE_FILE).read_text())
    (prefix / STATE_FILE).write_text(json.dumps({**state, "state": "broken"}))
    assert "MB\n" in small.admlops("env", "remove", prefix.name, "--yes").stdout
    assert not aside_of(prefix).exists()
