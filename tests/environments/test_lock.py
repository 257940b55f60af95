"""Locks: what is read, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.environments.spec.requirements import read_lock

HASH = "sha256:" + "a" * 64


def write(folder: Path, text: str) -> Path:
    path = folder / "requirements.txt"
    path.write_text(text)
    return path


def test_reads_continued_lines_markers_and_comments(tmp_path: Path) -> None:
    lock = write(
        tmp_path,
        f"# made by uv\nNumPy==2.1.0 ; python_full_version < '3.12' \\\n    --hash={HASH} \\\n    --hash={HASH}\n"
        f"    # via us\nclick==8.1.0 --hash={HASH}  # inline\n",
    )
    numpy, click = read_lock(lock)
    assert (numpy.name, numpy.version, len(numpy.hashes)) == ("numpy", "2.1.0", 2)
    assert numpy.applies_to({"python_full_version": "3.11.4"})
    assert not numpy.applies_to({"python_full_version": "3.12.0"})
    assert click.applies_to({})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("numpy==2.1.0", "numpy has no sha256"),
        (f"numpy>=2.1.0 --hash={HASH}", "not pinned"),
        (f"numpy==2.* --hash={HASH}", "not pinned"),
        (f"numpy @ https://example.org/numpy.whl --hash={HASH}", "not pinned"),
        ("numpy==2.1.0 --hash=md5:" + "a" * 32, "numpy has no sha256"),
        ("numpy==2.1.0 --hash=sha256:abc", "numpy has no sha256"),
        (f"numpy==2.1.0 --hash={HASH} --hash={HASH}0000", "not sha256: and 64"),
        (f"--index-url https://example.org/simple --hash={HASH}", "not a requirement"),
    ],
)
def test_refuses_what_is_not_locked_and_names_the_line(tmp_path: Path, line: str, reason: str) -> None:
    lock = write(tmp_path, f"# a comment\n{line}\n")
    with pytest.raises(EnvError) as caught:
        read_lock(lock)
    assert f"{lock}:2" in caught.value.message
    assert reason in caught.value.message


URL = "https://files.example/whl/torch-1.9.1%2Bcu111-cp38-cp38-linux_x86_64.whl"


def test_reads_a_wheel_that_is_named_by_its_address(tmp_path: Path) -> None:
    lock = write(tmp_path, f"torch @ {URL} \\\n    --hash={HASH}\nTorch @ {URL} --hash=sha256:unknown\n")
    known, unknown = read_lock(lock)
    assert (known.name, known.version, known.url) == ("torch", "1.9.1+cu111", URL)
    assert (known.hashes, known.hash_unknown) == ((HASH,), False)
    assert (unknown.hashes, unknown.hash_unknown) == ((), True)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"torch @ {URL}", "torch has no sha256"),
        (f"torch @ {URL} --hash=sha256:unknown --hash={HASH}", "torch has a hash that is not sha256"),
        ("torch==1.9.1 --hash=sha256:unknown", "torch has no sha256"),
        (f"torch @ {URL.replace('https', 'http')} --hash={HASH}", "only a plain https address is"),
        (f"torch @ {URL.replace('files', 'user:secret@files')} --hash={HASH}", "only a plain https address is"),
        (f"torch @ {URL}?x=1 --hash={HASH}", "only a plain https address is"),
        (f"torch @ {URL.replace('.whl', '.tar.gz')} --hash={HASH}", "is not the address of a wheel"),
        (f"torchvision @ {URL} --hash={HASH}", "is a wheel of torch"),
    ],
)
def test_refuses_a_wheel_that_nothing_vouches_for(tmp_path: Path, line: str, reason: str) -> None:
    lock = write(tmp_path, f"{line}\n")
    with pytest.raises(EnvError) as caught:
        read_lock(lock)
    assert f"{lock}:1" in caught.value.message
    assert reason in caught.value.message


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_a_lock_or_a_clear_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    lock = tmp_path_factory.mktemp("lock") / "requirements.txt"
    lock.write_text(text, encoding="utf-8")
    try:
        packages, message = read_lock(lock), str(lock)
    except EnvError as error:
        packages, message = [], error.message
    assert str(lock) in message
    assert all(package.hashes or package.url for package in packages)


def test_every_lock_of_the_project_is_whole() -> None:
    root = find_layout().root
    locks = [root / "requirements.txt", root / "install" / "uv.txt", *(root / "envs").rglob("requirements.txt")]
    by_device = [*(root / "envs").rglob("requirements-*.txt")]
    assert len(locks) >= 14
    assert len(by_device) == 12
    for lock in (*locks, *by_device):
        packages = read_lock(lock)
        addresses = [package.url for package in packages if package.url]
        assert lock.read_text().count("://") == len(addresses), f"{lock} names an index"
        assert all(package.hashes for package in packages)
        assert addresses == [] or lock in by_device
