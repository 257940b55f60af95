"""The registries of what a `model.toml` may name.

Each holds the built-in things by the address of their module, which belongs to an upper room and is imported when it is
used; the catalogue itself needs their ids alone.
"""

from __future__ import annotations

from typing import Protocol

from admlops.core.registry import Registry


class NamedInstaller(Protocol):
    """What the catalogue knows of an installer; `environments.install.installer.Installer` is the whole protocol."""

    @property
    def id(self) -> str:
        """The id that `installers` of a variant names."""


INSTALLERS: Registry[NamedInstaller] = Registry(
    "installer",
    {
        "conda": "admlops.environments.install.conda.installer:INSTALLER",
        "venv": "admlops.environments.install.venv:INSTALLER",
    },
)
"""How the prefix of an environment is filled."""
