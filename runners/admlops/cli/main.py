"""The `admlops` command. Groups and commands are loaded when they are used, so that `admlops --help` is quick."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import click

from admlops import __version__
from admlops.cli.config_files import find_files
from admlops.cli.conventions import (
    PROCESS,
    add_shared_options,
    asks_for_json,
    set_log_level,
    uses_color,
    yields_to_variable,
)
from admlops.cli.lazy import LazyGroup
from admlops.cli.streams import ReaderGoneError, discard_output, nothing_is_printed, prepare_streams
from admlops.core.errors import AdmlopsError

COMMANDS = {
    "attach": ("admlops.cli.attach:attach", "Watch a run until it ends, or stop it."),
    "audit": ("admlops.cli.audit:audit", "Audit locks and checkpoints: vulnerabilities, licences, content."),
    "battle": ("admlops.cli.battle:battle", "Put two models against each other: a winner, a tie, or neither."),
    "check": ("admlops.cli.check:check", "Check that models work here: one step by step, or all side by side."),
    "checkpoints": ("admlops.cli.checkpoints:checkpoints", "List, fetch, verify and add published weights."),
    "cluster": ("admlops.cli.cluster:cluster", "Start, look at and end a Ray cluster on several machines."),
    "compare": ("admlops.cli.compare:compare", "Put models side by side: run what is missing, evaluate, rank."),
    "completion": ("admlops.cli.completion_command:completion", "Complete names in bash, zsh and fish."),
    "config": ("admlops.cli.config:config", "Show what the configuration files and variables set."),
    "data": ("admlops.cli.data:data", "Fetch, list, make, check and index data sets."),
    "deploy": ("admlops.cli.deploy:deploy", "Export, verify and evaluate as a deployment config asks."),
    "doctor": ("admlops.cli.doctor:doctor", "Explain a failed build or run, and name the remedy."),
    "env": ("admlops.cli.env:env", "Lock, install, verify, use and pack environments."),
    "evaluate": ("admlops.cli.evaluate:evaluate", "Compute a run's official metrics."),
    "export": ("admlops.cli.export:export", "Write a model's network as a file for other runtimes."),
    "exported": ("admlops.cli.exported:exported", "List and remove exported networks."),
    "frontier": ("admlops.cli.frontier:frontier", "Show what each way of running a model gives and costs."),
    "gate": ("admlops.cli.gate:gate", "Say whether a candidate may take a baseline's place."),
    "health": ("admlops.cli.health:health", "Check machine and installation: what is well, what is not."),
    "info": ("admlops.cli.info:info", "Describe this machine: what a bug report needs."),
    "models": ("admlops.cli.models:models", "List, show and validate models; begin a new one."),
    "plan": ("admlops.cli.plan:plan", "Estimate minutes, memory and money of runs."),
    "report": ("admlops.cli.report:report", "Write one self-contained page about runs."),
    "results": ("admlops.cli.results:results", "List, show, verify, compare, tabulate, export, tag and remove runs."),
    "robustness": ("admlops.cli.robustness:robustness", "Run models under faults of their sensors."),
    "run": ("admlops.cli.run:run", "Run a model over scenes."),
    "serve": ("admlops.cli.serve:serve", "Serve the job API and the dashboard over HTTP."),
    "sources": ("admlops.cli.sources:sources", "List, fetch and verify the models' sources."),
    "streaming": ("admlops.cli.streaming:streaming", "Show what a stream's outputs are worth under other latencies."),
    "track": ("admlops.cli.track:track", "Export evaluated runs to MLflow, Weights & Biases or TensorBoard."),
    "train": ("admlops.cli.train:train", "Train a network by its authors' program."),
    "verify": ("admlops.cli.verify:verify", "Hold an exported network against PyTorch, step by step."),
}
"""name: (module:attribute, the line that `admlops --help` shows)"""


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: admlops run GroundPlane --data DIR --split mini_val",
)
@click.version_option(__version__, "-V", "--version", prog_name="admlops")
@click.option(
    "--log-level",
    metavar="debug|info|warning|error",
    help="What the host and the workers log. [env: LOG_LEVEL; default: warning]",
)
def cli(log_level: str | None) -> None:
    """Run and compare driving-perception models, each in an environment of its own.

    -q, -v, --color and --no-progress may also stand after a command.
    """
    import logging

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if yields_to_variable(click.get_current_context(), "log_level"):
        log_level = None
    set_log_level(_choose_level(log_level))


add_shared_options(cli, hidden=False)


def _choose_level(option: str | None) -> str:
    """Return the level that the option or LOG_LEVEL means. A pod's image may set that for other software."""
    from admlops.cli.quantities import LEVELS, read_level

    if option is not None:
        level = read_level(option)
        if level is None:
            raise click.BadParameter(f"{option!r} is not one of {', '.join(LEVELS)}", param_hint="--log-level")
        return level
    named = os.environ.get("LOG_LEVEL") or "warning"
    level = read_level(named)
    if level is None:
        click.echo(f"admlops: LOG_LEVEL={named} is not one of {', '.join(LEVELS)}: warning is taken", err=True)
    return level or "warning"


def main() -> NoReturn:
    """The entry point: errors a person can mend are two lines and an exit code, never a traceback."""
    # pydantic would search every installed package for plugins of its own: a third of a quick command's time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _ensure_home()
    prepare_streams()
    sys.exit(_run())


def _run() -> int:
    """Run the command line and say what went wrong; returns the exit code."""
    try:
        _answer_signals()
        cli.main(standalone_mode=False, obj=PROCESS, default_map=_read_configuration())
        sys.stdout.flush()
    except AdmlopsError as error:
        return _complain(error.message, error.hint, error.exit_code)
    except click.ClickException as error:
        return _complain_of_usage(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("admlops: stopped", err=True)
        return 130
    except ReaderGoneError:
        discard_output()
        return 141
    except OSError as error:
        # A user's path may be forbidden, too long, or a file where a folder is due, and any of our many looks at it
        # can be the first to find that. An error that names no file is a defect of ours.
        if error.filename is None:
            raise
        return _complain_of_path(error)
    return 0


def _answer_signals() -> None:
    """Let Ctrl-C and TERM interrupt the command as an exception does, so that it ends in words and leaves nothing."""
    import signal

    process = os.getpid()

    def interrupt(number: int, _frame: object) -> None:
        if os.getpid() != process:  # a child that was forked and ran no other program
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, interrupt)


def _read_configuration() -> dict[str, Any] | None:
    """Return the files' settings; none for help and completion, which a mistake in a file must not stop."""
    if "_ADMLOPS_COMPLETE" in os.environ or {"--help", "-h"}.intersection(sys.argv):
        return None
    if not find_files():
        return None
    from admlops.cli.configuration import bind_root, read_default_map

    settings = read_default_map(COMMANDS)
    return None if settings is None else bind_root(settings, cli)


def _complain_of_path(error: OSError) -> int:
    import logging
    import shlex

    logging.getLogger(__name__).debug("where it happened", exc_info=True)
    path = os.fsdecode(error.filename)
    return _complain(f"{path} cannot be used: {error.strerror}", f"ls -ld {shlex.quote(path)}", 2)


def _complain(message: str, hint: str, exit_code: int) -> int:
    """Say it on standard error; with --json also as an object on standard output, unless one is there."""
    import json

    from admlops.cli.hints import name_model, name_variable

    hint = name_model(hint, sys.argv[1:])
    message = name_variable(message, sys.argv[1:], os.environ)
    name = click.style("admlops:", fg="red", bold=True) if uses_color(sys.stderr) else "admlops:"
    click.echo(f"{name} {message}\n  → {hint}", err=True, color=uses_color(sys.stderr))
    try:
        sys.stdout.flush()
        if asks_for_json(sys.argv) and nothing_is_printed():
            click.echo(json.dumps({"error": message, "hint": hint, "exit_code": exit_code}, indent=2))
        sys.stdout.flush()
    except (AdmlopsError, ReaderGoneError):
        discard_output()  # it is standard output that cannot be written: said above, if anybody listens
    return exit_code


def _complain_of_usage(error: click.ClickException) -> int:
    error = _with_variable(error)
    if asks_for_json(sys.argv):
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "admlops"
        return _complain(error.format_message(), f"{command} --help", error.exit_code)
    error.show()
    if getattr(error, "ctx", None) is None:  # click says where help is only where it knows the command
        click.echo(f"  → {_named_command()} --help", err=True)
    return error.exit_code


def _with_variable(error: click.ClickException) -> click.ClickException:
    """The same error, naming the environment variable if the value that was refused comes from one."""
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None or not error.param.name:
        return error
    if error.ctx.get_parameter_source(error.param.name) is not click.core.ParameterSource.ENVIRONMENT:
        return error
    said = f"{error.message} (the variable {error.param.envvar})"
    return click.BadParameter(said, ctx=error.ctx, param=error.param, param_hint=error.param_hint)


def _named_command() -> str:
    """The command that was typed, as far as its words are names of commands."""
    words = ["admlops"]
    command: click.Command | None = cli
    for word in sys.argv[1:]:
        command = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        if command is None:
            break
        words.append(word)
    return " ".join(words)


def _ensure_home() -> None:
    """Give programs a home if there is none: HOME is not set, and no list of users has the user id."""
    if os.environ.get("HOME"):
        return  # without pathlib, which takes a tenth of the time of --help
    from pathlib import Path

    try:
        Path.home()
    except RuntimeError:
        import tempfile

        os.environ["HOME"] = tempfile.gettempdir()
