"""Where configuration files lie. A command without one loads nothing more than this."""

from __future__ import annotations

import os

FILE_NAME = "admlops.toml"


def list_files() -> list[str]:
    """Return where configuration may lie, the one that wins last; whether they are there or not.

    Without pathlib, which takes a tenth of the time of --help.
    """
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")  # noqa: PTH111, PTH118
    checkout = os.environ.get("ADMLOPS_PATH") or __file__.rpartition(os.sep + "runners" + os.sep)[0]
    return [os.path.join(home, "admlops", "config.toml"), os.path.join(checkout, FILE_NAME)]  # noqa: PTH118


def find_files() -> list[str]:
    """Return the configuration files that are there, the one that wins last."""
    return [file for file in list_files() if os.path.isfile(file)]  # noqa: PTH113
