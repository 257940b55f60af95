"""What an installation will have to compile, as far as it can be known before anything is installed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from admlops.environments.install.ops.key import KEY_VERSION, torch_arch_list
from admlops.environments.install.ops.patches import patches_digest, select_patches
from admlops.environments.install.ops.source import source_sha256
from admlops.environments.install.ops.wheel import KEY_FILE
from admlops.environments.spec.requirements import LockedPackage
from admlops.environments.spec.specification import Recipe


def expect_compiling(
    recipe: Recipe, locked: Iterable[LockedPackage], *, python_version: str, wheels: Path
) -> tuple[str, ...]:
    """The packages of `recipe.compiled` for which no wheel in `wheels` may serve.

    A wheel may serve if its key agrees with what the locks say; the compiler and torch's build become known only in the
    environment, so that a wheel may still turn out to be another's.
    """
    there = set(_read_keys(wheels))
    compiled = {canonicalize_name(name) for name in recipe.compiled}
    wanted = (package for package in locked if package.name in compiled)
    return tuple(one.name for one in wanted if _known_of(recipe, one, python_version) not in there)


def _known_of(recipe: Recipe, package: LockedPackage, python_version: str) -> tuple[Any, ...]:
    patches = patches_digest(select_patches(recipe.patches, package.name))
    cpu = recipe.device != "cuda"
    arch = () if cpu else torch_arch_list(recipe.arch)
    major, minor = python_version.split(".")[:2]
    source = (package.name, package.version, source_sha256(package), patches)
    return (KEY_VERSION, *source, cpu, arch, f"cpython-{major}{minor}")


def _read_keys(wheels: Path) -> Iterator[tuple[Any, ...]]:
    """The same of every wheel that is there; a damaged description is none."""
    for path in wheels.glob(f"*/{KEY_FILE}"):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            key = json.loads(path.read_text())["key"]
            source = tuple(key[name] for name in ("name", "version", "source_sha256", "patches"))
            abi = "-".join(key["python"].split("-")[:2])
            yield (key["key_version"], *source, key["cuda"] == "cpu", tuple(key["arch"]), abi)
