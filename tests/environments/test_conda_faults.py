"""What a network, a disk and a person do to an installation: each ends in a clear error or in a whole prefix."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conda_channel.channel import CondaChannel
from tests.conda_channel.disks import resize_disk, small_disk
from tests.conda_channel.server import Fault

from admlops.core.errors import AdmlopsError, DownloadError, StorageError
from admlops.environments.install.conda.install import install_conda
from admlops.environments.integrity.verification import verify
from admlops.environments.spec.conda_lock import CondaPackage

SPECS = ("big", "gxx_linux-64")


@pytest.fixture(autouse=True)
def mirror(conda_channel: CondaChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in conda_channel.mirror_variables().items():
        monkeypatch.setenv(name, value)


def install(prefix: Path, packages: Sequence[CondaPackage], cache: Path, *, stall_timeout_s: float = 30) -> list[str]:
    said: list[str] = []
    install_conda(prefix, packages, cache=cache, say=said.append, stall_timeout_s=stall_timeout_s, attempts=3)
    return said


def patience_s(fault: Fault) -> float:
    """Short where the waiting itself is tested; else so long that a busy machine does not look like a stall."""
    return 4 if fault.mode in ("stalled", "slow") else 30


def assert_whole(prefix: Path, packages: Sequence[CondaPackage]) -> None:
    report = verify(prefix, full=True, base=packages)
    assert report.differences == ()
    assert report.packages == len(packages)


SURVIVED = {
    "cut twice": (Fault(path="/big", mode="cut", times=2, after_bytes=3_000_000), "trying again"),
    "corrupt once": (Fault(path="/big", mode="corrupt", times=1), "the sha256 is"),
    "truncated once": (Fault(path="/big", mode="truncated", times=1), "the sha256 is"),
    "stalled once": (Fault(path="/big", mode="stalled", times=1, after_bytes=2_000_000), "no byte came for"),
    "429 with a time to wait": (Fault(path="/big", mode="status", status=429, retry_after="2", times=1), "in 2 s"),
    "503 once": (Fault(path="/big", mode="status", status=503, times=1), "503"),
    "slow": (Fault(path="/big", mode="slow", bytes_per_second=1_000_000), ""),
}


@pytest.mark.parametrize("name", SURVIVED)
def test_survives(name: str, tmp_path: Path, conda_channel: CondaChannel) -> None:
    fault, explanation = SURVIVED[name]
    packages = conda_channel.packages(SPECS)
    with conda_channel.faults(fault):
        said = install(tmp_path / "env", packages, tmp_path / "cache", stall_timeout_s=patience_s(fault))
        requests = conda_channel.packages_asked_for()
    assert explanation in "\n".join(said)
    assert_whole(tmp_path / "env", packages)
    others = [request.path for request in requests if "/big" not in request.path]
    assert sorted(others) == sorted(set(others)), "nothing that was whole is asked for again"
    begun_at = [request.first_byte for request in requests if "/big" in request.path]
    if fault.mode == "cut":
        assert begun_at == [0, 3_000_000, 6_000_000], "a cut download goes on where it was cut"
    elif fault.mode == "status" and fault.retry_after:
        refused, served = (request.at_s for request in requests if "/big" in request.path)
        assert served - refused >= float(fault.retry_after)
    elif fault.mode == "slow":
        assert begun_at == [0], "a slow download is not given up"


REFUSED = {
    "corrupt": (Fault(path="/big", mode="corrupt"), "its sha256 is"),
    "truncated": (Fault(path="/big", mode="truncated"), "its sha256 is"),
    "stalled": (Fault(path="/big", mode="stalled", after_bytes=0), "no byte came for"),
    "500": (Fault(path="/big", mode="status", status=500), "500 Internal Server Error"),
    "404": (Fault(path="/big", mode="status", status=404), "404"),
    "a page": (Fault(path="/big", mode="html"), "page"),
    "a redirect to a page": (Fault(path="/big", mode="redirect"), "page"),
    "a time to wait that is too long": (Fault(path="/big", mode="status", status=429, retry_after="86400"), "86400"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_and_goes_on_later(name: str, tmp_path: Path, conda_channel: CondaChannel) -> None:
    fault, explanation = REFUSED[name]
    packages = conda_channel.packages(SPECS)
    patience = 1 if fault.mode == "stalled" else patience_s(fault)  # what never comes need not be waited for
    with conda_channel.faults(fault), pytest.raises(DownloadError) as caught:
        install(tmp_path / "env", packages, tmp_path / "cache", stall_timeout_s=patience)
    assert "big-1.0-0.conda" in caught.value.message
    assert explanation in caught.value.message
    assert not (tmp_path / "env" / "conda-meta").exists(), "nothing is put into place before all is there"
    whole = {path.name for path in (tmp_path / "cache").rglob("*") if path.name.endswith((".conda", ".bz2"))}
    conda_channel.clear_log()
    install(tmp_path / "env", packages, tmp_path / "cache")
    assert_whole(tmp_path / "env", packages)
    assert not {request.path.rsplit("/", 1)[-1] for request in conda_channel.log()} & whole


def test_a_wrong_hash_in_the_lock_installs_nothing(tmp_path: Path, conda_channel: CondaChannel) -> None:
    wrong = [replace(package, sha256="0" * 64) for package in conda_channel.packages(["libdemo"])]
    with pytest.raises(DownloadError, match=r"libdemo-1\.0-0\.conda is another file than the wanted one"):
        install(tmp_path / "env", wrong, tmp_path / "cache")
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize("full", ["prefix", "cache"])
def test_a_full_disk_is_named_and_then_done_with(full: str, tmp_path: Path, conda_channel: CondaChannel) -> None:
    packages = conda_channel.packages(SPECS)
    with small_disk(tmp_path / "disk", "6m" if full == "prefix" else "5m"):
        prefix = tmp_path / ("disk" if full == "prefix" else "roomy") / "env"
        cache = tmp_path / ("disk" if full == "cache" else "roomy") / "cache"
        with pytest.raises(StorageError) as caught:
            install(prefix, packages, cache)
        assert str(tmp_path / "disk") in caught.value.message
        assert "df -h" in caught.value.hint
        resize_disk(tmp_path / "disk", "100m")
        conda_channel.clear_log()
        install(prefix, packages, cache)
        assert_whole(prefix, packages)
        if full == "prefix":
            assert conda_channel.log() == [], "what was downloaded before is not asked for again"


@pytest.mark.full
def test_two_installers_with_one_cold_cache_share_each_download(tmp_path: Path, conda_channel: CondaChannel) -> None:
    packages = conda_channel.packages(SPECS)
    lock = conda_channel.write_lock(tmp_path / "conda-lock.yml", SPECS)
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from admlops.environments.install.conda.install import install_conda
        from admlops.environments.spec.conda_lock import read_conda_lock

        lock, prefix, cache = map(Path, sys.argv[1:])
        install_conda(prefix, read_conda_lock(lock).packages, cache=cache, say=print)
        """
    )
    with conda_channel.faults(Fault(path="/big", mode="slow", bytes_per_second=4_000_000)):
        command: list[str | Path] = [sys.executable, "-c", program, lock]
        both = [subprocess.Popen([*command, tmp_path / name, tmp_path / "cache"]) for name in ("one", "two")]
        assert [process.wait(timeout=120) for process in both] == [0, 0]
        asked_for = [request.path for request in conda_channel.packages_asked_for()]
    assert sorted(asked_for) == sorted(set(asked_for))
    for name in ("one", "two"):
        assert_whole(tmp_path / name, packages)


def test_a_prefix_that_cannot_be_made_is_named(tmp_path: Path, conda_channel: CondaChannel) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AdmlopsError, match="file/env"):
        install(tmp_path / "file" / "env", conda_channel.packages(["libdemo"]), tmp_path / "cache")


def test_the_archives_in_the_cache_are_private_to_nobody(tmp_path: Path, conda_channel: CondaChannel) -> None:
    """Another user of a shared cache can read what is in it."""
    install(tmp_path / "env", conda_channel.packages(["libdemo"]), tmp_path / "cache")
    [archive] = (tmp_path / "cache").rglob("libdemo*.conda")
    assert archive.stat().st_mode & 0o444 == 0o444
