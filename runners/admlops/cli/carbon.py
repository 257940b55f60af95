"""The options that say where a run's energy came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from admlops.evaluation.energy.carbon import Carbon

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--country", metavar="CODE", help="Where the energy came from, for CO2e: USA, FRA, DEU, …"),
    click.option("--intensity", type=float, metavar="KG_PER_KWH", help="The grid's, in place of a country's."),
    click.option("--pue", type=float, help="What the centre draws for each joule of the machine.  [default: 1]"),
)


def carbon_options(command: Command) -> Command:
    """Add --country, --intensity and --pue."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_carbon(options: dict[str, Any]) -> Carbon | None:
    """Take the three options out of `options`, and return what they say. Raises UsageError as `choose_carbon`."""
    given = {name: options.pop(name) for name in ("country", "intensity", "pue")}
    return make_carbon(given)


def make_carbon(given: Mapping[str, Any]) -> Carbon | None:
    """Return what the options say; None where they say nothing."""
    if all(value is None for value in given.values()):
        return None  # so that nothing is loaded
    from admlops.evaluation.energy.carbon import choose_carbon

    return choose_carbon(given["country"], given["intensity"], given["pue"])
