"""Reads `environment.yml`, what a variant asks of conda, and `virtual-packages.yml`, the machine that it is solved for.

Both have conda's and conda-lock's own shapes, of which only what is needed here is admitted: one platform, channels by
name, and dependencies spelled `name`, `name VERSION` or `name VERSION BUILD`. A version is `3.11.*`,
`==3.11.9`, a range such as `>=3.11,<3.12`, or `*`: a bare `3.11` means different things to different tools.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from admlops.core.counting import count_of
from admlops.core.errors import EnvError
from admlops.environments.locking.text import read_text

PLATFORM = "linux-64"
ENVIRONMENT_KEYS = ("name", "channels", "platforms", "dependencies")
KNOWN_KEYS = ", ".join(ENVIRONMENT_KEYS)
KEYS_TO_DELETE = {
    "prefix": "says where somebody's environment lay; delete it",
    "variables": "sets variables, which the adapter does; delete it",
}
Item = TypeVar("Item")
_NAME = re.compile(r"^[a-z0-9_][a-z0-9_.-]*$")
_CHANNEL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*$")
_BOUND = r"(?:>=|<=|>|<|!=)[0-9][0-9a-z_.*]*"
_VERSION = re.compile(rf"^(?:\*|==[0-9][0-9a-z_.]*|[0-9][0-9a-z_.]*\.\*|{_BOUND}(?:,{_BOUND})*)$")
_BUILD = re.compile(r"^[A-Za-z0-9_.*]+$")
_BLANK = re.compile(r"(?<=[=<>,])\s+|\s+(?=,)")
"""A blank within a version."""
_TIMESTAMP_MS = 1577854800000
"""What conda-lock gives its virtual packages, and puts into its hash of the inputs."""


@dataclass(frozen=True, kw_only=True)
class Dependency:
    """One package that is asked for; `version` is empty for any, `build` None for any."""

    name: str
    version: str = ""
    build: str | None = None

    @property
    def spec(self) -> str:
        """The dependency as a conda match specification."""
        return " ".join(part for part in (self.name, self.version or ("*" if self.build else ""), self.build) if part)


@dataclass(frozen=True, kw_only=True)
class VirtualPackage:
    """Something of the machine that packages may ask for, such as `__glibc` 2.35."""

    name: str
    version: str
    build: str = ""


@dataclass(frozen=True, kw_only=True)
class CondaInputs:
    """What is asked of conda. `channels` are names under the canonical host, the first one preferred."""

    file: Path
    channels: tuple[str, ...]
    dependencies: tuple[Dependency, ...]
    virtual_packages: tuple[VirtualPackage, ...]

    @property
    def content_hash(self) -> str:
        """The sha256 that conda-lock computes over the same inputs, so that its `--check-input-hash` agrees.

        Source: conda-lock 4.0, `content_hash.compute_content_hashes`: channels, sorted dependencies and the virtual
        packages as a small channel index, in canonical JSON.
        """
        specs: list[dict[str, Any]] = [
            {
                "build": one.build,
                "category": "main",
                "conda_channel": None,
                "extras": [],
                "hash": None,
                "manager": "conda",
                "name": one.name,
                # It spells an exact version without a build that way.
                "version": one.version.removeprefix("==") if one.build is None else one.version,
            }
            for one in sorted(self.dependencies, key=lambda one: one.name)
        ]
        content = {
            "channels": [f'{{"url":"{channel}","used_env_vars":[]}}' for channel in self.channels],
            "specs": specs,
            "virtual_package_hash": {
                "noarch": {"info": {"subdir": "noarch"}, "packages": {}},
                PLATFORM: {"info": {"subdir": PLATFORM}, "packages": dict(map(_index_entry, self.virtual_packages))},
            },
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_conda_inputs(file: Path, virtual_packages: Path) -> CondaInputs:
    """Return what `environment.yml` asks for, for the machine that `virtual-packages.yml` describes.

    Raises:
        EnvError: a file is missing or not YAML, or a key or a dependency is wrong; names file, key and what must be.
    """
    content = _read_mapping(file)
    problems = Problems(file)
    for key in content:
        if key not in ENVIRONMENT_KEYS:
            problems.add(str(key), KEYS_TO_DELETE.get(str(key), f"is not a known key; known are {KNOWN_KEYS}"))
    if content.get("platforms") != [PLATFORM]:
        problems.add("platforms", f"must be [{PLATFORM}], not {content.get('platforms')!r}")
    channels = _read_items(problems, content, "channels", _channel)
    dependencies = _read_items(problems, content, "dependencies", _dependency)
    for kind, names in (("channels", channels), ("dependencies", [one.name for one in dependencies])):
        for name in sorted({name for name in names if names.count(name) > 1}):
            problems.add(kind, f"names {name} twice")
    problems.check()
    return CondaInputs(
        file=file,
        channels=tuple(channels),
        dependencies=tuple(dependencies),
        virtual_packages=_read_virtual_packages(virtual_packages),
    )


class SpellingError(Exception):
    """A value is not spelled as it must be here; the text says how."""


class Problems:
    """Everything that is wrong with one input file, told at once."""

    def __init__(self, file: Path) -> None:
        self.file, self._lines = file, list[str]()

    def add(self, where: str, expected: str) -> None:
        """Note one problem: the key or line, and what is expected there."""
        self._lines.append(f"{where} {expected}")

    def check(self) -> None:
        """Raise EnvError if a problem was noted."""
        if len(self._lines) == 1:
            raise EnvError(f"{self.file}: {self._lines[0]}", hint=_hint(self.file))
        if self._lines:
            listed = "\n".join(f"  {line}" for line in self._lines)
            raise EnvError(f"{self.file}: {count_of(len(self._lines), 'problem')}\n{listed}", hint=_hint(self.file))


def _hint(file: Path) -> str:
    return f"change {file} so, then: admlops env lock MODEL"


def _read_items(problems: Problems, content: dict[str, Any], key: str, read: Callable[[object], Item]) -> list[Item]:
    values = content.get(key)
    if not isinstance(values, list) or not values:
        problems.add(key, f"must be a list of at least one, not {values!r}")
        return []
    found = []
    for index, value in enumerate(values):
        try:
            found.append(read(value))
        except SpellingError as error:
            problems.add(f"{key}[{index}]", str(error))
    return found


def _read_mapping(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(file))
    except OSError as error:
        raise EnvError(f"{file} cannot be read: {error.strerror}", hint=f"git checkout -- {file}") from error
    except (yaml.YAMLError, UnicodeDecodeError, SpellingError) as error:
        reason = " ".join(str(error).split())
        raise EnvError(f"{file} is not YAML: {reason}", hint=_hint(file)) from error
    if not isinstance(content, dict):
        raise _refuse(file, "", f"must be a mapping with {', '.join(ENVIRONMENT_KEYS[1:])}")
    return content


def _channel(value: object) -> str:
    if value in ("defaults", "nodefaults"):
        raise SpellingError(f'is {value!r}, which means other channels to each tool; write "conda-forge"')
    if not isinstance(value, str) or not _CHANNEL.match(value):
        raise SpellingError(f'must be a channel\'s name, such as "conda-forge", not {value!r}')
    return value


def _dependency(value: object) -> Dependency:
    if isinstance(value, dict) and "pip" in value:
        listed = ", ".join(map(str, value["pip"] or ()))
        raise SpellingError(f"lists pip packages: those belong in requirements.in, a line each: {listed}")
    if not isinstance(value, str):
        raise SpellingError(f'must be text, such as "python 3.11.*", not {value!r}')
    respelled = _respell(value)
    if respelled is not None:
        raise SpellingError(f'is {value!r}; write "{respelled}"')
    name, *rest = value.split(" ")
    if not _NAME.match(name) or len(rest) > 2:
        raise SpellingError(f'must be "name", "name VERSION" or "name VERSION BUILD", not {value!r}')
    version, build = rest[0] if rest else "", rest[1] if len(rest) == 2 else None
    if version and not _VERSION.match(version):
        raise SpellingError(f"has the version {version!r}; write 3.11.*, ==3.11.9 or >=3.11,<3.12, without blanks")
    if build is not None and not _BUILD.match(build):
        raise SpellingError(f"has the build {build!r}, which is no build's name")
    return Dependency(name=name, version=version, build=build)


def _respell(value: str) -> str | None:
    """Spell conda's `name=3.9`, `name=1.2.3=build` and `name>=1` as they are written here; None for other spellings."""
    equal = re.match(r"^([a-z0-9_.-]+)\s*=\s*([0-9][0-9a-z_.]*)(\.\*)?(?:=([A-Za-z0-9_.*]+))?$", value)
    if equal is not None:
        name, version, _, build = equal.groups()
        exact = build is not None
        return f"{name} =={version} {build}" if exact else f"{name} {version}.*"
    bound = re.match(r"^([a-z0-9_.-]+)\s*((?:>=|<=|==|>|<|!=)\s*[0-9].*)$", value)
    respelled = None if bound is None else f"{bound[1]} {_BLANK.sub('', bound[2])}"
    return None if respelled == value else respelled


def _read_virtual_packages(file: Path) -> tuple[VirtualPackage, ...]:
    content = _read_mapping(file)
    subdirs = content.get("subdirs")
    packages = subdirs.get(PLATFORM, {}).get("packages") if isinstance(subdirs, dict) else None
    if not isinstance(packages, dict) or not packages:
        raise _refuse(file, f"subdirs.{PLATFORM}.packages", 'must be a mapping, such as {__glibc: "2.35"}')
    found = []
    for name, text in packages.items():
        if not isinstance(name, str) or not name.startswith("__"):
            raise _refuse(file, str(name), "is not the name of a virtual package: those begin with __")
        if not isinstance(text, str) or not 1 <= len(text.split()) <= 2:
            raise _refuse(file, name, f'must be a quoted version, such as "2.35", not {text!r}')
        version, *build = text.split()
        found.append(VirtualPackage(name=name, version=version, build=build[0] if build else ""))
    return tuple(found)


def _index_entry(package: VirtualPackage) -> tuple[str, dict[str, Any]]:
    build = f"{package.build}_0" if package.build else "0"
    entry = {
        "name": package.name,
        "version": package.version,
        "build_string": package.build,
        "build_number": 0,
        "noarch": "",
        "depends": [],
        "timestamp": _TIMESTAMP_MS,
        "package_type": "virtual_system",
        "build": build,
        "subdir": PLATFORM,
    }
    return f"{package.name}-{package.version}-{build}.tar.bz2", entry


def _refuse(file: Path, key: str, expected: str) -> EnvError:
    where = f"{file}: {key}" if key else f"{file}:"
    return EnvError(f"{where} {expected}", hint=_hint(file))
