"""Putting conda packages into a prefix: what comes out is the lock's, shares nothing, and never half made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conda_channel.channel import CondaChannel

from admlops.core.errors import EnvError
from admlops.core.types import Progress
from admlops.environments.install.conda.archives import archive_path
from admlops.environments.install.conda.install import install_conda
from admlops.environments.integrity.verification import verify
from admlops.environments.spec.conda_lock import CondaPackage

Install = Callable[..., list[str]]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def install(cache: Path, conda_channel: CondaChannel, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install into a prefix from the test channel; gives what was said."""
    for name, value in conda_channel.mirror_variables().items():
        monkeypatch.setenv(name, value)
    conda_channel.clear_log()

    def run(prefix: Path, packages: Sequence[CondaPackage], **options: object) -> list[str]:
        said: list[str] = []
        settings: dict[str, object] = {"attempts": 3, **options}
        install_conda(prefix, packages, cache=cache, say=said.append, **settings)  # type: ignore[arg-type]
        return said

    return run


def answer(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, env={}).stdout.strip()


def differences(prefix: Path, packages: Sequence[CondaPackage]) -> list[str]:
    return [f"{one.path} {one.reason}" for one in verify(prefix, full=True, base=packages).differences]


@pytest.mark.parametrize("minor", ["3.8", "3.11"])
def test_a_prefix_works_where_it_stands_and_shares_no_file(
    tmp_path: Path, install: Install, conda_channel: CondaChannel, cache: Path, minor: str
) -> None:
    prefix = tmp_path / "a folder with a space" / "env"
    packages = conda_channel.packages(["pip", "gxx_linux-64", "post-link"], python=minor)
    events: list[Progress] = []
    install(prefix, packages, progress=events.append)
    program = "import ctypes, sqlite3, ssl, sys, sysconfig; print(sys.prefix, sysconfig.get_config_var('LIBDIR'))"
    assert answer(prefix / "bin" / "python", "-c", program) == f"{prefix} {prefix}/lib"
    assert str(prefix) in answer(prefix / "bin" / "python", "-m", "pip", "--version")
    assert differences(prefix, packages) == []
    files = [path for path in prefix.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {path.stat().st_nlink for path in files} == {1}, "no file is shared with a cache"
    assert not (prefix / "post-link-ran").exists(), "no script of a package was run"
    assert not [path for path in cache.rglob("*") if path.is_dir() and path.name.startswith("python-")]
    total = sum(package.size_bytes or 0 for package in packages)
    assert (events[-1].phase, events[-1].done) == ("link", len(packages))
    assert [event for event in events if event.phase == "download"][-1].done == total


def test_records_have_the_locks_own_addresses_and_no_trace_of_the_cache(
    tmp_path: Path, install: Install, conda_channel: CondaChannel, cache: Path
) -> None:
    packages = conda_channel.packages(["gxx_linux-64"])
    install(tmp_path / "env", packages)
    records = [json.loads(path.read_text()) for path in (tmp_path / "env" / "conda-meta").glob("*.json")]
    assert {record["url"] for record in records} == {package.url for package in packages}
    text = json.dumps(records)
    assert all(place not in text for place in (str(cache), conda_channel.url, ".unpacked"))


def test_a_second_prefix_asks_for_nothing(tmp_path: Path, install: Install, conda_channel: CondaChannel) -> None:
    packages = conda_channel.packages(["gxx_linux-64", "big"])
    install(tmp_path / "one", packages)
    conda_channel.clear_log()
    install(tmp_path / "two", packages)
    assert conda_channel.log() == []
    assert differences(tmp_path / "two", packages) == []


def test_an_edited_file_stays_where_it_was_edited(
    tmp_path: Path, install: Install, conda_channel: CondaChannel
) -> None:
    packages = conda_channel.packages(["libdemo"])
    install(tmp_path / "one", packages)
    (tmp_path / "one" / "lib" / "libdemo.txt").write_text("edited by a pod's user")
    assert differences(tmp_path / "one", packages) != []
    install(tmp_path / "two", packages)
    assert differences(tmp_path / "two", packages) == []
    install(tmp_path / "one", packages, reinstall=["libdemo"])
    assert differences(tmp_path / "one", packages) == []


def test_a_tampered_cache_is_noticed_and_fetched_again(
    tmp_path: Path, install: Install, conda_channel: CondaChannel, cache: Path
) -> None:
    packages = conda_channel.packages(["libdemo", "big"])
    install(tmp_path / "one", packages)
    libdemo = next(package for package in packages if package.name == "libdemo")
    archive = archive_path(libdemo, cache)
    archive.write_bytes(archive.read_bytes()[:-1] + b"!")
    conda_channel.clear_log()
    said = install(tmp_path / "two", packages)
    assert "is not what the lock means" in "".join(said)
    assert [request.path for request in conda_channel.log()] == ["/conda-forge/linux-64/libdemo-1.0-0.conda"]
    assert differences(tmp_path / "two", packages) == []


def test_a_namesake_of_another_hash_is_neither_taken_from_the_cache_nor_left_in_the_prefix(
    tmp_path: Path, install: Install, conda_channel: CondaChannel
) -> None:
    ours = conda_channel.packages(["rebuilt"], channels=["conda-forge"])
    theirs = conda_channel.packages(["rebuilt"], channels=["nvidia"])
    assert (ours[0].file_name, ours[0].sha256 != theirs[0].sha256) == (theirs[0].file_name, True)
    install(tmp_path / "env", ours)
    install(tmp_path / "env", theirs)
    assert (tmp_path / "env" / "share" / "rebuilt.txt").read_text() == "from nvidia\n"
    assert differences(tmp_path / "env", theirs) == []


def test_what_the_lock_no_longer_has_goes(tmp_path: Path, install: Install, conda_channel: CondaChannel) -> None:
    install(tmp_path / "env", conda_channel.packages(["libdemo", "post-link"]))
    fewer = conda_channel.packages(["libdemo"])
    install(tmp_path / "env", fewer)
    assert differences(tmp_path / "env", fewer) == []
    assert not (tmp_path / "env" / "share" / "post-link.txt").exists()


def test_two_packages_that_bring_different_files_for_one_path_are_both_named(
    tmp_path: Path, install: Install, conda_channel: CondaChannel
) -> None:
    with pytest.raises(EnvError, match=r"clash-one and clash-two both bring share/clash/both\.txt, and not the same"):
        install(tmp_path / "env", conda_channel.packages(["clash-one", "clash-two"]))


def test_a_package_without_a_hash_is_refused_before_anything_is_asked_for(
    tmp_path: Path, install: Install, conda_channel: CondaChannel
) -> None:
    packages = conda_channel.packages(["libdemo", "big"])
    bare = [replace(package, sha256=None, md5=None) for package in packages if package.name == "libdemo"]
    conda_channel.clear_log()
    with pytest.raises(EnvError, match="no hash for libdemo"):
        install(tmp_path / "env", [*packages[:1], *bare])
    assert conda_channel.log() == []
    assert not (tmp_path / "env").exists()


def test_a_package_with_an_md5_alone_is_checked_against_it(
    tmp_path: Path, install: Install, conda_channel: CondaChannel
) -> None:
    [libdemo] = conda_channel.packages(["libdemo"])
    by_md5 = replace(libdemo, sha256=None)
    install(tmp_path / "env", [by_md5])
    assert differences(tmp_path / "env", [by_md5]) == []
    with pytest.raises(EnvError, match="its md5 is not"):
        install(tmp_path / "other", [replace(by_md5, md5="0" * 32)])


def test_a_cache_on_another_file_system_does(
    tmp_path: Path, conda_channel: CondaChannel, install: Install, cache: Path
) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev or not os.access(other, os.W_OK):
        pytest.skip("needs /dev/shm, writable and not the file system of the temporary files")
    packages = conda_channel.packages(["gxx_linux-64"])
    with tempfile.TemporaryDirectory(dir=other) as folder:
        install_conda(tmp_path / "env", packages, cache=Path(folder), say=print)
    assert differences(tmp_path / "env", packages) == []


def test_a_crash_of_the_child_is_not_the_end(
    tmp_path: Path, install: Install, conda_channel: CondaChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process dies at once; a fresh one does the job."""
    calls = tmp_path / "calls"
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho x >> "{calls}"\n[ $(wc -l < "{calls}") -eq 1 ] && kill -SEGV $$\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    packages = conda_channel.packages(["libdemo"])
    install(tmp_path / "env", packages)
    assert calls.read_text().count("x") == 2
    assert differences(tmp_path / "env", packages) == []
