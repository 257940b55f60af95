"""Packages whose source distribution is compiled against torch.

Without torch beside them they build all the same, lose their operations, and nothing says so. So they must be named in
a variant's `compiled`, which builds them inside the finished environment and checks what came out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from packaging.utils import canonicalize_name

TORCH_SOURCES = frozenset(
    (
        *("mmcv", "mmcv-full", "flash-attn", "causal-conv1d", "mamba-ssm", "natten", "pytorch3d", "torchsparse"),
        *("torch-scatter", "torch-sparse", "torch-cluster", "torch-spline-conv", "detectron2", "nvdiffrast"),
    )
)
"""Their index has source distributions alone; a wheel of one is locked by its address."""


class NamedPackage(Protocol):
    """A package that a list asks for or a lock has; `url` is the address of a wheel, or None."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str | None: ...


def find_uncompiled(locked: Iterable[NamedPackage], compiled: Iterable[str]) -> tuple[str, ...]:
    """Find the packages that would be built without torch, by name."""
    named = {canonicalize_name(name) for name in compiled}
    return tuple(
        package.name
        for package in locked
        if package.name in TORCH_SOURCES and package.url is None and package.name not in named
    )


def explain_uncompiled(locked: Iterable[NamedPackage], compiled: Iterable[str]) -> str | None:
    """Say which packages would lose their operations and what to write; None if there is none."""
    packages = tuple(locked)
    found = find_uncompiled(packages, compiled)
    if not found:
        return None
    names = ", ".join(f'"{name}"' for name in found)
    torch = "" if any(one.name == "torch" for one in packages) else " and torch==VERSION in requirements.in"
    verb = "is compiled" if len(found) == 1 else "are compiled"
    return (
        f"{', '.join(found)} {verb} against torch and would be built without its operations; "
        f"write compiled = [{names}] in the variant's model.toml{torch}"
    )
