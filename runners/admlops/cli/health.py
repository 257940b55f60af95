"""`admlops health`: what is well on this machine and in this installation, and what is not."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_health_checks

if TYPE_CHECKING:
    from admlops.pipeline.health.check import Finding
    from admlops.pipeline.health.report import CheckReport, HealthReport

FAILED = 1
"""The exit code where something fails; warnings alone end with 0."""
COLORS = {"pass": "green", "warn": "yellow", "fail": "red"}
WIDTH, LABEL = 80, 27


@click.command(
    epilog="Exit code: 0 where everything passes or warns, 1 where something fails. "
    "Example: admlops health gpu disk --json"
)
@click.argument("names", metavar="[CHECK]...", nargs=-1, shell_complete=complete_health_checks)
@click.option("--brief", is_flag=True, help="Show only what warns or fails.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, in the form of application/health+json.")
def health(names: tuple[str, ...], brief: bool, as_json: bool) -> None:
    """Check this machine and installation, and say what mends what is not well.

    CHECK is one of system, memory, disk, gpu, files, dependencies, configuration, connectivity, queue, remote; all
    without an argument. Nothing is changed. A machine without network is off-line, which is a state and no fault.
    """
    from admlops import __version__
    from admlops.core.paths import find_layout
    from admlops.pipeline.health.check import Place
    from admlops.pipeline.health.report import look
    from admlops.sources.provenance import describe_commit

    layout = find_layout()
    report = look(Place(layout=layout), names, release=describe_commit(layout) or __version__)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        _print(report, brief=brief)
    if report.status == "fail":
        sys.exit(FAILED)


def _print(report: HealthReport, *, brief: bool) -> None:
    for one in report.checks:
        shown = [finding for finding in one.findings if not brief or finding.status != "pass"]
        if shown:
            click.echo(click.style(one.check.title, bold=True))
        said: str | None = None
        for finding in shown:
            _print_finding(finding, said=said)
            said = finding.advice
    click.echo(_summary(report))


def _print_finding(finding: Finding, *, said: str | None) -> None:
    """Print one line, and below it what is wrong and what mends it; 80 columns wide where words allow.

    `said` is the advice that stands above already.
    """
    mark = click.style(finding.status, fg=COLORS[finding.status])
    about = f"{finding.subject}: " if finding.subject else ""
    text = f"{finding.measure:<{LABEL}} {about}{_spell(finding.value, finding.unit)}"
    first, *rest = _wrap(text, indent=LABEL + 1)
    click.echo(f"  {mark}  {first}")
    for line in rest:
        click.echo(f"        {line}")
    if finding.status == "pass":
        return
    for line in _wrap(finding.problem):
        click.echo(f"        {line}")
    if finding.advice and finding.advice != said:
        first, *rest = _wrap(finding.advice)
        click.echo(f"        → {first}")
        for line in rest:
            click.echo(f"          {line}")


def _wrap(text: str, *, indent: int = 0) -> list[str]:
    """Fold a text to what is left of the width; words and paths stay whole."""
    return textwrap.wrap(
        text,
        WIDTH - 10,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    ) or [""]


def _spell(value: Any, unit: str) -> str:
    if value is None:
        return "no answer" if unit else "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit == "MB" and value >= 1000:
        return f"{value / 1e3:.1f} GB"
    return f"{value} {unit}".strip()


def _summary(report: HealthReport) -> str:
    """Summarise the report in one line, with the checks that are not well."""
    count = {status: sum(_count(one, status) for one in report.checks) for status in ("warn", "fail")}
    if not any(count.values()):
        return click.style("all is well", fg="green")
    words = [
        f"{number} {noun}{'' if number == 1 else 's'}"
        for number, noun in ((count["fail"], "failure"), (count["warn"], "warning"))
        if number
    ]
    where = ", ".join(one.check.id for one in report.checks if one.status != "pass")
    return click.style(f"{' and '.join(words)}: {where}", fg=COLORS[report.status])


def _count(one: CheckReport, status: str) -> int:
    return sum(finding.status == status for finding in one.findings)
