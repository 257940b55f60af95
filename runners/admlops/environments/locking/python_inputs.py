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
from admlops.environments.locking.conda_inputs import Problems, SpellingError
from admlops.environments.locking.text import read_text

DIGEST_VERSION = "python-inputs-1"
MINOR_VERSIONS = range(5, 40)
_INCLUDE = re.compile(r"^(?:-r|--requirement)[ =]\s*(\S+)$")
_HASH = re.compile(r"\s*--hash[= ]\S+")
_OPTIONS = {
    **dict.fromkeys(
        ("--extra-index-url", "--index-url", "-i"),
        "a list names no index; set it where you lock and install: export UV_EXTRA_INDEX_URL=URL",
    ),
    **dict.fromkeys(("-f", "--find-links"), "write the address of the wheel itself: NAME @ https://….whl"),
    **dict.fromkeys(
        ("-e", "--editable"),
        "a source tree is no package of a lock; name it in [source] of model.toml, or write NAME==VERSION",
    ),
    **dict.fromkeys(("-c", "--constraint"), "write the versions themselves: NAME==VERSION"),
}
"""Options of pip's lists, and what is written instead."""
CONTINUED = "\\"
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
        """Tell whether every package is pinned: then the list is locked as it stands, and nothing is resolved."""
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
    problems = Problems(file)
    packages = list(_read(file, (), problems))
    seen: dict[str, WantedPackage] = {}
    for package in packages:
        other = seen.setdefault(f"{package.name};{package.requirement.marker}", package)
        if other is not package:
            problems.add(f"{package.where}:", f"{package.name} is asked for twice: {other.where} has it too")
    problems.check()
    return PythonInputs(file=file, python=python, packages=tuple(packages))


def _read(file: Path, above: tuple[Path, ...], problems: Problems) -> Iterator[WantedPackage]:
    file = file.resolve()
    if file in above:
        raise _refuse(str(above[-1]), f"includes {file}, which includes it")
    try:
        text = read_text(file)
    except UnicodeDecodeError as error:
        raise _refuse(str(file), f"byte 0x{error.object[error.start]:02x} at {error.start} is not UTF-8") from error
    except OSError as error:
        by = f", which {above[-1]} includes," if above else ""
        raise EnvError(
            f"the list {file}{by} cannot be read: {error.strerror}", hint=f"git checkout -- {file}"
        ) from error
    for number, line in _lines(text):
        include = _INCLUDE.match(line)
        if include:
            yield from _read(file.parent / include[1], (*above, file), problems)
            continue
        try:
            yield _parse(line, f"{file}:{number}")
        except SpellingError as error:
            problems.add(f"{file}:{number}:", str(error))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line) without comments and hashes; lines that end in a backslash are one with the next."""
    begun, parts = 0, list[str]()
    for number, raw in enumerate(text.splitlines(), start=1):
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        begun = begun or number
        parts.append(line.removesuffix(CONTINUED).strip())
        if line.endswith(CONTINUED):
            continue
        whole = _HASH.sub("", " ".join(parts)).strip()
        if whole:
            yield begun, whole
        begun, parts = 0, []


def _parse(line: str, where: str) -> WantedPackage:
    """Read one requirement. Raises SpellingError, which says what is to be written instead."""
    if line.startswith("-"):
        option = re.split(r"[ =]", line, maxsplit=1)[0]
        raise SpellingError(
            f"{option!r} is not allowed here: {_OPTIONS.get(option, 'only requirements and -r FILE are')}"
        )
    if re.match(r"^(git|hg|svn|bzr)\+|^(https?|file)://", line):
        raise SpellingError(f"{line!r} has no name; write NAME @ https://….whl, or NAME==VERSION")
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise SpellingError(f"{line!r} is not a requirement: {reason}") from error
    if requirement.url is None:
        return WantedPackage(requirement=requirement, where=where)
    url, sha256 = _split_url(requirement.url, requirement.name)
    requirement.url = url
    return WantedPackage(requirement=requirement, where=where, url=url, sha256=sha256)


def _split_url(text: str, name: str) -> tuple[str, str | None]:
    """The address of a wheel and the sha256 that its fragment gives, if any."""
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.path.endswith(".whl"):
        instead = f"{name}==VERSION" if parts.scheme in ("file", "") else f"{name} @ https://….whl, or {name}==VERSION"
        raise SpellingError(f"{text} is not the https address of a .whl file; write {instead}")
    given = _FRAGMENT_HASH.match(parts.fragment)
    if parts.fragment and not given:
        raise SpellingError(f"#{parts.fragment} is not #sha256= and 64 hexadecimal digits")
    return parts._replace(fragment="").geturl(), given[1] if given else None


def _refuse(where: str, reason: str) -> EnvError:
    file = where.split(":", 1)[0]
    return EnvError(f"{where}: {reason}", hint=f"change {file} so, then: admlops env lock MODEL")
