"""What commands about a data set have in common: how its root is opened, and which of its samples are meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from admlops.cli.completion import complete_kinds, complete_versions
from admlops.cli.conventions import say

if TYPE_CHECKING:
    from admlops.datasets.base import Dataset

Command = TypeVar("Command", bound=Callable[..., Any])


def opening_options(command: Command) -> Command:
    """Add the options that say how a root is read."""
    kinds = click.option(
        "--kind", shell_complete=complete_kinds, help="Read it as this kind, such as images of nuScenes' cameras."
    )
    version = click.option(
        "--version",
        shell_complete=complete_versions,
        help="The tables' folder, OpenLane-V2's subset, or the file with labels. [default: the only one, or v1.0-mini]",
    )
    return kinds(version(command))


def rules_option(command: Command) -> Command:
    """Add the option that names rules of tags."""
    option: Callable[[Command], Command] = click.option(
        "--rules",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Rules of tags (TOML) beside the built-in ones; docs/data-stats.md has the form.",
    )
    return option(command)


def open_root(root: Path, version: str | None, kind: str | None) -> Dataset:
    """Open a root as the kind that it is, or as `kind`; files that it names by an address are fetched."""
    from admlops.catalog.registries import DATA_KINDS
    from admlops.datasets.base import fetch_files, open_data

    if kind is not None:
        DATA_KINDS.get(kind)  # says which there are
    opened = open_data(root, version, wanted=() if kind is None else (kind,))
    fetch_files(opened, say)
    return opened


def find_root(root: Path | None, kind: str | None) -> Path:
    """Return the root that was named, or the data set in the repository's data/. Raises DataError: there is none."""
    from admlops.catalog.registries import DATA_KINDS
    from admlops.cli.options import default_data
    from admlops.core.errors import DataError
    from admlops.core.paths import find_layout

    if root is not None:
        return root
    layout = find_layout()
    try:
        return default_data(layout, DATA_KINDS.ids() if kind is None else [kind])
    except DataError as error:
        raise DataError(
            f"no DATA was named, and {layout.data} has none",
            hint=f"name one, or make one: admlops data synthesize {layout.data / 'synthetic'}",
        ) from error
