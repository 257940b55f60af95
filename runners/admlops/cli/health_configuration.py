"""The health check of configuration files and variables. It needs the tree of commands, whose options they set."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import click

from admlops.cli.config_files import find_files
from admlops.cli.quantities import LEVELS, read_level
from admlops.core.errors import AdmlopsError
from admlops.core.processes import driver_folders
from admlops.health.devices import VISIBLE, visible_devices
from admlops.health.machine import Gpus
from admlops.pipeline.health.check import Finding, HealthCheck, Place

KNOWN = frozenset(
    {
        *("ADMLOPS_PATH", "ADMLOPS_REP_PATH", "ADMLOPS_ENVIRONMENTS", "ADMLOPS_CACHE", "ADMLOPS_WORKER"),
        *(
            "ADMLOPS_ENDPOINT",
            "ADMLOPS_COMMAND",
            "ADMLOPS_DATA_ROOT",
            "ADMLOPS_STREAM",
            "ADMLOPS_PUBLIC_ADDRESSES_ONLY",
        ),
        *("ADMLOPS_DOWNLOAD_MIRROR", "ADMLOPS_CONDA_MIRROR", "ADMLOPS_PACK_STORE", "ADMLOPS_RUN_STORE"),
        "ADMLOPS_PUBLIC_ADDRESSES_ONLY",
        *("ADMLOPS_CLUSTER", "ADMLOPS_NODE", "ADMLOPS_ACTOR"),
    }
)
PREFIX = "ADMLOPS_"


def _look(place: Place) -> Iterator[Finding]:
    yield from _files()
    yield from _misspelled(place.variables)
    yield from _levels(place.variables)
    yield from _visible(place)
    yield from _libraries(place.variables)


def _files() -> Iterator[Finding]:
    from admlops.cli.config import check_files

    files = find_files()
    problem, advice = "", ""
    try:
        check_files()
    except AdmlopsError as error:
        problem, advice = error.message, error.hint
    yield Finding(
        measure="files",
        value=", ".join(files) or "none",
        status="fail" if problem else "pass",
        problem=problem,
        advice=advice,
    )


def _misspelled(variables: Mapping[str, str]) -> Iterator[Finding]:
    """Judge variables with our prefix that nothing reads."""
    known = KNOWN | set(_of_options())
    own = sorted(name for name in variables if name.startswith(PREFIX))
    yield Finding(measure="variables", value=len([name for name in own if name in known]), subject=f"{PREFIX}…")
    for name in own:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        yield Finding(
            measure="variable",
            value="unknown",
            subject=name,
            status="warn",
            problem=f"nothing reads {name}" + (f"; did you mean {near[0]}?" if near else ""),
            advice=f"unset {name}   # docs/variables.md lists all",
        )


def _of_options() -> Iterator[str]:
    """Yield the variables that options of any command read."""
    from admlops.cli.main import cli

    def walk(command: click.Command, context: click.Context) -> Iterator[str]:
        for one in command.params:
            names = one.envvar if isinstance(one.envvar, list | tuple) else [one.envvar]
            yield from (str(name) for name in names if name)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                if inner is not None:
                    yield from walk(inner, click.Context(inner, info_name=name, parent=context))

    return walk(cli, click.Context(cli))


def _levels(variables: Mapping[str, str]) -> Iterator[Finding]:
    level = variables.get("LOG_LEVEL")
    if level and read_level(level) is None:
        yield Finding(
            measure="variable",
            value=level,
            subject="LOG_LEVEL",
            status="warn",
            problem=f"it is not one of {', '.join(LEVELS)}: warning is taken",
            advice="export LOG_LEVEL=info   # or unset LOG_LEVEL",
        )


def _visible(place: Place) -> Iterator[Finding]:
    visible = place.variables.get(VISIBLE)
    if visible is None:
        return
    problem, advice = "", ""
    try:
        visible_devices({"gpus": Gpus(place.nvml).describe()}, visible)
    except AdmlopsError as error:
        problem, advice = error.message, error.hint
    yield Finding(
        measure="variable",
        value=visible,
        subject=VISIBLE,
        status="fail" if problem else "pass",
        problem=problem,
        advice=advice,
    )


def _libraries(variables: Mapping[str, str]) -> Iterator[Finding]:
    """Judge LD_LIBRARY_PATH. Workers get only the driver's folders of it; other programs get all."""
    path = variables.get("LD_LIBRARY_PATH", "")
    compat = [folder for folder in path.split(":") if "compat" in folder.split("/")]
    if not path:
        return
    yield Finding(
        measure="variable",
        value=driver_folders(path) or "dropped for workers",
        subject="LD_LIBRARY_PATH",
        status="warn" if compat else "pass",
        problem=f"{compat[0]} holds compatibility libraries, which fail on most cards" if compat else "",
        rule="cuda-compat-libraries",
    )


CHECK = HealthCheck(id="configuration", title="Configuration", look=_look)
