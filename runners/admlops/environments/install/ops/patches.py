"""Patches of a model, `envs/<Model>/patches/<package>/*.patch`: applied to the copy of a package that is compiled.

They are applied in the order of their names, from the root of the copy (`-p1`), without fuzz.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from admlops.core.errors import EnvError
from admlops.core.processes import run

APPLY_TIMEOUT_S = 60.0


def patches_digest(patches: Iterable[Path]) -> str:
    """A sha256 over names and contents, in the order they are applied; "" for no patch."""
    digest = hashlib.sha256()
    ordered = sorted(patches, key=_order)
    for patch in ordered:
        content = patch.read_bytes()
        digest.update(f"{_target(patch)}/{patch.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest() if ordered else ""


def select_patches(patches: Iterable[Path], target: str) -> tuple[Path, ...]:
    """Return the patches for the package `target`, in the order they are applied."""
    wanted = canonicalize_name(target)
    return tuple(sorted((patch for patch in patches if canonicalize_name(_target(patch)) == wanted), key=_order))


def apply_patches(tree: Path, patches: Sequence[Path]) -> None:
    """Apply patches to a tree that is ours to change. Raises EnvError if one does not apply or changes nothing."""
    # git would quietly skip files of a folder that an outer repository ignores: it must not see that repository.
    variables = {"GIT_CEILING_DIRECTORIES": str(tree.resolve().parent), "GIT_CONFIG_NOSYSTEM": "1", "GIT_DIR": None}
    for patch in patches:
        command: list[str | Path] = ["git", "apply", "--verbose", "--whitespace=nowarn", "-p1", patch.resolve()]
        applied = run(command, timeout_s=APPLY_TIMEOUT_S, cwd=tree, variables=variables)
        said = (applied.stderr or applied.stdout).strip()
        if applied.returncode != 0 or "Applied patch" not in said:
            raise EnvError(
                f"the patch {patch} does not apply to {tree.name}:\n{said or 'it changes no file'}",
                hint=f"git checkout -- {patch}   # or update it for the version that the lock names",
            )


def _target(patch: Path) -> str:
    return patch.parent.name


def _order(patch: Path) -> tuple[str, str]:
    return _target(patch), patch.name
