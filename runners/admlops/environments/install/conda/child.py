"""The process that puts conda packages into a prefix: `python -I child.py JOB`.

JOB is a JSON file that names archives on this machine, each checked against the lock by the parent. No network is used,
no script of a package is run. Standard output is one JSON object a line: `{"linked": n}`, at the end `{"done": true}`
or `{"error": text}`. A process of its own, because py-rattler may crash when Python ends and leaves threads behind
when it fails.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Do the job, say how it ended, and exit without Python's own shutdown."""
    _die_with_parent()
    try:
        job = json.loads(Path(sys.argv[1]).read_text())
        asyncio.run(_install(job))
        _tell(done=True)
    except Exception as error:  # noqa: BLE001 - the edge of this process: the parent explains the text
        _tell(error=f"{type(error).__name__}: {error}")
    sys.stdout.flush()
    # py-rattler's threads make Python's normal shutdown crash now and then, after all is done.
    os._exit(0)


def _die_with_parent() -> None:
    """Nothing may go on writing into the prefix once the installation that holds its lock is gone."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _tell(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def _install(job: dict[str, Any]) -> None:
    import rattler

    records = [await _record(package) for package in job["packages"]]
    await rattler.install(
        records,
        job["prefix"],
        cache_dir=Path(job["unpacked"]),
        reinstall_packages=set(job["reinstall"]),
        execute_link_scripts=False,
        show_progress=False,
        reporter=_Reporter(),
    )


class _Reporter:
    """Counts packages for the parent. py-rattler calls these by name and wants a number where one is returned."""

    def __init__(self) -> None:
        self._linked = 0

    def on_transaction_start(self, total_operations: int) -> None:
        _tell(operations=total_operations)

    def on_populate_cache_complete(self, cache_entry: int) -> None:
        _tell(unpacked=1)

    def on_link_complete(self, index: int) -> None:
        self._linked += 1
        _tell(linked=self._linked)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *arguments: 0
        raise AttributeError(name)


async def _record(package: dict[str, Any]) -> Any:
    """Return what py-rattler needs to know of a package; the address is that of the archive on this machine."""
    import rattler
    from rattler.package import BuildString
    from rattler.package_streaming import PackageArchive

    archive = Path(package["archive"])
    noarch = package["noarch"]
    if package["subdir"] == "noarch" and noarch is None:  # the lock's format does not say which kind
        index = await (await PackageArchive.from_path(archive)).index_json()
        noarch = index.noarch
    record = rattler.PackageRecord(
        name=package["name"],
        version=package["version"],
        build=BuildString(package["build"]),
        build_number=package["build_number"],
        subdir=package["subdir"],
        noarch=noarch,
        depends=package["depends"],
        constrains=package["constrains"],
        sha256=bytes.fromhex(package["sha256"]) if package["sha256"] else None,
        md5=bytes.fromhex(package["md5"]) if package["md5"] else None,
        size=package["size_bytes"],
    )
    return rattler.RepoDataRecord(record, package["file_name"], archive.as_uri(), package["channel"])


if __name__ == "__main__":
    main()
