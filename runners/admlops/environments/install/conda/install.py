"""Packages of a conda lock into a prefix: fetch, hand over to a child process, watch it, check what it made."""

from __future__ import annotations

import json
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from admlops.core.errors import EnvError, StorageError
from admlops.core.processes import process_environment
from admlops.core.storage import explain_os_error
from admlops.core.types import Progress, ProgressWatch, Say, unwatched
from admlops.environments.install.conda.archives import check_hashes, fetch_archives
from admlops.environments.install.conda.records import channel_url, check_clashes, differing, finish_records

if TYPE_CHECKING:
    from admlops.environments.spec.conda_lock import CondaPackage

UNPACKED = ".unpacked"
"""The folder in a prefix that packages are unpacked into; on the same disk, so that linking from it copies nothing."""

SILENCE_TIMEOUT_S = 900.0
STARTS = 3


def install_conda(
    prefix: Path,
    packages: Sequence[CondaPackage],
    *,
    cache: Path,
    say: Say,
    progress: ProgressWatch | None = None,
    reinstall: Sequence[str] = (),
    stall_timeout_s: float = 60,
    attempts: int = 5,
) -> None:
    """Make the conda packages in `prefix` those of the lock: add missing ones, remove others, reinstall `reinstall`.

    The caller holds the prefix's lock. After a failure the prefix is half made and the same call mends it; every
    complete archive stays in `cache`.

    Raises:
        EnvError: a package has no hash, two packages clash, or the installer fails.
        DownloadError: a package cannot be had.
        StorageError: a disk is full, or a folder cannot be written.
    """
    check_hashes(packages)
    watch = progress or unwatched
    archives = fetch_archives(
        packages, cache=cache, say=say, progress=watch, stall_timeout_s=stall_timeout_s, attempts=attempts
    )
    unpacked = prefix / UNPACKED
    job = {
        "prefix": str(prefix),
        "unpacked": str(unpacked),
        "reinstall": sorted({*reinstall, *differing(prefix, packages)}),
        "packages": [_describe(package, archives[package.url]) for package in packages],
    }
    try:
        prefix.mkdir(parents=True, exist_ok=True)
        _remove(unpacked)
        _run_children(job, watch, count=len(packages))
        _remove(unpacked)
    except OSError as error:
        raise explain_os_error(error, prefix) from error
    finish_records(prefix, packages)
    check_clashes(prefix)


def _describe(package: CondaPackage, archive: Path) -> dict[str, Any]:
    return asdict(package) | {"archive": str(archive), "channel": channel_url(package)}


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _run_children(job: dict[str, Any], progress: ProgressWatch, *, count: int) -> None:
    """Run the job; repeat it in a fresh process where one crashed without a message."""
    for start in range(1, STARTS + 1):
        with tempfile.TemporaryDirectory(prefix="admlops-") as folder:
            job_file = Path(folder) / "job.json"
            job_file.write_text(json.dumps(job))
            end, said = _run_child(job_file, progress, count)
        if end.get("done"):
            return
        if "error" in end:
            raise _explain(end["error"], Path(job["prefix"]))
        if start == STARTS:
            raise EnvError(
                f"the process that installs conda packages crashed {STARTS} times: {said[-2000:] or 'it said nothing'}",
                hint="run the command again; what was downloaded is kept",
            )


def _run_child(job_file: Path, progress: ProgressWatch, count: int) -> tuple[dict[str, Any], str]:
    """One process: its last message ({} if it died without one), and what it said on standard error."""
    # Started by its file and isolated: nothing of this package, no variable and no working folder affects it.
    command = [sys.executable, "-I", str(Path(__file__).with_name("child.py")), str(job_file)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=process_environment({})
        ) as process,
    ):
        assert process.stdout is not None
        try:
            end = _follow(process.stdout, progress, count)
        finally:
            # After its last message it has nothing to do; before it, nobody waits for it any more.
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        process.wait()
        errors.seek(0)
        return end, errors.read().decode("utf-8", "replace").strip()


def _follow(output: IO[bytes], progress: ProgressWatch, count: int) -> dict[str, Any]:
    """Read messages until the last one or the end; a child that says nothing for very long is given up."""
    selector = selectors.DefaultSelector()
    selector.register(output, selectors.EVENT_READ)
    last_word = time.monotonic()
    pending = b""
    while True:
        if not selector.select(timeout=5.0):
            if time.monotonic() - last_word > SILENCE_TIMEOUT_S:
                return {"error": f"nothing was unpacked or linked for {SILENCE_TIMEOUT_S / 60:.0f} minutes"}
            continue
        last_word = time.monotonic()
        piece = output.read1(1 << 16)  # type: ignore[attr-defined]  # Popen's pipe is a BufferedReader
        if not piece:
            return {}
        *lines, pending = (pending + piece).split(b"\n")
        for line in lines:
            message: dict[str, Any] = json.loads(line)
            if message.keys() & {"done", "error"}:
                return message
            if "linked" in message:
                progress(Progress(phase="link", done=message["linked"], total=count, unit="packages"))


def _explain(said: str, prefix: Path) -> EnvError | StorageError:
    """Return the error that py-rattler's words mean."""
    if re.search(r"no space left|os error 28|quota exceeded", said, re.IGNORECASE):
        return StorageError(
            f"the disk of {prefix} is full: {said}",
            hint="df -h .   # free some space, or export ADMLOPS_ENVIRONMENTS=/a/larger/disk",
        )
    if re.search(r"read-only file system|permission denied|os error (13|30)", said, re.IGNORECASE):
        return StorageError(
            f"{prefix} cannot be written: {said}",
            hint="export ADMLOPS_ENVIRONMENTS=/a/folder/that/can/be/written",
        )
    return EnvError(
        f"the conda packages could not be put into {prefix}: {said}",
        hint="run the command again; what was downloaded is kept",
    )
