"""Verification of real prefixes: what was edited, removed or added is found, and nothing else."""

from __future__ import annotations

import os
import py_compile
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from packaging.requirements import Requirement
from tests.conda_channel.channel import CondaChannel
from tests.environments.small_checkout import locked

from admlops.core.errors import EnvError
from admlops.core.processes import run
from admlops.environments.install.conda.install import install_conda
from admlops.environments.integrity.records import is_fresh_bytecode
from admlops.environments.integrity.verification import Report, verify
from admlops.environments.spec.conda_lock import CondaPackage
from admlops.environments.spec.requirements import LockedPackage, read_lock


@pytest.fixture(scope="session")
def click_lock(shared_tmp: Path) -> Path:
    """A lock of one small package, click, as the host's own lock has it."""
    path = shared_tmp / "click.txt"
    path.write_text(locked())
    return path


@pytest.fixture(scope="session")
def pristine_venv(shared_tmp: Path, click_lock: Path) -> Path:
    """A virtual environment with click in it, made by uv as environments are."""
    prefix = shared_tmp / "verified-venv"
    with FileLock(shared_tmp / "verified-venv.lock"):
        if not prefix.is_dir():
            uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
            settings: dict[str, str | None] = {k: v for k, v in os.environ.items() if k.startswith("UV_")}
            made = run([uv, "venv", "--quiet", "--python", sys.executable, prefix], timeout_s=60)
            assert made.returncode == 0, made.stderr
            options = ["--quiet", "--require-hashes", "--no-deps", "--link-mode", "copy", "--compile-bytecode"]
            python = prefix / "bin" / "python"
            command: list[str | Path] = [uv, "pip", "install", *options, "--python", python, "-r", click_lock]
            installed = run(command, timeout_s=120, variables=settings)
            if installed.returncode != 0:
                shutil.rmtree(prefix)
                pytest.skip(f"needs the package index once: {installed.stderr.strip()[-200:]}")
    return prefix


@pytest.fixture
def venv(pristine_venv: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    copied: Path = shutil.copytree(pristine_venv, tmp_path / "venv", symlinks=True)
    (copied / "made-by-admlops").touch()
    return copied


@pytest.fixture(scope="session")
def conda_packages(conda_channel: CondaChannel) -> tuple[CondaPackage, ...]:
    return conda_channel.packages(["gxx_linux-64", "libdemo", "pip"], python="3.11")


@pytest.fixture(scope="session")
def pristine_conda(shared_tmp: Path, conda_channel: CondaChannel, conda_packages: tuple[CondaPackage, ...]) -> Path:
    """A prefix of real conda packages, installed as environments are."""
    prefix = shared_tmp / "verified-conda"
    with FileLock(shared_tmp / "verified-conda.lock"), pytest.MonkeyPatch.context() as patch:
        for name, value in conda_channel.mirror_variables().items():
            patch.setenv(name, value)
        if not prefix.is_dir():
            install_conda(prefix, conda_packages, cache=shared_tmp / "verified-cache", say=print)
    return prefix


@pytest.fixture
def conda(pristine_conda: Path, tmp_path: Path) -> Path:
    """A copy to damage; verification reads it, nobody runs it."""
    return shutil.copytree(pristine_conda, tmp_path / "conda", symlinks=True)


def site_packages(prefix: Path) -> Path:
    return next(prefix.glob("lib/python3*/site-packages"))


def reasons(report: Report) -> dict[str, str]:
    return {difference.path.rpartition("site-packages/")[2]: difference.reason for difference in report.differences}


def test_a_whole_environment_is_clean(venv: Path, click_lock: Path) -> None:
    for full in (False, True):
        report = verify(venv, full=full, python=read_lock(click_lock))
        assert report.differences == ()
        assert report.clean
        assert report.packages == 1
        assert report.files_checked > 10
    assert report.bytes_checked > 100_000


def test_an_edit_is_seen_even_where_the_size_stays(venv: Path) -> None:
    edited = site_packages(venv) / "click" / "core.py"
    content = edited.read_bytes()
    edited.write_bytes(content.replace(b"Context", b"Kontext"))
    os.utime(edited, ns=(0, 0))
    assert verify(venv, full=False).clean, "the quick look compares sizes"
    (difference,) = verify(venv, full=True).differences
    assert difference.path.endswith("site-packages/click/core.py")
    assert difference.reason == "has another content than its package's"
    assert (difference.kind, difference.package, difference.manager) == ("changed", "click", "python")
    edited.write_bytes(content + b"\n")
    (difference,) = verify(venv, full=False).differences
    assert re.fullmatch(r"has \d+ bytes; its package has \d+", difference.reason)


def test_a_missing_file_is_named(venv: Path) -> None:
    (site_packages(venv) / "click" / "types.py").unlink()
    assert reasons(verify(venv, full=False)) == {"click/types.py": "is missing"}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("lib/site/evil.pth", "was added, and runs whenever Python starts"),
        ("lib/site/sitecustomize.py", "was added, and runs whenever Python starts"),
        ("lib/site/torch.py", "was added; no package has it"),
        ("lib/site/click/shadow.pyc", "was added; no package has it"),
        ("bin/gcc", "was added; no package has it"),
        ("include/cuda.h", "was added; no package has it"),
    ],
)
def test_a_file_that_would_shadow_is_named(venv: Path, path: str, reason: str) -> None:
    added = venv / path.replace("lib/site", site_packages(venv).relative_to(venv).as_posix())
    added.parent.mkdir(exist_ok=True)
    added.write_text("")
    (difference,) = verify(venv, full=False).differences
    assert (difference.path, difference.reason, difference.kind) == (str(added.relative_to(venv)), reason, "added")


def test_caches_and_data_shadow_nothing(venv: Path) -> None:
    for path in ("share/notes.txt", "var/cache/x", f"{site_packages(venv).relative_to(venv)}/click/__pycache__/x.pyc"):
        (venv / path).parent.mkdir(parents=True, exist_ok=True)
        (venv / path).write_text("")
    assert verify(venv, full=True).clean


def test_versions_are_compared_with_the_lock(venv: Path, click_lock: Path) -> None:
    (click,) = read_lock(click_lock)
    absent = LockedPackage(requirement=Requirement("six==1.17.0"), version="1.17.0", hashes=click.hashes)
    report = verify(venv, full=False, python=[replace(click, version="1.0"), absent])
    assert [difference.kind for difference in report.differences] == ["package", "package"]
    said = {difference.package: difference.reason for difference in report.differences}
    assert said == {"click": f"is {click.version}; the lock has 1.0", "six": "is missing; the lock has it"}
    (difference,) = verify(venv, full=False, python=[]).differences
    assert difference.reason == "is installed; the lock does not have it"


def test_a_package_without_its_record_cannot_be_verified(venv: Path) -> None:
    next(site_packages(venv).glob("click-*.dist-info/RECORD")).unlink()
    report = verify(venv, full=False)
    assert any(difference.reason.startswith("is missing: nothing of this") for difference in report.differences)


def test_another_interpreter_is_seen(venv: Path, tmp_path: Path) -> None:
    python = venv / "bin" / "python"
    python.unlink()
    assert reasons(verify(venv, full=False)) == {"bin/python": "is missing, or leads nowhere"}
    (tmp_path / "python").write_text("")
    python.symlink_to(tmp_path / "python")
    assert "the environment was made for" in reasons(verify(venv, full=False))["bin/python"]
    (venv / "pyvenv.cfg").unlink()
    assert reasons(verify(venv, full=False)) == {"pyvenv.cfg": "is missing"}


def test_bytecode_is_fresh_only_for_its_source_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("VALUE = 1\n")
    compiled = Path(str(py_compile.compile(str(source), doraise=True)))
    assert is_fresh_bytecode(compiled)
    source.write_text("VALUE = 12\n")
    assert not is_fresh_bytecode(compiled)
    compiled.write_bytes(b"short")
    assert not is_fresh_bytecode(compiled)
    source.unlink()
    assert not is_fresh_bytecode(compiled)


def test_a_whole_conda_prefix_is_clean(conda: Path, conda_packages: tuple[CondaPackage, ...]) -> None:
    for full in (False, True):
        report = verify(conda, full=full, base=conda_packages, python=[])
        assert report.differences == ()
        assert report.packages == len(conda_packages)
    assert report.bytes_checked > 10_000_000


def test_links_and_files_of_conda_packages_are_compared(conda: Path) -> None:
    link = conda / "bin" / "python3"
    assert link.is_symlink()
    link.unlink()
    link.symlink_to("/usr/bin/python3")
    text = conda / "bin" / "pip"
    text.write_text(text.read_text().replace("import sys", "import sys, os"))
    replaced = conda / "bin" / "python"
    replaced.unlink()
    replaced.write_text("#!/bin/sh\n")
    library = next(path for path in sorted(conda.glob("lib/*.so*")) if not path.is_symlink())
    content = bytearray(library.read_bytes())
    content[-1] ^= 1
    library.write_bytes(content)
    found = {one.path: one for one in verify(conda, full=True).differences}
    assert found["bin/python3"].reason == "leads to /usr/bin/python3"
    assert found["bin/python"].reason == "is no link any more"
    assert found["bin/pip"].package == "pip"
    assert found[str(library.relative_to(conda))].reason == "has another content than its package's"
    assert len(found) == 4
    assert {one.manager for one in found.values()} == {"conda"}


def test_conda_packages_are_compared_with_the_lock(conda: Path, conda_packages: tuple[CondaPackage, ...]) -> None:
    demo = next(one for one in conda_packages if one.name == "libdemo")
    others = [one for one in conda_packages if one.name != "libdemo"]

    def reasons_with(*packages: CondaPackage) -> list[tuple[str | None, str]]:
        found = verify(conda, full=False, base=[*others, *packages]).differences
        return [(one.package, one.reason) for one in found]

    assert reasons_with() == [("libdemo", "is installed; the lock does not have it")]
    ((_, reason),) = reasons_with(replace(demo, version="9.9"))
    assert reason.endswith("the lock has 9.9 " + demo.build)
    ((_, reason),) = reasons_with(replace(demo, sha256="0" * 64))
    assert reason == f"was installed from sha256 {demo.sha256}; the lock has {'0' * 64}"
    ((_, reason),) = reasons_with(replace(demo, sha256=None, md5="0" * 32))
    assert "was installed from md5" in reason
    ((package, reason),) = reasons_with(demo, replace(demo, name="absent"))
    assert (package, reason) == ("absent", "is missing; the lock has it")


def test_additions_to_a_conda_prefix_are_named(conda: Path) -> None:
    for path in ("etc/conda/activate.d/mine.sh", "lib/libcudart.so.11", "lib/python3.11/torch.py", "bin/python3.9"):
        (conda / path).write_text("")
    found = verify(conda, full=False).differences
    assert {one.path for one in found} == {
        "etc/conda/activate.d/mine.sh",
        "lib/libcudart.so.11",
        "lib/python3.11/torch.py",
        "bin/python3.9",
    }
    assert {one.kind for one in found} == {"added"}


def test_a_damaged_record_is_an_error_that_names_it(conda: Path) -> None:
    record = next(conda.glob("conda-meta/pip-*.json"))
    record.write_text(record.read_text()[:100])
    with pytest.raises(EnvError, match=f"{record.name} is damaged"):
        verify(conda, full=False)
