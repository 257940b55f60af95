"""`admlops env run`, `shell` and `variables`: a model's environment for other programs and for a person."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from admlops.cli.completion import complete_models, complete_variants

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.environments import Environment

VARIANT = click.option(
    "--variant", shell_complete=complete_variants, help="One set of pins. [default: the model's default one]"
)
ANY_VARIANT = click.option(
    "--variant", shell_complete=complete_variants, help="One set of pins. [default: all of the model's]"
)
DEVICE = click.option("--device", type=click.Choice(["cuda", "cpu"]), help="Select the CUDA or the CPU build.")


@click.command(
    "run",
    epilog="Example: admlops env run MapTR -- python -c 'import torch; print(torch.__version__)'",
)
@VARIANT
@DEVICE
@click.option("--json", "as_json", is_flag=True, help="Print what would be run, as JSON, and run nothing.")
@click.argument("model", shell_complete=complete_models)
@click.argument("command", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def run_command(model: str, command: tuple[str, ...], variant: str | None, device: str | None, as_json: bool) -> None:
    """Run CMD in the environment of MODEL, with the variables that its workers get.

    The program replaces this one: its exit code, signals and terminal are its own.
    """
    from admlops.core.processes import find_program, process_environment

    _, environment = _find(model, variant, device)
    variables = process_environment(environment.variables)
    program = find_program(command[0], variables.get("PATH", ""))
    if as_json:
        _print_json({"program": program, "arguments": list(command), "variables": _shown(environment)})
        return
    _replace(program, command, variables)


@click.command("shell", epilog="Example: admlops env shell MapTR")
@VARIANT
@DEVICE
@click.option("--json", "as_json", is_flag=True, help="Print what would be started, as JSON, and start nothing.")
@click.argument("model", shell_complete=complete_models)
def shell(model: str, variant: str | None, device: str | None, as_json: bool) -> None:
    """Start an interactive bash or zsh in the environment of MODEL; `exit` leaves it.

    It is your own shell, ~/.bashrc and all, with the environment activated last; `deactivate` works in it too.
    """
    from admlops.core.processes import find_program

    layout, environment = _find(model, variant, device)
    kind = "zsh" if Path(os.environ.get("SHELL", "")).name == "zsh" else "bash"
    program = find_program(kind, os.environ.get("PATH", ""))
    if as_json:
        _print_json({"program": program, "variables": _shown(environment)})
        return
    options = ["--variant", variant] if variant else []
    options += ["--device", device] if device else []
    activation = shlex.join([".", str(layout.envs / "activate"), model, *options])
    arguments, more = _interactive(kind, activation)
    _replace(program, [program, *arguments], {**os.environ, "ADMLOPS_PATH": str(layout.checkout), **more})


def _interactive(kind: str, activation: str) -> tuple[list[str], dict[str, str]]:
    """The arguments and the variable that make a shell read our start-up files, which remove themselves."""
    from admlops.environments.activation_shell import startup_files

    folder = Path(tempfile.mkdtemp(prefix="admlops-shell-"))
    for name, content in startup_files(activation, home=Path.home(), folder=folder, shell=kind).items():
        (folder / name).write_text(content)
    if kind == "bash":
        return ["--rcfile", str(folder / "bashrc"), "-i"], {}
    return ["-i"], {"ZDOTDIR": str(folder)}


@click.command("variables", epilog="Example: admlops env variables MapTR --json")
@VARIANT
@DEVICE
@click.option("--shell", "for_shell", is_flag=True, help="Print code for bash and zsh; it defines `deactivate` too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; null means that one must not be set.")
@click.argument("model", shell_complete=complete_models)
def variables(model: str, variant: str | None, device: str | None, for_shell: bool, as_json: bool) -> None:
    """Print the variables of the environment of MODEL, as `source envs/activate MODEL` sets them."""
    from admlops.environments.activation_shell import activation_code

    layout, environment = _find(model, variant, device)
    if for_shell:
        click.echo(activation_code(environment, os.environ, environments=layout.environments), nl=False)
    elif as_json:
        _print_json(_shown(environment))
    else:
        for name, value in _shown(environment).items():
            click.echo(f"unset {name}" if value is None else f"{name}={shlex.quote(value)}")


def _find(model: str, variant: str | None, device: str | None) -> tuple[Layout, Environment]:
    from admlops.core.paths import find_layout
    from admlops.environments.inventory import ready_environment

    layout = find_layout()
    return layout, ready_environment(layout, model, variant=variant, device=device)


def _shown(environment: Environment) -> dict[str, str | None]:
    return dict(sorted(environment.variables.items()))


def _print_json(content: Any) -> None:
    click.echo(json.dumps(content, indent=2))


def _replace(program: str, arguments: list[str] | tuple[str, ...], variables: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(program, list(arguments), variables)  # noqa: S606 - the program takes this one's place: no shell is meant
