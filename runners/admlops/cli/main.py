"""The `admlops` command. Groups and commands are loaded when they are used, so that `admlops --help` is quick."""

from __future__ import annotations

import os
import sys
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


LOG_LEVELS = ("debug", "info", "warning", "error")


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: admlops run GroundPlane --data DIR --split mini_val",
)
@click.version_option(__version__, prog_name="admlops")
@click.option(
    "--log-level",
    envvar="LOG_LEVEL",
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    default="warning",
    help="What the host and the workers log. [env: LOG_LEVEL; default: warning]",
)
def cli(log_level: str) -> None:
    """Run and compare driving-perception models, each in an environment of its own."""
    import logging

    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.environ["LOG_LEVEL"] = log_level.upper()  # workers inherit it


def main() -> NoReturn:
    """The entry point: errors a person can mend are two lines and an exit code, never a traceback."""
    # pydantic would search every installed package for plugins of its own: a third of a quick command's time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        cli.main(standalone_mode=False)
    except AdmlopsError as error:
        click.echo(f"admlops: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("admlops: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away, as in `admlops results list | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    sys.exit(0)
