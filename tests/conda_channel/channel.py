"""The test channel: built once, served over loopback in the place of the canonical host, and asked for locks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import rattler
from filelock import FileLock
from rattler.index import index_fs
from rattler.networking import Client, MirrorMiddleware
from tests.conda_channel.contents import CONDA_FORGE, NVIDIA, channel_packages
from tests.conda_channel.server import Fault, FaultServer, Request

from admlops.environments.spec.conda_lock import CANONICAL_HOST, CondaLock, CondaPackage, write_conda_lock

MIRROR_VARIABLE = "ADMLOPS_CONDA_MIRROR"
VIRTUAL_PACKAGES = {"__unix": "0", "__linux": "5.15", "__glibc": "2.35", "__cuda": "12.8"}


class CondaChannel:
    """The channels conda-forge and nvidia at `url`, as a mirror of the canonical host."""

    def __init__(self, folder: Path, server: FaultServer) -> None:
        self.folder, self._server = folder, server
        self.url = server.url

    def mirror_variables(self) -> dict[str, str]:
        """The environment variables that make admlops ask here for what the canonical host has."""
        return {MIRROR_VARIABLE: self.url}

    def faults(self, *faults: Fault) -> AbstractContextManager[None]:
        """Misbehave so while the block runs; the log starts anew."""
        return self._server.faults(*faults)

    def log(self) -> list[Request]:
        """The requests since the last block of faults began, or since `clear_log`."""
        return self._server.log()

    def clear_log(self) -> None:
        self._server.clear_log()

    def packages_asked_for(self) -> list[Request]:
        """The requests for packages; those for the channels' own lists are left out."""
        return [request for request in self.log() if request.path.endswith((".conda", ".tar.bz2"))]

    def pythons(self) -> list[str]:
        """The versions of Python in the channel, as X.Y.Z."""
        names = [path.name for path in (self.folder / CONDA_FORGE / "linux-64").glob("python-3*.conda")]
        return sorted(name.split("-")[1] for name in names)

    def python(self, minor: str) -> str:
        """The whole version of Python 3.x that is in the channel; skips the test where the machine has none."""
        found = [version for version in self.pythons() if version.startswith(f"{minor}.")]
        if not found:
            pytest.skip(f"the test channel has no Python {minor}: none is on PATH, in ~/.pyenv or of uv")
        return found[0]

    def solve(
        self, specs: Sequence[str], *, python: str | None = None, channels: Sequence[str] = (CONDA_FORGE, NVIDIA)
    ) -> list[rattler.RepoDataRecord]:
        """The records that meet the specs, with canonical URLs."""
        client = Client([MirrorMiddleware({f"{CANONICAL_HOST}/": [f"{self.url}/"]})])
        virtual = [
            rattler.GenericVirtualPackage(
                rattler.PackageName(name), rattler.Version(version), rattler.package.BuildString("0")
            )
            for name, version in VIRTUAL_PACKAGES.items()
        ]
        wanted = [*specs, *([f"python {self.python(python)}.*"] if python else [])]
        return asyncio.run(
            rattler.solve(
                [f"{CANONICAL_HOST}/{channel}" for channel in channels],
                wanted,
                gateway=rattler.Gateway(cache_dir=self.folder.parent / "repodata", client=client),
                platforms=["linux-64", "noarch"],
                virtual_packages=virtual,
            )
        )

    def packages(
        self, specs: Sequence[str], *, python: str | None = None, channels: Sequence[str] = (CONDA_FORGE, NVIDIA)
    ) -> tuple[CondaPackage, ...]:
        """What a lock for the specs has: the packages that meet them, with canonical URLs."""
        records = self.solve(specs, python=python, channels=channels)
        return tuple(sorted(map(_package, records), key=lambda package: package.name))

    def write_lock(
        self,
        path: Path,
        specs: Sequence[str],
        *,
        python: str | None = None,
        channels: Sequence[str] = (CONDA_FORGE, NVIDIA),
    ) -> Path:
        """Write a conda lock for the specs at `path`, and beside it what that format cannot hold."""
        lock = CondaLock(
            platform="linux-64",
            channels=tuple(channels),
            packages=self.packages(specs, python=python, channels=channels),
            content_hash="0" * 64,
            md5_only=frozenset(),
            confirmed=True,
        )
        write_conda_lock(path, lock)
        return path


def _package(record: rattler.RepoDataRecord) -> CondaPackage:
    noarch = record.noarch
    return CondaPackage(
        name=record.name.normalized,
        version=str(record.version),
        build=str(record.build),
        build_number=record.build_number,
        subdir=str(record.subdir),
        channel=str(record.channel).removeprefix(f"{CANONICAL_HOST}/").rstrip("/"),
        url=record.url,
        file_name=record.file_name,
        sha256=None if record.sha256 is None else record.sha256.hex(),
        md5=None if record.md5 is None else record.md5.hex(),
        size_bytes=record.size,
        depends=tuple(record.depends),
        constrains=tuple(record.constrains),
        noarch="python" if noarch.python else "generic" if noarch.generic else None,
        timestamp=None if record.timestamp is None else int(record.timestamp.timestamp() * 1000),
    )


def build_channel(folder: Path) -> None:
    """Write and index the test channels under `folder`: one folder a channel."""
    for channel, package, suffix in channel_packages():
        package.write(folder / channel, suffix)
    for channel in (CONDA_FORGE, NVIDIA):
        (folder / channel / "noarch").mkdir(exist_ok=True)
        asyncio.run(index_fs(folder / channel))


@contextmanager
def open_channel(shared: Path) -> Iterator[CondaChannel]:
    """The channel under `shared`, built by whoever comes first, served by this process until the block ends."""
    folder = shared / "conda-channel"
    with FileLock(shared / "conda-channel.lock"):
        if not folder.is_dir():
            half = folder.with_name("conda-channel.half")
            build_channel(half)
            half.rename(folder)
    with FaultServer(folder) as server:
        yield CondaChannel(folder, server)
