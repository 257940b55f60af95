"""Finds out how many bytes of Python packages are to be downloaded, before the first of them is.

A lock has hashes and no sizes. uv reads both from the index, so it is asked once, about what its cache lacks. Begin
with `missing_python_bytes`.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.environments.install.caches import cache_folder
from admlops.environments.install.uv import run_uv
from admlops.environments.spec.requirements import LockedPackage

ASK_TIMEOUT_S = 20.0
IMPATIENT = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "5"}
"""The answer is only displayed: an installation does not wait for an index that is slow to give it."""


def missing_python_bytes(packages: Sequence[LockedPackage], python_version: str, *, layout: Layout) -> int | None:
    """Sum what an installation of these packages would download [bytes].

    What uv's cache holds counts as there. A wheel that is locked by its address counts as nothing, because no index
    knows its size.

    Returns:
        The sum, 0 where nothing is missing, or None where the index does not say: it cannot be reached, or tells no
        sizes.
    """
    try:
        missing = [one for one in packages if one.url is None and not _is_cached(one, _uv_cache(layout))]
        return _sum_sizes(missing, _ask(missing, python_version, layout)) if missing else 0
    except (EnvError, OSError, tomllib.TOMLDecodeError):
        return None


def _uv_cache(layout: Layout) -> Path:
    completed = run_uv(["cache", "dir"], layout=layout, timeout_s=ASK_TIMEOUT_S)
    return Path(completed.stdout.strip() or cache_folder(layout))


def _is_cached(package: LockedPackage, cache: Path) -> bool:
    """Look for the package where uv keeps what it has unpacked or built; kept elsewhere, it counts as missing."""
    places = (f"wheels-v*/{{}}/{package.name}/{package.version}-*", f"sdists-v*/{{}}/{package.name}/{package.version}")
    found = (path for place in places for index in ("pypi", "index/*") for path in cache.glob(place.format(index)))
    return any(path.is_dir() for path in found)


def _ask(packages: Sequence[LockedPackage], python_version: str, layout: Layout) -> list[dict[str, Any]]:
    """Return what the index knows of these packages, as PEP 751 writes it; uv's cache stays as it is."""
    with tempfile.TemporaryDirectory(prefix="admlops-") as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text("".join(f"{package.requirement}\n" for package in packages))
        found = Path(folder) / "pylock.toml"
        options = ["--quiet", "--no-deps", "--no-cache", "--python", sys.executable, "--python-version", python_version]
        command: list[str | Path] = ["pip", "compile", *options, "-o", found, wanted]
        run_uv(command, layout=layout, timeout_s=ASK_TIMEOUT_S, variables=IMPATIENT)
        answered: list[dict[str, Any]] = tomllib.loads(found.read_text()).get("packages", [])
    return answered


def _sum_sizes(packages: Iterable[LockedPackage], answered: Iterable[Mapping[str, Any]]) -> int | None:
    """Add up the sizes of the files whose hashes are locked; of several files of a package, the largest."""
    sizes = {}
    for one in answered:
        for file in (*one.get("wheels", ()), *([one["sdist"]] if "sdist" in one else [])):
            sizes["sha256:" + str(file.get("hashes", {}).get("sha256"))] = int(file.get("size", 0))
    known = [max((sizes.get(digest, 0) for digest in package.hashes), default=0) for package in packages]
    return sum(known) if all(known) else None
