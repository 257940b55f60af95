"""The `admlops` command. Groups and commands are loaded when they are used, so that `admlops --help` is quick."""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import click

from admlops import __version__
from admlops.cli.lazy import LazyGroup
from admlops.core.errors import AdmlopsError

COMMANDS = {
    "checkpoints": ("admlops.cli.checkpoints:checkpoints", "Published weights: list, fetch, verify and add them."),
    "compare": ("admlops.cli.compare:compare", "Run what is missing, evaluate, and put models side by side."),
    "data": ("admlops.cli.data:data", "Data sets: make synthetic ones, check and index any."),
    "doctor": ("admlops.cli.doctor:doctor", "What a failed build or run means, and what mends it."),
    "env": ("admlops.cli.env:env", "Environments: lock, install, verify, run in, pack."),
    "evaluate": ("admlops.cli.evaluate:evaluate", "Official metrics of a run."),
    "models": ("admlops.cli.models:models", "The catalogue: list, show and validate models."),
    "report": ("admlops.cli.report:report", "One self-contained page about a run or several."),
    "results": ("admlops.cli.results:results", "Runs: list, show, verify, compare, export and index."),
    "run": ("admlops.cli.run:run", "Run a model over scenes."),
    "sources": ("admlops.cli.sources:sources", "The models' sources: list, fetch and verify them."),
}
"""name: (module:attribute, the line that `admlops --help` shows)"""


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: admlops run GroundPlane --data DIR --split mini_val",
)
@click.version_option(__version__, prog_name="admlops")
@click.option(
    "--log-level",
    metavar="debug|info|warning|error",
    help="What the host and the workers log. [env: LOG_LEVEL; default: warning]",
)
def cli(log_level: str | None) -> None:
    """Run and compare driving-perception models, each in an environment of its own."""
    import logging

    log_level = _choose_level(log_level)
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.environ["LOG_LEVEL"] = log_level.upper()  # workers inherit it


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
    no_output = _open_missing_streams()
    code = _finish(_run_command())
    if no_output:
        click.echo("admlops: standard output is closed: what was to be printed is lost", err=True)
    sys.exit(code)


def _run_command() -> int:
    """Run the command line and return the exit code."""
    try:
        cli.main(standalone_mode=False)
    except AdmlopsError as error:
        click.echo(f"admlops: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("admlops: stopped", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output went away, as in `admlops results list | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        return _explain(error)
    return 0


def _explain(error: OSError) -> int:
    """Say which file the system refused. One without a name is output that cannot be written, or a defect of ours."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        file = Path(os.fsdecode(error.filename))
        click.echo(f"admlops: {file}: {reason}\n  → ls -ld {file.parent}   # who may read it", err=True)
        return 2
    if error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
        return _lose_output(reason)
    raise error


def _finish(code: int) -> int:
    """Write what is buffered; a full disk shows here."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        return _lose_output(error.strerror or str(error))
    return code


def _lose_output(reason: str) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try once more when it ends
    click.echo(f"admlops: standard output could not be written: {reason}\n  → df -h   # or send it elsewhere", err=True)
    return 2


def _open_missing_streams() -> bool:
    """Replace closed streams (`2>&-`, cron) by nothing, so that no file of ours takes their place; True for stdout."""
    missing = sys.stdout is None
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an encoding such as latin-1 has no arrow
    return missing


def _ensure_home() -> None:
    """Give programs a home where there is none: no HOME, and a user id that no list of users has."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.gettempdir()
