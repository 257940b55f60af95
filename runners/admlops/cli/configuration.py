"""The configuration files: defaults of options, below variables and the command line.

`admlops.toml` in the checkout wins over `config.toml` in the user's folder. A table is a command, a key one of its
options by its long name. Files are read into what click calls a default map; a section is checked against its command's
options when that command is loaded, so a command pays only for its own section.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from admlops.cli.config_files import find_files
from admlops.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One value of a file; `line` counts from 1, and is 0 where it cannot be told."""

    value: Any
    file: str
    line: int

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}" if self.line else self.file


def read_default_map(commands: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return click's default map: settings of the program itself, and a section for each command; None without files.

    The program's own settings are ready for click; sections hold `Setting`s until `bind_section` has seen the command.

    Args:
        commands: the names of the top-level commands.

    Raises:
        UsageError: a file is not TOML or cannot be read, or names no command; the message says file and line.
    """
    found = find_files()
    if not found:
        return None
    merged: dict[str, Any] = {}
    for file in found:
        _merge(merged, _read(file))
    for name, one in merged.items():
        if isinstance(one, dict) and name not in commands:
            raise _unknown(_any_setting(one), f"command {name!r}", name, commands, "admlops --help")
    return merged


def bind_section(ctx: click.Context, command: click.Command, name: str) -> None:
    """Make a command's section ready for click, if files have one: keys of parameters, values of the right type.

    Raises:
        UsageError: a key is no option of the command, or its value does not fit.
    """
    section = (ctx.default_map or {}).get(name)
    if isinstance(section, dict) and ctx.default_map is not None:
        own: dict[str, Any] = ctx.default_map  # type: ignore[assignment]  # the dictionary that `read_default_map` made
        own[name] = _bind(section, command, f"{ctx.command_path} {name}")


def bind_root(default_map: dict[str, Any], command: click.Command) -> dict[str, Any]:
    """Make the program's own settings ready for click; sections of commands stay as they are."""
    own = {key: one for key, one in default_map.items() if isinstance(one, Setting)}
    sections = {key: one for key, one in default_map.items() if not isinstance(one, Setting)}
    return {**_bind(own, command, "admlops"), **sections}


def check_section(section: Mapping[str, Any], command: click.Command, path: str) -> None:
    """Raise UsageError for the first key of a section that is no option of the command, or whose value does not fit."""
    _bind(section, command, path)


def find_option(command: click.Command, key: str) -> click.Option | None:
    """Return the option whose long name a key is, `gpu-memory-limit` or `gpu_memory_limit`."""
    return _options(command).get(key.replace("_", "-"))


def _options(command: click.Command) -> dict[str, click.Option]:
    """Return the options that a file may set, by their long names."""
    options = (one for one in command.params if isinstance(one, click.Option))
    chosen = (one for one in options if not (one.is_eager and "--version" in one.opts))  # that one prints and ends
    return {name.removeprefix("--"): one for one in chosen for name in one.opts if name.startswith("--")}


def _bind(section: Mapping[str, Any], command: click.Command, path: str) -> dict[str, Any]:
    bound: dict[str, Any] = {}
    inner = command.list_commands(click.Context(command)) if isinstance(command, click.Group) else []
    for key, one in section.items():
        if not isinstance(one, Setting):
            bound[key] = _bind_inner(key, one, command, inner, path)
            continue
        option = find_option(command, key)
        if option is None:
            raise _unknown(one, f"option {key!r} of {path}", key, [*_options(command), *inner], f"{path} --help")
        bound[str(option.name)] = _convert(one, option, key)
    return bound


def _bind_inner(
    key: str, section: dict[str, Any], command: click.Command, inner: list[str], path: str
) -> dict[str, Any]:
    """Bind the section of a group's command; that of a group whose commands load later stays for them."""
    if key not in inner:
        raise _unknown(_any_setting(section), f"command {key!r} of {path}", key, inner, f"{path} --help")
    commands = command.commands if isinstance(command, click.Group) else {}
    return _bind(section, commands[key], f"{path} {key}") if key in commands else section


def _convert(one: Setting, option: click.Option, key: str) -> Any:
    """Return the value as click takes it; a path is relative to the file's own folder."""
    value = one.value
    if option.multiple and not isinstance(value, list):
        value = [value]
    values = value if isinstance(value, list) else [value]
    if any(isinstance(each, dict) for each in values) or (isinstance(value, list) and not option.multiple):
        raise _unfit(one, key, "takes one value")
    if option.is_flag != all(isinstance(each, bool) for each in values):
        raise _unfit(one, key, "takes true or false" if option.is_flag else "takes no true or false")
    if isinstance(option.type, click.Path):
        folder = os.path.dirname(os.path.abspath(one.file))  # noqa: PTH100, PTH120
        values = [each if each == "-" else os.path.join(folder, os.path.expanduser(str(each))) for each in values]  # noqa: PTH111, PTH118
    elif not option.is_flag:
        values = [str(each) for each in values]
    value = values if option.multiple else values[0]
    try:
        option.type_cast_value(click.Context(click.Command("config")), value)
    except click.BadParameter as error:
        raise _unfit(one, key, error.message) from error
    return value


def _unfit(one: Setting, key: str, reason: str) -> UsageError:
    return UsageError(f"{one.place}: {key} = {one.value!r}: {reason}", hint=f"edit {one.file}; admlops config show")


def _unknown(one: Setting, what: str, key: str, known: Iterable[str], help_command: str) -> UsageError:
    import difflib

    near = difflib.get_close_matches(key.replace("_", "-"), list(known), n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return UsageError(f"{one.place}: there is no {what}{meant}", hint=f"{help_command}   # then edit {one.file}")


def _any_setting(section: Mapping[str, Any]) -> Setting:
    """Return the first setting of a section, to say where the section is."""
    return next(iter(settings_of(section)))[1]


def settings_of(section: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Setting]]:
    """Yield every setting of a default map as files gave it, with the keys that lead to it."""
    for key, one in section.items():
        if isinstance(one, Setting):
            yield (*path, key), one
        else:
            yield from settings_of(one, (*path, key))


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, one in other.items():
        if isinstance(one, dict) and isinstance(into.get(key), dict):
            _merge(into[key], one)
        else:
            into[key] = one


def _read(file: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(file, "rb") as opened:  # noqa: PTH123
            text = opened.read().decode()
        content = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text in UTF-8", hint=f"edit {file}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {error}", hint=f"edit {file}") from error
    return _with_places(content, file, _find_lines(text), ())


def _with_places(
    table: Mapping[str, Any], file: str, lines: Mapping[tuple[str, ...], int], path: tuple[str, ...]
) -> dict[str, Any]:
    placed: dict[str, Any] = {}
    for key, value in table.items():
        here = (*path, key)
        if isinstance(value, dict) and value:
            placed[key] = _with_places(value, file, lines, here)
        elif not isinstance(value, dict):
            placed[key] = Setting(value=value, file=file, line=lines.get(here, 0))
    return placed


def _find_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of each key, which tomllib does not tell. Text in a multi-line string may be taken for a key."""
    import re

    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        key = re.match(r"\s*([\w.\"' -]+?)\s*=", line)
        if header:
            table = _split(header[1])
        elif key:
            lines.setdefault((*table, *_split(key[1])), number)
    return lines


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
