"""What is imported when it is used, so that help and completion are quick: commands, and the values of options."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from admlops.cli.conventions import add_shared_options


class LazyChoice(click.Choice):  # type: ignore[type-arg]  # click before 8.4 has no parameter
    """A choice among what `load` gives; it is called when a value is converted, offered or named in a help text."""

    def __init__(self, load: Callable[[], Iterable[str]]) -> None:
        self._load = load
        self.case_sensitive = True

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]  # an attribute there
        return tuple(self._load())


class LazyGroup(click.Group):
    """A group made of `lazy`: name → (module:attribute, the line that the group's help shows)."""

    def __init__(self, *arguments: Any, lazy: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, attribute = self._lazy[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        add_shared_options(command)
        if ctx.default_map:
            from admlops.cli.configuration import bind_section

            bind_section(ctx, command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self._lazy and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, self._lazy, n=1)
            meant = f" Did you mean {near[0]}?" if near else f" There are: {', '.join(self._lazy)}."
            raise click.UsageError(f"No such command {name!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])
