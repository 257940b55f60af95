"""What every command has in common: -q, -v, --color, --no-progress; and --format where a table is printed.

The options stand before or after a command's name. They are added to each command when it is loaded, so a command's own
file names none of them; what they ask for is `Manner`, the object that click hands from context to context.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

FORMATS = ("table", "json", "csv", "md", "latex")
COLORS = ("auto", "always", "never")
INHERITED_LEVEL = os.environ.get("LOG_LEVEL")
"""The variable's value when the process began; the level in force replaces it, for workers to inherit."""
VARIABLES = {"color": ("NO_COLOR", "FORCE_COLOR"), "log_level": ("LOG_LEVEL",)}
"""Variables that win over a configuration file's value of an option, beside those that click reads itself."""
QUIET_LEVEL, VERBOSE_LEVELS = "error", ("info", "debug")


class Manner:
    """How a command speaks: what -q, --color, --no-progress and --format ask for.

    No dataclass: that import is a tenth of the time of --help.
    """

    def __init__(self) -> None:
        self.quiet = False
        self.color = "auto"
        self.progress = True
        self.table = "table"


PROCESS = Manner()
"""The manner of the command line that started this process, for threads, which have no context of click's."""


def manner() -> Manner:
    """Return what the command line that runs now asks for."""
    context = click.get_current_context(silent=True)
    found = None if context is None else context.find_object(Manner)
    return found or PROCESS


def say(line: str) -> None:
    """Tell the person who waits, on standard error; -q leaves it out."""
    if not manner().quiet:
        click.echo(line, err=True)


def note(line: str = "") -> None:
    """Print a line beside a table: on standard output, or on standard error where a program reads the table."""
    if manner().table == "table":
        click.echo(line)
    else:
        say(line)


def shows_progress() -> bool:
    """Tell whether bars and lines of progress are wanted."""
    chosen = manner()
    return chosen.progress and not chosen.quiet


def uses_color(stream: IO[str]) -> bool:
    """Tell whether `stream` gets colours: by --color, else NO_COLOR, else FORCE_COLOR, else if it is a terminal."""
    return decide_color(manner().color, os.environ, is_terminal=stream.isatty())


def decide_color(choice: str, variables: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Decide on colours; a variable counts if it is set and not empty, as no-color.org says."""
    if choice != "auto":
        return choice == "always"
    if variables.get("NO_COLOR"):
        return False
    if variables.get("FORCE_COLOR"):
        return variables["FORCE_COLOR"] != "0"
    return is_terminal and variables.get("TERM") != "dumb"


def with_format(command: Command) -> Command:
    """Add --format to a command that prints tables and takes `as_json` already; `--json` is its short form."""
    option: Callable[[Command], Command] = click.option(
        "--format",
        "table_format",
        cls=_FormatOption,
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        expose_value=False,
        is_eager=True,
        help="How the table is printed; --json is short for json.",
    )
    return option(command)


def asks_for_json(arguments: list[str]) -> bool:
    """Tell whether a command line asks for JSON, before it is parsed or if it cannot be."""
    named = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in named or "--format=json" in named or "--format json" in " ".join(named)


def dry_run_option(command: Command) -> Command:
    """Add --dry-run to a command that writes."""
    option: Callable[[Command], Command] = click.option(
        "--dry-run", is_flag=True, help="Say what would be done, and write nothing."
    )
    return option(command)


class _FormatOption(click.Option):
    """--format: `json` sets --json, and the others are kept for whoever prints the table."""

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        value, rest = super().handle_parse_result(ctx, opts, args)
        if opts.get("as_json"):
            if ctx.get_parameter_source("table_format") is click.core.ParameterSource.COMMANDLINE and value != "json":
                raise click.UsageError(f"--json and --format {value} exclude each other", ctx)
            return value, rest
        if value == "json" and isinstance(opts, dict):
            opts["as_json"] = True
        ctx.ensure_object(Manner).table = str(value or "table")
        return value, rest


def add_shared_options(command: click.Command, *, hidden: bool = True) -> None:
    """Add the options of every command to one, and to the commands of a group; once.

    A command that hands arguments on unread (`env run MODEL -- CMD`) is left alone: they may mean something else there.
    """
    hands_on = any(isinstance(one, click.Argument) and one.type is click.UNPROCESSED for one in command.params)
    taken = {name for one in command.params for name in one.opts}
    if not hands_on:
        command.params += [one for one in _shared_options(hidden=hidden) if not taken.intersection(one.opts)]
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            add_shared_options(inner)


def _shared_options(*, hidden: bool) -> list[click.Option]:
    shared: dict[str, Any] = {"expose_value": False, "hidden": hidden}
    return [
        click.Option(
            ["-q", "--quiet"], is_flag=True, callback=_be_quiet, help="Print results and errors only.", **shared
        ),
        click.Option(
            ["-v", "--verbose"], count=True, callback=_be_verbose, help="Log more: -v info, -vv debug.", **shared
        ),
        click.Option(
            ["--color"],
            type=click.Choice(COLORS),
            default=None,
            callback=_choose_color,
            help="Colours; auto goes by the terminal, NO_COLOR and FORCE_COLOR. [default: auto]",
            **shared,
        ),
        click.Option(
            ["--no-progress"],
            is_flag=True,
            callback=_drop_progress,
            help="Print neither bars nor lines of progress.",
            **shared,
        ),
    ]


def _be_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Manner).quiet = True
        set_log_level(QUIET_LEVEL)


def _be_verbose(ctx: click.Context, _: click.Parameter, value: int) -> None:
    if value:
        if ctx.ensure_object(Manner).quiet:
            raise click.UsageError("--quiet and --verbose exclude each other", ctx)
        set_log_level(VERBOSE_LEVELS[min(value, len(VERBOSE_LEVELS)) - 1])


def yields_to_variable(ctx: click.Context, name: str) -> bool:
    """Tell whether an option's value comes from a configuration file, and a variable overrides it."""
    from_file = ctx.get_parameter_source(name) is click.core.ParameterSource.DEFAULT_MAP
    return from_file and any(os.environ.get(variable) for variable in VARIABLES[name])


def _choose_color(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None and not yields_to_variable(ctx, "color"):
        ctx.ensure_object(Manner).color = value
        ctx.color = None if value == "auto" else value == "always"  # what click.echo goes by


def _drop_progress(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Manner).progress = False


def set_log_level(level: str) -> None:
    """Log from this level on, here and in the workers, which inherit the variable."""
    os.environ["LOG_LEVEL"] = level.upper()
    if "logging" in sys.modules:
        import logging

        logging.getLogger().setLevel(level.upper())
