"""`admlops completion`: the shell's completion, shown or installed."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import click

SHELLS = ("bash", "zsh", "fish")
SHELL = click.argument("shell", type=click.Choice(SHELLS), required=False)
BASH_COMPLETION = (Path("/usr/share/bash-completion/bash_completion"), Path("/etc/profile.d/bash_completion.sh"))
"""If one of these is there, bash loads completions from a folder by itself."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a shell's completion goes, and what a person has to type once; empty if the shell finds it by itself."""

    file: Path
    once: str


@click.group(epilog="Example: admlops completion install")
def completion() -> None:
    """Complete commands, options, models, runs and scenes in bash, zsh and fish.

    `source .venv/bin/activate` brings the completion of bash and zsh already; `install` is for shells without it.
    """


@completion.command(epilog="Example: admlops completion show zsh", short_help="Print the completion's code.")
@SHELL
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(shell: str | None, as_json: bool) -> None:
    """Print the code that gives SHELL the completion; the default is the shell of $SHELL."""
    chosen = _choose(shell)
    code = _code(chosen)
    click.echo(json.dumps({"shell": chosen, "code": code}, indent=2) if as_json else code)


@completion.command(epilog="Example: admlops completion install --dry-run", short_help="Write the completion's file.")
@SHELL
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def install(shell: str | None, dry_run: bool, as_json: bool) -> None:
    """Write the file from which SHELL takes the completion, and say what is left to type once.

    Your start-up files are not changed. A file that is the same already is left as it is.
    """
    from admlops.core.storage import write_atomically

    chosen = _choose(shell)
    place, code = _place(chosen), _code(chosen) + "\n"
    changes = not (place.file.is_file() and place.file.read_text(errors="replace") == code)
    if changes and not dry_run:
        write_atomically(place.file, code.encode())
    if as_json:
        facts = {"shell": chosen, "file": str(place.file), "changes": changes, "dry_run": dry_run, "once": place.once}
        click.echo(json.dumps(facts, indent=2))
        return
    verb = "would write" if dry_run else "wrote"
    click.echo(f"{verb} {place.file}" if changes else f"{place.file} is there already")
    click.echo(f"type once: {place.once}" if place.once else f"new {chosen} shells complete admlops")


def _choose(shell: str | None) -> str:
    """Return the shell that is meant. Raises UsageError: none is named, and $SHELL is not supported."""
    from admlops.core.errors import UsageError

    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise UsageError(
            f"SHELL={os.environ.get('SHELL', '')} is none of {', '.join(SHELLS)}",
            hint="admlops completion install bash",
        )
    return name


def _code(shell: str) -> str:
    from click.shell_completion import get_completion_class

    from admlops.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    return found(cli, {}, "admlops", "_ADMLOPS_COMPLETE").source().strip()


def _place(shell: str) -> Place:
    from admlops.core.paths import home_folder

    home = home_folder()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    if shell == "fish":
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        return Place(file=config / "fish" / "completions" / "admlops.fish", once="")
    if shell == "zsh":
        folder = data / "zsh" / "site-functions"
        rc = Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"
        line = f"fpath=({shlex.quote(str(folder))} $fpath); autoload -Uz compinit && compinit"
        return Place(file=folder / "_admlops", once=_once(line, rc, known=str(folder)))
    own = os.environ.get("BASH_COMPLETION_USER_DIR")
    file = (Path(own) if own else data / "bash-completion") / "completions" / "admlops"
    if any(path.exists() for path in BASH_COMPLETION):
        return Place(file=file, once="")
    return Place(file=file, once=_once(f". {shlex.quote(str(file))}", home / ".bashrc", known=str(file)))


def _once(line: str, rc: Path, *, known: str) -> str:
    """Return the command that adds a line to a start-up file; empty if that file names the place already."""
    try:
        there = known in rc.read_text(errors="replace")
    except OSError:
        there = False
    return "" if there else f"echo {shlex.quote(line)} >> {shlex.quote(str(rc))}"
