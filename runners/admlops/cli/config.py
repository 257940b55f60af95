"""`admlops config`: which options the files and variables set, and where each value comes from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.conventions import note, with_format

if TYPE_CHECKING:
    from collections.abc import Mapping

LAYOUT_VARIABLES = ("ADMLOPS_PATH", "ADMLOPS_REP_PATH", "ADMLOPS_ENVIRONMENTS", "ADMLOPS_CACHE")


@click.group(epilog="Example: admlops config show")
def config() -> None:
    """The configuration files: defaults of options.

    A command line wins over a variable, a variable over admlops.toml in the checkout, that over
    ~/.config/admlops/config.toml.
    """


@config.command(epilog="Example: admlops config show --all", short_help="Show each value and where it comes from.")
@click.option("--all", "every", is_flag=True, help="Show the options that have their default value too.")
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(every: bool, as_json: bool) -> None:
    """Show what the files and variables set: command, option, value, and the line or the variable it comes from.

    Every section of the files is checked; a key that is no option is an error.
    """
    from admlops.cli.config_files import list_files
    from admlops.cli.tables import print_table

    files = list_files()
    rows = [row for row in _rows() if every or row["source"] != "default"]
    if as_json:
        named = [{"file": file, "exists": Path(file).is_file()} for file in files]
        click.echo(json.dumps({"files": named, "settings": rows}, indent=2))
        return
    for file in files:
        note(f"{file}{'' if Path(file).is_file() else ' (not there)'}")
    if rows:
        note()
        print_table(
            ("command", "option", "value", "from"),
            [(row["command"], row["option"], _spell(row["value"]), row["source"]) for row in rows],
        )


def check_files() -> None:
    """Check every section of the files against the options of its command.

    Raises:
        UsageError: a file cannot be read, or a key or value in it does not fit; the message says file and line.
    """
    for _ in _rows():
        pass


def _rows() -> Iterator[dict[str, Any]]:
    """Yield a row for each variable that is set, and for each option of each command."""
    from admlops.cli.configuration import read_default_map
    from admlops.cli.main import COMMANDS, cli

    for name in LAYOUT_VARIABLES:
        if os.environ.get(name):
            yield {"command": "admlops", "option": "", "value": os.environ[name], "source": name}
    read = read_default_map(COMMANDS) or {}
    yield from _rows_of(cli, click.Context(cli, info_name="admlops"), read)


def _rows_of(command: click.Command, context: click.Context, section: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    from admlops.cli.configuration import Setting, check_section, find_option

    check_section(section, command, context.command_path)
    places = {id(find_option(command, key)): one for key, one in section.items() if isinstance(one, Setting)}
    for option in (one for one in command.params if isinstance(one, click.Option)):
        if option.hidden and id(option) not in places:
            continue
        yield _row(option, context, places.get(id(option)))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _rows_of(inner, click.Context(inner, info_name=name, parent=context), section.get(name, {}))


def _row(option: click.Option, context: click.Context, setting: Any) -> dict[str, Any]:
    from admlops.cli.conventions import INHERITED_LEVEL, VARIABLES

    value: Any = option.resolve_envvar_value(context)
    source = str(option.envvar)
    for variable in VARIABLES.get(str(option.name), ()):
        set_to = INHERITED_LEVEL if variable == "LOG_LEVEL" else os.environ.get(variable)
        if value is None and set_to:
            value, source = set_to, variable
    if value is None:
        value = option.get_default(context) if setting is None else setting.value
        source = "default" if setting is None else setting.place
    return {
        "command": context.command_path,
        "option": max(option.opts, key=len).removeprefix("--"),
        "value": _plain(value),
        "source": source,
    }


def _plain(value: Any) -> Any:
    """Return the value as JSON can have it, without what may be secret in an address."""
    from admlops.core.addresses import redact

    if isinstance(value, str | Path):
        text = str(value)
        return redact(text) if "://" in text else text
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | float) else None


def _spell(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
