"""Conda locks: written, read, refused, solved, and accepted by conda-lock itself."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.environments.locking_fixtures import VIRTUAL_PACKAGES, record, small_index, write_index

from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.environments import ensure_official
from admlops.environments.locking.conda_inputs import CondaInputs, read_conda_inputs
from admlops.environments.locking.solve import MIRROR_VARIABLE, solve
from admlops.environments.spec.conda_lock import (
    CANONICAL_HOST,
    CondaLock,
    CondaPackage,
    describe_trust,
    read_conda_lock,
    side_file,
    write_conda_lock,
)

if TYPE_CHECKING:
    from tests.conda_channel.channel import CondaChannel

SHARED_INDEX = find_layout().root.parent / "shared" / "index"
NAMES = st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True)
HEX = st.text("0123456789abcdef")
CONDITIONS = st.sampled_from([">=1,<2", "1.2.*", "==3 h1_0", "*", ""])


@st.composite
def packages(draw: st.DrawFn) -> CondaPackage:
    name, build = draw(NAMES), f"h{draw(st.integers(0, 99))}_{draw(st.integers(0, 9))}"
    version, subdir = (
        draw(st.sampled_from(["1.0", "2026a", "1.1.1w", "2"])),
        draw(st.sampled_from(["linux-64", "noarch"])),
    )
    file_name = f"{name}-{version}-{build}.{draw(st.sampled_from(['conda', 'tar.bz2']))}"
    depends = draw(st.lists(st.builds(lambda one, spec: f"{one} {spec}".strip(), NAMES, CONDITIONS), max_size=4))
    return CondaPackage(
        name=name,
        version=version,
        build=build,
        build_number=draw(st.integers(0, 500)),
        subdir=subdir,
        channel=draw(st.sampled_from(["conda-forge", "nvidia/label/cuda-11.8.0"])),
        url="",
        file_name=file_name,
        sha256=draw(st.none() | st.just("a" * 64)),
        md5=draw(st.just("b" * 32)),
        size_bytes=draw(st.none() | st.integers(0, 1 << 40)),
        depends=tuple(depends),
        constrains=tuple(draw(st.lists(NAMES, max_size=2))),
        noarch=draw(st.sampled_from([None, "python", "generic"])),
        timestamp=draw(st.none() | st.integers(0, 1 << 45)),
    )


def make_lock(found: list[CondaPackage], *, confirmed: bool = False) -> CondaLock:
    placed = tuple(replace(one, url=f"{CANONICAL_HOST}/{one.channel}/{one.subdir}/{one.file_name}") for one in found)
    return CondaLock(
        platform="linux-64",
        channels=("conda-forge", "nvidia/label/cuda-11.8.0"),
        packages=placed,
        content_hash="c" * 64,
        md5_only=frozenset(one.url for one in placed if one.sha256 is None),
        confirmed=confirmed,
    )


@settings(max_examples=30, deadline=None)  # each example writes to the disk and waits for it
@given(found=st.lists(packages(), max_size=5, unique_by=lambda one: one.name), confirmed=st.booleans())
def test_what_is_written_is_read(
    found: list[CondaPackage], confirmed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, lock = tmp_path_factory.mktemp("lock") / "conda-lock.yml", make_lock(found, confirmed=confirmed)
    write_conda_lock(path, lock)
    assert read_conda_lock(path) == lock


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock of two packages, the second from a channel that publishes only md5."""
    one = CondaPackage.from_json({**record("one", "1.0"), "channel": "conda-forge", "file_name": "one-1.0-0.conda"})
    two = replace(one, name="two", channel="nvidia", file_name="two-1.0-0.conda", sha256=None)
    write_conda_lock(tmp_path / "conda-lock.yml", make_lock([one, two]))
    return tmp_path / "conda-lock.yml"


def test_says_what_is_not_known(lock: Path) -> None:
    found = read_conda_lock(lock)
    assert describe_trust(found) == [
        "made from channel records alone: no package was fetched yet to confirm it",
        "only an md5, because the channel publishes no sha256: two-1.0-0.conda",
    ]
    whole = replace(found, confirmed=True, packages=tuple(replace(one, sha256="d" * 64) for one in found.packages))
    assert describe_trust(whole) == []


def test_a_recorded_sha256_changes_only_the_file_beside(lock: Path) -> None:
    before, found = lock.read_text(), read_conda_lock(lock)
    one, two = found.packages
    complete = replace(found, confirmed=True, packages=(one, replace(two, sha256="d" * 64)))
    write_conda_lock(lock, complete)
    assert lock.read_text() == before, "an environment's digest would change with it"
    assert read_conda_lock(lock) == complete


def test_a_lock_that_lacks_a_hash_is_not_written(tmp_path: Path) -> None:
    one = CondaPackage.from_json({**record("one", "1.0"), "channel": "a", "file_name": "one-1.0-0.conda"})
    for bad, reason in (
        (make_lock([replace(one, sha256=None, md5=None)]), "one has no hash"),
        (replace(make_lock([replace(one, sha256=None)]), md5_only=frozenset()), "one has only an md5"),
        (make_lock([replace(one, sha256="A" * 64)]), "is not a sha256"),
    ):
        with pytest.raises(EnvError, match=reason):
            write_conda_lock(tmp_path / "conda-lock.yml", bad)
    assert list(tmp_path.iterdir()) == []


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("beside", "old", "new", "expected"),
    [
        (False, "version: 1\n", "version: 2\n", "is of version 2; what is read is"),
        (False, "platform: linux-64", "platform: osx-64", "which the lock does not"),
        (False, "https://conda.anaconda.org/conda-forge", "http://host/conda-forge", "not the https address"),
        (False, "- name: two", "- name: one", "has a package twice"),
        (False, "sha256: ", "sha1: ", "has only an md5, and conda-lock.json does not allow that"),
        (False, "package:", "packages:", "not a conda lock of version 1: KeyError: 'package'"),
        (False, "    md5: ", "    md5: x", "is not a md5"),
        (False, "version: 1", "version: [", "cannot be parsed"),
        (True, '"md5_only"', '"md5"', "not a conda lock of version 1: KeyError: 'md5_only'"),
        (True, "c" * 64, "d" * 64, "is not of the lock conda-lock.yml beside it"),
        (True, "one-1.0-0.conda", "one-1.1-0.conda", "one-1.1-0.conda, which the lock does not"),
        (True, "{", "", "cannot be parsed"),
    ],
)
def test_a_changed_lock_is_refused_by_name(lock: Path, beside: bool, old: str, new: str, expected: str) -> None:
    changed = side_file(lock) if beside else lock
    change(changed, old, new)
    with pytest.raises(EnvError) as caught:
        read_conda_lock(lock)
    assert expected in caught.value.message
    assert str(lock.parent) in caught.value.message


def specification(folder: Path, *dependencies: str, channels: str = "conda-forge") -> CondaInputs:
    file, machine = folder / "environment.yml", folder / "virtual-packages.yml"
    file.write_text(f"channels: [{channels}]\nplatforms: [linux-64]\ndependencies: {json.dumps(dependencies)}\n")
    machine.write_text(VIRTUAL_PACKAGES)
    return read_conda_inputs(file, machine)


def test_solves_from_a_folder_with_canonical_addresses(tmp_path: Path) -> None:
    index = small_index(tmp_path / "index")
    wanted = specification(tmp_path, "python 3.11.*", "nvcc", channels="nvidia/label/x, conda-forge")
    found = {one.name: one for one in solve(wanted, index=str(index))}
    assert {name: one.version for name, one in found.items()} == {
        "python": "3.11.9",
        "libc": "2.1",  # 2.2 needs a newer __cuda than the machine that is stated
        "tzdata": "2026a",
        "nvcc": "11.8",  # the first channel that has a package is the one it comes from
    }
    assert found["tzdata"].url == f"{CANONICAL_HOST}/conda-forge/noarch/tzdata-2026a-0.conda"
    assert found["nvcc"].url == f"{CANONICAL_HOST}/nvidia/label/x/linux-64/nvcc-11.8-0.conda"
    assert (found["nvcc"].sha256, found["tzdata"].noarch) == (None, "generic")
    libc = found["libc"]
    assert (libc.constrains, libc.timestamp, libc.size_bytes) == (("oldlibc <1",), 1_700_000_000_000, 1000)
    assert list(found).index("libc") < list(found).index("python"), "dependencies come first"


def test_what_cannot_be_solved_says_why(tmp_path: Path) -> None:
    index = str(small_index(tmp_path / "index"))
    with pytest.raises(EnvError) as caught:
        solve(specification(tmp_path, "python 3.12.*", "libc ==2.2"), index=index)
    assert str(tmp_path / "environment.yml") in caught.value.message
    assert "__cuda" in caught.value.message
    with pytest.raises(EnvError, match="has no channel pytorch"):
        solve(specification(tmp_path, "python", channels="pytorch"), index=index)
    with pytest.raises(EnvError, match="is no folder and no http or https address"):
        solve(specification(tmp_path, "python"), index="ftp://host")
    with pytest.raises(EnvError, match=r"could not be solved from http://127\.0\.0\.1:9/"):
        solve(specification(tmp_path, "python"), index="http://127.0.0.1:9")
    write_index(tmp_path / "broken", {"conda-forge": []})
    (tmp_path / "broken" / "conda-forge" / "linux-64" / "repodata.json").write_text("{")
    with pytest.raises(EnvError, match="could not be solved from file://"):
        solve(specification(tmp_path, "python"), index=str(tmp_path / "broken"))


def test_solves_from_a_served_channel(
    tmp_path: Path, conda_channel: CondaChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = conda_channel.python("3.11")
    wanted = specification(tmp_path, "python 3.11.*")
    served = solve(wanted, index=conda_channel.url)
    assert {one.name: one.version for one in served}["python"] == version
    assert all(one.url.startswith(f"{CANONICAL_HOST}/conda-forge/") and one.sha256 for one in served)
    monkeypatch.setenv(MIRROR_VARIABLE, conda_channel.url)
    assert solve(wanted) == served


@pytest.mark.skipif(not SHARED_INDEX.is_dir(), reason="needs gathered channel records in ../shared/index")
@pytest.mark.parametrize("variant", ["MapTR/modern", "MapTR/classic"])
def test_the_gathered_records_answer_the_project_s_inputs(variant: str) -> None:
    envs = find_layout().envs
    wanted = read_conda_inputs(envs / variant / "environment.yml", envs / "common" / "virtual-packages.yml")
    found = {one.name: one for one in solve(wanted, index=str(SHARED_INDEX))}
    assert {one.name for one in wanted.dependencies} <= found.keys()
    locked = {one.url: one for one in read_conda_lock(envs / variant / "conda-lock.yml").packages}
    assert all(locked[one.url].md5 == one.md5 for one in found.values() if one.url in locked)
    assert [one.name for one in found.values() if not one.sha256 and not one.channel.startswith("nvidia/label/")] == []


@pytest.fixture(scope="session")
def conda_lock_python() -> Path:
    """The Python of conda-lock's own environment, built if it must be."""
    try:
        return ensure_official(find_layout(), "conda-lock", say=print).python
    except EnvError as error:
        if "cannot be reached" in error.message:
            pytest.skip(f"needs the package index once, to build an environment: {error.message.splitlines()[0]}")
        raise


HASHES = """
import json, sys
from pathlib import Path
from conda_lock.conda_lock import make_lock_spec
from conda_lock.content_hash import compute_content_hashes
from conda_lock.lockfile import parse_conda_lock_file
from conda_lock.lookup import DEFAULT_MAPPING_URL
from conda_lock.virtual_package import virtual_package_repo_from_specification
answers = {}
for folder, machine in json.load(sys.stdin):
    file = Path(folder) / "environment.yml"
    spec = make_lock_spec(src_files=[file], mapping_url=DEFAULT_MAPPING_URL)
    hashes = compute_content_hashes(spec, virtual_package_repo_from_specification(Path(machine)))
    lock = file.with_name("conda-lock.yml")
    names = [package.name for package in parse_conda_lock_file(lock).package] if lock.exists() else []
    answers[folder] = [hashes["linux-64"], names]
json.dump(answers, sys.stdout)
"""


@pytest.mark.full
def test_conda_lock_itself_reads_our_locks_and_computes_our_hashes(conda_lock_python: Path, tmp_path: Path) -> None:
    envs = find_layout().envs
    machine = envs / "common" / "virtual-packages.yml"
    ours = {file.parent: read_conda_inputs(file, machine) for file in envs.glob("*/*/environment.yml")}
    assert len(ours) > 10, "every folder with conda packages"
    for number, dependencies in enumerate(
        (["git", "a ==1.2", "b >=1,<2"], ["c ==1.2 h1_0", "d * *mkl", "e *"], ["zlib 1.*"])
    ):
        (tmp_path / str(number)).mkdir()
        one = specification(tmp_path / str(number), *dependencies, channels="nvidia/label/x, conda-forge")
        ours[one.file.parent] = one
    asked = [[str(folder), str(machine)] for folder in ours if folder.is_relative_to(envs)]
    asked += [[str(f), str(f / "virtual-packages.yml")] for f in ours if not f.is_relative_to(envs)]
    told = subprocess.run(
        [conda_lock_python, "-c", HASHES], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    for folder, (content_hash, names) in json.loads(told.stdout).items():
        assert content_hash == ours[Path(folder)].content_hash, folder
        if Path(folder).is_relative_to(envs):
            locked = read_conda_lock(Path(folder) / "conda-lock.yml")
            assert sorted(names) == sorted(package.name for package in locked.packages)


@pytest.mark.full
def test_conda_lock_renders_our_lock_and_finds_it_current(conda_lock_python: Path, tmp_path: Path) -> None:
    variant = find_layout().envs / "MapTR" / "classic"
    conda = tmp_path / "conda"
    conda.write_text('#!/bin/sh\n[ "$1" = --version ] && echo conda 24.1.0\n')
    conda.chmod(0o755)
    command: list[str | Path] = [conda_lock_python, "-m", "conda_lock"]
    machine = variant.parents[1] / "common" / "virtual-packages.yml"
    files: list[str | Path] = ["-f", variant / "environment.yml", "--lockfile", variant / "conda-lock.yml"]
    checked = subprocess.run(
        [*command, "lock", "--check-input-hash", "--conda", conda, "--virtual-package-spec", machine, *files],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "Spec hash already locked for ['linux-64']" in checked.stderr + checked.stdout
    subprocess.run(
        [*command, "render", "--kind", "explicit", "--platform", "linux-64", variant / "conda-lock.yml"],
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    lines = set((tmp_path / "conda-linux-64.lock").read_text().split())
    assert {f"{one.url}#{one.md5}" for one in read_conda_lock(variant / "conda-lock.yml").packages} <= lines


def test_any_yaml_reader_sees_a_version_1_lock() -> None:
    document = yaml.safe_load((find_layout().envs / "GroundPlane" / "modern" / "conda-lock.yml").read_text())
    assert document["version"] == 1
    assert {"name", "version", "manager", "platform", "dependencies", "url", "hash", "category", "optional"} <= set(
        document["package"][0]
    )


THEIRS = """
version: 1
metadata:
  content_hash: {linux-64: abc, osx-64: def}
  channels: [{url: conda-forge, used_env_vars: []}]
  platforms: [linux-64, osx-64]
  sources: [environment.yml]
package:
- {name: one, version: '1.0', manager: conda, platform: linux-64, dependencies: {}, category: main, optional: false,
   url: 'https://conda.anaconda.org/conda-forge/linux-64/one-1.0-h1_3.conda', hash: {md5: MD5, sha256: SHA}}
- {name: one, version: '1.0', manager: conda, platform: osx-64, dependencies: {}, category: main, optional: false,
   url: 'https://conda.anaconda.org/conda-forge/osx-64/one-1.0-h1_3.conda', hash: {md5: MD5, sha256: SHA}}
- {name: tests, version: '1.0', manager: conda, platform: linux-64, dependencies: {}, category: dev, optional: true,
   url: 'https://conda.anaconda.org/conda-forge/linux-64/tests-1.0-h1_3.conda', hash: {md5: MD5, sha256: SHA}}
"""
WITH_PIP = """- {name: black, version: '1.0', manager: pip, platform: linux-64, dependencies: {}, category: main,
   optional: false, url: 'https://files.example/black.whl', hash: {sha256: SHA}}
"""


def theirs(folder: Path, text: str) -> Path:
    lock = folder / "conda-lock.yml"
    lock.write_text(text.replace("MD5", "a" * 32).replace("SHA", "b" * 64))
    return lock


def test_a_lock_that_conda_lock_made_is_read_for_this_platform(tmp_path: Path) -> None:
    lock = read_conda_lock(theirs(tmp_path, THEIRS))
    [package] = lock.packages
    assert (package.name, package.build, package.build_number, package.subdir) == ("one", "h1_3", 3, "linux-64")
    assert not lock.confirmed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (THEIRS + WITH_PIP, "holds pip packages, which belong in requirements.in: black"),
        (THEIRS.replace("[linux-64, osx-64]", "[osx-64]"), "is for osx-64, not for linux-64"),
        ("version: 6\nenvironments: {default: {}}\npackages: []\n", "is a lock of pixi"),
        ("# platform: linux-64\n@EXPLICIT\nhttps://conda.example/a.conda\n", "is a list of `conda list --explicit`"),
        ("- one\n", "is no mapping"),
    ],
)
def test_a_lock_of_another_kind_is_refused_by_its_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(EnvError) as caught:
        read_conda_lock(theirs(tmp_path, text))
    assert said in caught.value.message
    assert str(tmp_path / "conda-lock.yml") in caught.value.message
