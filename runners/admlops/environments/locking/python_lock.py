"""`requirements.in` → `requirements.txt`: every package with its version and sha256, no address of an index.

uv asks the index. For a variant of one Python minor version the lock is for that version on linux-64 and holds one file
a package, so that every machine installs the same bytes; for others uv's universal lock is taken as it is.
"""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.storage import write_atomically
from admlops.doctor import diagnose
from admlops.environments.install.uv import run_uv
from admlops.environments.locking.python_inputs import PythonInputs, WantedPackage
from admlops.environments.locking.solve import GLIBC
from admlops.environments.spec.requirements import UNKNOWN_HASH, read_lock

TIMEOUT_S = 600.0
UV_PLATFORM = f"x86_64-manylinux_{GLIBC.replace('.', '_')}"
DIGEST_LINE = "# inputs: sha256:"
BACKSLASH = " \\"


@dataclass(frozen=True, kw_only=True)
class LockedFile:
    """The one file that a package is installed from."""

    name: str
    version: str
    sha256: str | None
    url: str | None = None
    is_source: bool = False


def lock_python(inputs: PythonInputs, lock: Path, *, layout: Layout, command: str, needs_closed: bool) -> int:
    """Write `lock` from `inputs`; `command` is what its first line names. Returns the number of packages.

    Raises:
        EnvError: the index cannot be reached or lacks a package, a hash is missing, or `needs_closed` and a package
            of the list is not pinned.
    """
    if needs_closed and not inputs.closed:
        open_line = next(one for one in inputs.packages if not (one.url or one.exact_version))
        raise EnvError(
            f"{open_line.where}: {open_line.requirement} is not pinned, but this list is closed: it is installed as it"
            " stands, without what packages declare",
            hint=f"write {open_line.name}==VERSION, and what it needs, in {open_line.where.split(':')[0]}",
        )
    if inputs.python_minor is None:
        options = ["--universal", "--python-version", inputs.lowest_python]
        body = _compile(inputs, _wanted(inputs), options, lock, layout)
        scope = f"Python {inputs.python}, any platform"
    else:
        files = [*_named_by_url(inputs.packages), *_select(inputs, lock, layout)]
        body = "".join(_spell(file) for file in sorted(files, key=lambda file: file.name))
        scope = f"Python {inputs.python_minor}, linux-64"
    text = f"# {inputs.file.name} locked for {scope} by: {command}\n{DIGEST_LINE}{inputs.digest}\n{body}"
    _write_checked(lock, text)
    return len(read_lock(lock))


def locked_digest(lock: Path) -> str | None:
    """The digest of the inputs that a lock was made from, or None for a lock that does not say."""
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line.startswith(DIGEST_LINE):
            return line.removeprefix(DIGEST_LINE).strip()
    return None


def _write_checked(lock: Path, text: str) -> None:
    """Write `text` if it is a whole lock; leave the file as it is if not."""
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / lock.name
        candidate.write_text(text, encoding="utf-8")
        read_lock(candidate)
    write_atomically(lock, text.encode())


def _spell(file: LockedFile) -> str:
    wanted = f"{file.name} @ {file.url}" if file.url else f"{file.name}=={file.version}"
    note = "    # built from its source distribution\n" if file.is_source else ""
    return f"{wanted} \\\n    --hash=sha256:{file.sha256 or UNKNOWN_HASH}\n{note}"


def _named_by_url(packages: Sequence[WantedPackage]) -> Iterator[LockedFile]:
    for package in packages:
        if package.url:
            _, version, _, _ = parse_wheel_filename(unquote(urlsplit(package.url).path.rsplit("/", 1)[-1]))
            yield LockedFile(name=package.name, version=str(version), sha256=package.sha256, url=package.url)


def _select(inputs: PythonInputs, lock: Path, layout: Layout) -> Iterator[LockedFile]:
    """One file for each package that the index has: the wheel that fits best, else the source distribution."""
    if all(package.url for package in inputs.packages):
        return
    options = ["--python-version", str(inputs.python_minor), "--python-platform", UV_PLATFORM]
    wanted = _wanted(inputs)
    if not inputs.closed:
        # Two steps, because uv keeps the versions of an old lock only where it is to write the same format.
        resolved = _compile(inputs, wanted, options, lock, layout)
        wanted = "".join(f"{line.removesuffix(BACKSLASH)}\n" for line in resolved.splitlines() if line[:1].strip())
    found = tomllib.loads(_compile(inputs, wanted, [*options, "--format", "pylock.toml", "--no-deps"], None, layout))
    tags = _tags(str(inputs.python_minor))
    pins = {package.name: package.exact_version for package in inputs.packages}
    for package in found["packages"]:
        name, version = canonicalize_name(package["name"]), str(package["version"])
        pin = pins.get(name)
        if pin is not None and Version(pin) != Version(version):
            raise EnvError(
                f"for {name}=={pin} the index gave {version}: a local build, which no other machine has",
                hint="unset UV_FIND_LINKS UV_INDEX   # then run the command again",
            )
        yield _best_file(package, name, pin or version, tags)


def _best_file(package: dict[str, Any], name: str, version: str, tags: dict[Tag, int]) -> LockedFile:
    ranked = []
    for wheel in package.get("wheels", ()):
        try:
            where = str(wheel.get("url") or wheel["path"])
            _, _, build, wheel_tags = parse_wheel_filename(unquote(where.rsplit("/", 1)[-1]))
        except InvalidWheelFilename:
            continue
        rank = min((tags[tag] for tag in wheel_tags if tag in tags), default=None)
        if rank is not None:
            ranked.append((-rank, build, str(wheel["hashes"]["sha256"])))
    if ranked:
        return LockedFile(name=name, version=version, sha256=max(ranked)[2])
    if "sdist" not in package:
        raise EnvError(
            f"{name}=={version} has neither a wheel for this Python on linux-64 nor a source distribution",
            hint=f"choose another version of {name}",
        )
    return LockedFile(name=name, version=version, sha256=str(package["sdist"]["hashes"]["sha256"]), is_source=True)


def _tags(python_minor: str) -> dict[Tag, int]:
    """Wheel tags of CPython on x86-64 Linux with glibc `GLIBC`, the best ones ranked lowest."""
    major, minor = (int(part) for part in python_minor.split("."))
    legacy = {17: ("manylinux2014_x86_64",), 12: ("manylinux2010_x86_64",), 5: ("manylinux1_x86_64",)}
    platforms = []
    for glibc in range(int(GLIBC.split(".")[1]), 4, -1):
        platforms += [f"manylinux_2_{glibc}_x86_64", *legacy.get(glibc, ())]
    platforms.append("linux_x86_64")
    version, interpreter = (major, minor), f"cp{major}{minor}"
    abis = [interpreter]
    ordered = [*cpython_tags(version, abis, platforms), *compatible_tags(version, interpreter, platforms)]
    return {tag: rank for rank, tag in reversed(list(enumerate(ordered)))}


def _wanted(inputs: PythonInputs) -> str:
    """Spell the packages that the index has to give as a list."""
    return "".join(f"{package.requirement}\n" for package in inputs.packages if not package.url)


def _compile(inputs: PythonInputs, wanted: str, options: Sequence[str], lock: Path | None, layout: Layout) -> str:
    """Let uv compile a list; it keeps the versions of `lock`, a requirements.txt, where they still answer."""
    fixed = ["--quiet", "--no-header", "--no-annotate", "--no-emit-index-url", "--generate-hashes"]
    if inputs.closed and "--no-deps" not in options:
        fixed.append("--no-deps")
    with tempfile.TemporaryDirectory(prefix="admlops-lock-") as name:
        folder = Path(name)
        (folder / "requirements.in").write_text(wanted)
        output = folder / ("pylock.toml" if "pylock.toml" in options else "requirements.txt")
        if not inputs.closed and lock is not None and lock.is_file():
            shutil.copyfile(lock, output)
        command = ["pip", "compile", *fixed, *options, "requirements.in", "--output-file", output.name]
        completed = run_uv(command, layout=layout, timeout_s=TIMEOUT_S, cwd=folder)
        if completed.returncode:
            raise _explain(inputs, completed.stderr.strip())
        return output.read_text(encoding="utf-8")


def _explain(inputs: PythonInputs, said: str) -> EnvError:
    local = [package for package in inputs.packages if "+" in (package.exact_version or "")]
    if local:
        names = ", ".join(str(package.requirement) for package in local)
        return EnvError(
            f"{inputs.file} could not be locked: local versions such as {names} are in no package index\n{said}",
            hint=f"write the address of the wheel: {local[0].name} @ https://….whl, then: admlops env lock MODEL",
        )
    known = diagnose(said, phases=["install"])
    if known is not None:
        return EnvError(f"{inputs.file} could not be locked: {known.cause}\n{said}", hint=known.hint)
    return EnvError(
        f"{inputs.file} could not be locked:\n{said}", hint=f"change {inputs.file} as uv's own words above ask"
    )
