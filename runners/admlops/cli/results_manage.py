"""`admlops results remove` and `tag`: what a person does with the runs that are there."""

from __future__ import annotations

import json
import sys

import click

from admlops.cli.completion import complete_runs, complete_tags
from admlops.cli.conventions import dry_run_option


@click.command(
    short_help="Remove runs; asks first.",
    epilog="Example: admlops results remove GroundPlane-20260102-030405-a1b2c3 --dry-run",
)
@click.argument("names", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
@click.option("--yes", is_flag=True, help="Do not ask.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def remove(names: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove RUN...: records, metrics, logs, report. A run that goes on is not removed; comparisons and data stay.

    Without a terminal, --yes must be given.
    """
    from admlops.core.errors import UsageError
    from admlops.core.paths import find_layout
    from admlops.results.removing import check_removable, measure_bytes, remove_run
    from admlops.results.runs import find_run

    layout = find_layout()
    chosen = {run.path.resolve(): run for run in (find_run(layout, name) for name in names)}
    for run in chosen.values():
        check_removable(run)
    sizes = {path: measure_bytes(run) for path, run in chosen.items()}
    if not dry_run and not yes:
        listed = ", ".join(run.path.name for run in chosen.values())
        if not sys.stdin.isatty():
            raise UsageError(f"{listed}: nobody is here to ask", hint=f"admlops results remove {' '.join(names)} --yes")
        click.confirm(f"remove {listed}, {sum(sizes.values()) / 1e6:.1f} MB?", abort=True, err=True)
    rows = []
    for path, run in chosen.items():
        if not dry_run:
            remove_run(run)
        rows.append({"run": run.path.name, "path": str(run.path), "size_bytes": sizes[path], "removed": not dry_run})
        if not as_json:
            verb = "would remove" if dry_run else "removed"
            click.echo(f"{verb} {run.path.name}, {sizes[path] / 1e6:.1f} MB")
    if as_json:
        click.echo(json.dumps(rows, indent=2))


@click.command(
    short_help="Give a run tags, to find it by.",
    epilog="Example: admlops results tag GroundPlane-20260102-030405-a1b2c3 paper --remove draft",
)
@click.argument("name", metavar="RUN", shell_complete=complete_runs)
@click.argument("tags", metavar="[TAG]...", nargs=-1, shell_complete=complete_tags)
@click.option("--remove", "removed", multiple=True, metavar="TAG", help="Take this tag away (may be repeated).")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tag(name: str, tags: tuple[str, ...], removed: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Give RUN tags, by which `results list --tag` finds it; without TAG, show those that it has.

    Tags are no part of the run: its manifest, digests and metrics stay as they are.
    """
    from admlops.core.paths import find_layout
    from admlops.results.runs import find_run
    from admlops.results.tags import check_tag, read_tags, write_tags

    run = find_run(find_layout(), name)
    for one in (*tags, *removed):
        check_tag(one)
    before = read_tags(run)
    after = [one for one in dict.fromkeys((*before, *tags)) if one not in removed]
    if list(before) != after and not dry_run:
        with run.lock():
            write_tags(run, after)
    if as_json:
        click.echo(json.dumps({"run": run.path.name, "tags": after, "before": before, "dry_run": dry_run}, indent=2))
    else:
        shown = f"tagged {', '.join(after)}" if after else "without tags"
        click.echo(f"{run.path.name} {'would be' if dry_run else 'is'} {shown}")
