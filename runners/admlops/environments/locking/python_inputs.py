"""Reads `requirements.in`: what a variant asks of Python, other lists included by `-r`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from admlops.core.errors import EnvError

DIGEST_VERSION = "python-inputs-1"
MINOR_VERSIONS = range(5, 40)
_INCLUDE = re.compile(r"^(?:-r|--requirement)[ =]\s*(\S+)$")
_FRAGMENT_HASH = re.compile(r"^sha256=([0-9a-f]{64})$")


@dataclass(frozen=True, kw_only=True)
class WantedPackage:
    """One line of a list. `url` and `sha256` are set for a wheel that is named by its address; `where` is file:line."""

    requirement: Requirement
    where: str
    url: str | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def exact_version(self) -> str | None:
        """The version if the line pins one, else None."""
        specifiers = list(self.requirement.specifier)
        if len(specifiers) == 1 and specifiers[0].operator == "==" and "*" not in specifiers[0].version:
            return specifiers[0].version
        return None


@dataclass(frozen=True, kw_only=True)
class PythonInputs:
    """Everything that one `requirements.in` asks for. `python` is the variant's PEP 440 specifier."""

    file: Path
    python: str
    packages: tuple[WantedPackage, ...]

    @property
    def closed(self) -> bool:
        """Whether every package is pinned: then the list is locked as it stands, and nothing is resolved."""
        return all(package.url or package.exact_version for package in self.packages)

    @property
    def python_minor(self) -> str | None:
        """`"3.11"` if the specifier admits just one minor version, else None."""
        admitted = self._admitted()
        return admitted[0] if len(admitted) == 1 else None

    @property
    def lowest_python(self) -> str:
        """The lowest minor version that the specifier admits: `">=3.11"` → `"3.11"`.

        Raises:
            EnvError: it admits none.
        """
        admitted = self._admitted()
        if not admitted:
            raise EnvError(f"no Python 3 is {self.python}", hint="see `python` of the variant in model.toml")
        return admitted[0]

    def _admitted(self) -> list[str]:
        wanted = SpecifierSet(self.python)
        return [f"3.{minor}" for minor in MINOR_VERSIONS if any(f"3.{minor}.{patch}" in wanted for patch in (0, 19))]

    @property
    def digest(self) -> str:
        """The sha256 of what is asked for; comments, order and the split over files do not change it."""
        wanted = sorted(f"{package.requirement} {package.sha256 or ''}".strip() for package in self.packages)
        return hashlib.sha256("\n".join([DIGEST_VERSION, self.python, *wanted]).encode()).hexdigest()


def read_python_inputs(file: Path, *, python: str) -> PythonInputs:
    """The packages that `file` and the lists that it includes ask for.

    Raises:
        EnvError: a list is missing or includes itself, a line is no requirement, or a package is asked for twice.
    """
    packages = list(_read(file, ()))
    seen: dict[str, WantedPackage] = {}
    for package in packages:
        other = seen.setdefault(f"{package.name};{package.requirement.marker}", package)
        if other is not package:
            raise _refuse(package.where, f"{package.name} is asked for twice: {other.where} has it too")
    return PythonInputs(file=file, python=python, packages=tuple(packages))


def _read(file: Path, above: tuple[Path, ...]) -> Iterator[WantedPackage]:
    file = file.resolve()
    if file in above:
        raise _refuse(str(above[-1]), f"includes {file}, which includes it")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise _refuse(str(file), f"byte 0x{error.object[error.start]:02x} at {error.start} is not UTF-8") from error
    except OSError as error:
        by = f", which {above[-1]} includes," if above else ""
        raise EnvError(
            f"the list {file}{by} cannot be read: {error.strerror}", hint=f"git checkout -- {file}"
        ) from error
    for number, raw in enumerate(lines, start=1):
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        include = _INCLUDE.match(line)
        if include:
            yield from _read(file.parent / include[1], (*above, file))
        elif line:
            yield _parse(line, f"{file}:{number}")


def _parse(line: str, where: str) -> WantedPackage:
    if line.startswith("-"):
        raise _refuse(where, f"{line.split()[0]!r} is not allowed here: only requirements and -r FILE are")
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        raise _refuse(where, f"{line!r} is not a requirement: {error}") from error
    if requirement.url is None:
        return WantedPackage(requirement=requirement, where=where)
    url, sha256 = _split_url(requirement.url, where)
    requirement.url = url
    return WantedPackage(requirement=requirement, where=where, url=url, sha256=sha256)


def _split_url(text: str, where: str) -> tuple[str, str | None]:
    """The address of a wheel and the sha256 that its fragment gives, if any."""
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.path.endswith(".whl"):
        raise _refuse(where, f"{text} is not the https address of a .whl file")
    given = _FRAGMENT_HASH.match(parts.fragment)
    if parts.fragment and not given:
        raise _refuse(where, f"#{parts.fragment} is not #sha256= and 64 hexadecimal digits")
    return parts._replace(fragment="").geturl(), given[1] if given else None


def _refuse(where: str, reason: str) -> EnvError:
    file = where.split(":", 1)[0]
    return EnvError(f"{where}: {reason}", hint=f"mend {file}, then: admlops env lock MODEL")
