"""Reads `environment.yml`, what a variant asks of conda, and `virtual-packages.yml`, the machine that it is solved for.

Both have conda's and conda-lock's own shapes, of which only what is needed here is admitted: one platform, channels by
name, and dependencies spelled `name`, `name VERSION` or `name VERSION BUILD`. A version is `3.11.*`,
`==3.11.9`, a range such as `>=3.11,<3.12`, or `*`: a bare `3.11` means different things to different tools.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from admlops.core.errors import EnvError

PLATFORM = "linux-64"
ENVIRONMENT_KEYS = ("name", "channels", "platforms", "dependencies")
_NAME = re.compile(r"^[a-z0-9_][a-z0-9_.-]*$")
_CHANNEL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*$")
_BOUND = r"(?:>=|<=|>|<|!=)[0-9][0-9a-z_.*]*"
_VERSION = re.compile(rf"^(?:\*|==[0-9][0-9a-z_.]*|[0-9][0-9a-z_.]*\.\*|{_BOUND}(?:,{_BOUND})*)$")
_BUILD = re.compile(r"^[A-Za-z0-9_.*]+$")
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
    """What `environment.yml` asks for, for the machine that `virtual-packages.yml` describes.

    Raises:
        EnvError: a file is missing or not YAML, or a key or a dependency is wrong; names file, key and what must be.
    """
    content = _read_mapping(file)
    for key in content:
        if key not in ENVIRONMENT_KEYS:
            raise _refuse(file, str(key), f"is not a known key; known are {', '.join(ENVIRONMENT_KEYS)}")
    if content.get("platforms") != [PLATFORM]:
        raise _refuse(file, "platforms", f"must be [{PLATFORM}], not {content.get('platforms')!r}")
    channels = tuple(_channel(file, index, value) for index, value in enumerate(_list(file, content, "channels")))
    dependencies = tuple(_dependency(file, i, value) for i, value in enumerate(_list(file, content, "dependencies")))
    for kind, names in (("channels", channels), ("dependencies", tuple(one.name for one in dependencies))):
        for name in names:
            if names.count(name) > 1:
                raise _refuse(file, kind, f"names {name} twice")
    return CondaInputs(
        file=file,
        channels=channels,
        dependencies=dependencies,
        virtual_packages=_read_virtual_packages(virtual_packages),
    )


def _read_mapping(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise EnvError(f"{file} cannot be read: {error.strerror}", hint=f"git checkout -- {file}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise EnvError(f"{file} is not YAML: {reason}", hint=f"mend {file}, then: admlops env lock MODEL") from error
    if not isinstance(content, dict):
        raise _refuse(file, "", f"must be a mapping with {', '.join(ENVIRONMENT_KEYS[1:])}")
    return content


def _list(file: Path, content: dict[str, Any], key: str) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list) or not value:
        raise _refuse(file, key, f"must be a list of at least one, not {value!r}")
    return value


def _channel(file: Path, index: int, value: object) -> str:
    if not isinstance(value, str) or not _CHANNEL.match(value) or value in ("defaults", "nodefaults"):
        raise _refuse(file, f"channels[{index}]", f'must be a channel\'s name, such as "conda-forge", not {value!r}')
    return value


def _dependency(file: Path, index: int, value: object) -> Dependency:
    key = f"dependencies[{index}]"
    if isinstance(value, dict) and "pip" in value:
        raise _refuse(file, key, "lists pip packages: those belong in requirements.in")
    if not isinstance(value, str):
        raise _refuse(file, key, f'must be text, such as "python 3.11.*", not {value!r}')
    name, *rest = value.split(" ")
    if not _NAME.match(name) or len(rest) > 2:
        raise _refuse(file, key, f'must be "name", "name VERSION" or "name VERSION BUILD", not {value!r}')
    version, build = rest[0] if rest else "", rest[1] if len(rest) == 2 else None
    if version and not _VERSION.match(version):
        raise _refuse(file, key, f"has the version {version!r}; write 3.11.*, ==3.11.9 or >=3.11,<3.12, without blanks")
    if build is not None and not _BUILD.match(build):
        raise _refuse(file, key, f"has the build {build!r}, which is no build's name")
    return Dependency(name=name, version=version, build=build)


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
    return EnvError(f"{where} {expected}", hint=f"mend {file}, then: admlops env lock MODEL")
