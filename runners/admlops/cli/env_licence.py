"""Asking for a licence before a model is installed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from admlops.catalog import Model
    from admlops.core.paths import Layout


def settle_licence(layout: Layout, model: Model, *, accepted: bool) -> None:
    """Ensure that the user has accepted the licences of a model that is not installed yet.

    `accepted` is the user's yes on the command line. Without it a person at a terminal is asked.

    Raises:
        EnvError: the user has not accepted; says how to.
    """
    from admlops.environments.licences import accept, describe, open_licences, require_accepted

    wanted = open_licences(model)
    if not wanted or _is_installed(layout, model):
        return
    if accepted or (_is_interactive() and _ask(describe(model, wanted))):
        accept(model)
    require_accepted(model)


def _is_installed(layout: Layout, model: Model) -> bool:
    from admlops.environments import find_model

    return any(find_model(layout, model, variant) is not None for variant in model.variants)


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(question: str) -> bool:
    click.echo(question, err=True)
    return click.confirm("Do you accept it?", default=False, err=True)
