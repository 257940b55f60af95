"""The source distribution of a package with compiled operations: fetched, checked against the lock, unpacked."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.processes import run
from admlops.core.storage import file_sha256
from admlops.doctor import diagnose
from admlops.environments.spec.requirements import LockedPackage

FETCH_TIMEOUT_S = 1800.0


def source_sha256(package: LockedPackage) -> str:
    """The one hash that the lock allows. Raises EnvError for several: a wheel of the index could be meant."""
    if len(package.hashes) != 1:
        raise EnvError(
            f"the lock has {len(package.hashes)} hashes for {package.name}; what is compiled needs exactly one, "
            "its source distribution's",
            hint="git checkout -- envs   # or leave only that hash",
        )
    return package.hashes[0].removeprefix("sha256:")


def fetch_source(package: LockedPackage, folder: Path, *, python: Path, variables: Mapping[str, str | None]) -> Path:
    """The package's source distribution, in `folder`, with the lock's hash.

    `variables` is the environment for the environment's own pip, which reads the package's metadata by running it.

    Raises:
        EnvError: the index cannot be reached, has no source distribution, or its hash is another.
    """
    request = folder / "requirements.txt"
    request.write_text(f"{package.name}=={package.version} --hash={package.hashes[0]}\n")
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes", "--no-input"]
    command: list[str | Path] = [python, "-I", "-m", "pip", "download", *options, "-r", request, "-d", folder / "sdist"]
    fetched = run(command, timeout_s=FETCH_TIMEOUT_S, variables=variables, cwd=folder)
    files = sorted((folder / "sdist").glob("*")) if fetched.returncode == 0 else []
    if len(files) != 1:
        said = (fetched.stdout + fetched.stderr).strip()
        known = diagnose(said, phases=["compile"])
        what = known.cause if known else "its source distribution could not be fetched"
        hint = known.hint if known else "run the command again; the text above is pip's own"
        raise EnvError(f"{package.name} {package.version}: {what}\n{_tail(said)}", hint=hint)
    if file_sha256(files[0]) != source_sha256(package):
        raise EnvError(
            f"{package.name} {package.version}: {files[0].name} does not have the lock's hash; nothing of it was built",
            hint="do not trust the index you use",
        )
    return files[0]


def unpack_source(archive: Path, folder: Path) -> Path:
    """The only folder of an archive, unpacked into `folder`; no member leaves it.

    Raises:
        EnvError: the archive is damaged, holds more than one folder, or a member that points outside.
    """
    target = folder / "source"
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(target)  # noqa: S202 - zipfile itself drops ".." and a leading "/"
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(target, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise EnvError(
            f"{archive.name} cannot be unpacked: {error}", hint="do not trust the index you use; report this"
        ) from error
    folders = [entry for entry in target.iterdir() if entry.is_dir()]
    if len(folders) != 1:
        raise EnvError(
            f"{archive.name} holds {len(folders)} folders, not one",
            hint="report this: the lock names a wrong file",
        )
    return folders[0]


def _tail(said: str, lines: int = 12) -> str:
    return "\n".join(said.splitlines()[-lines:])
