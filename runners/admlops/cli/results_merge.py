"""`admlops results merge`: the shards of a run, made on several machines, joined to one."""

from __future__ import annotations

import json

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option
from admlops.core.counting import count_of


@click.command(
    short_help="Join the shards of a run.",
    epilog="Example: admlops results merge /mnt/a/run-1 /mnt/b/run-2 --run MapTR-val",
)
@click.argument("shards", metavar="SHARD...", nargs=-1, required=True, shell_complete=complete_runs)
@click.option("--run", "name", required=True, metavar="NAME", help="The name of the merged run.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def merge(shards: tuple[str, ...], name: str, dry_run: bool, as_json: bool) -> None:
    """Join SHARD..., runs that `admlops run MODEL --shard I/N` made, to the run that one machine would have made.

    SHARD is a run's name or the path of its folder, copied from wherever it was made. They must be all the shards of
    one command, each once and complete, with the same model, weights, environment and data. The shards stay.
    """
    from admlops.core.errors import UsageError
    from admlops.core.paths import find_layout
    from admlops.pipeline.run_request import RUN_NAME
    from admlops.results.merging import check_shards, merge_shards, whole_header
    from admlops.results.runs import find_run

    if not RUN_NAME.fullmatch(name):
        raise UsageError(f"--run {name!r} is no name for a folder", hint="pass --run MapTR-val")
    layout = find_layout()
    ordered = check_shards([find_run(layout, one) for one in shards])
    target = layout.runs / name
    if target.exists():
        raise UsageError(f"{target} is there already", hint="choose another --run NAME")
    header = whole_header(ordered, name) if dry_run else merge_shards(ordered, target).header
    samples = sum(header.scenes.values())
    if as_json:
        facts = {"run": name, "path": str(target), "shards": len(ordered), "scenes": len(header.scenes)}
        click.echo(json.dumps({**facts, "samples": samples, "dry_run": dry_run}, indent=2))
        return
    verb = "would be" if dry_run else "is"
    click.echo(f"{name} {verb} {count_of(len(ordered), 'shard')}, {count_of(samples, 'sample')}: {header.coverage}")
    click.echo(f"next: admlops evaluate {name}")
