"""`admlops results push` and `pull`: runs handed over through a folder or an object store."""

from __future__ import annotations

import json

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option

STORE_VARIABLE = "ADMLOPS_RUN_STORE"


@click.command(
    short_help="Put runs into a folder or an S3 store.",
    epilog="Example: admlops results push MapTR-shard-2 --to s3://bucket/pod-2",
)
@click.argument("names", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
@click.option(
    "--to",
    "target",
    envvar=STORE_VARIABLE,
    required=True,
    help="A folder, or s3://bucket/path. [env: ADMLOPS_RUN_STORE]",
)
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def push(names: tuple[str, ...], target: str, dry_run: bool, as_json: bool) -> None:
    """Put RUN..., which have ended, into a folder or an S3-compatible store, for `results pull` on another machine.

    The manifest is sent last, so a run that is half there is not taken for one. An S3 store is configured by
    AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    """
    from admlops.core.object_store import shown
    from admlops.core.paths import find_layout
    from admlops.results.removing import measure_bytes
    from admlops.results.run_store import push_run
    from admlops.results.runs import find_run

    layout = find_layout()
    rows = []
    for run in [find_run(layout, name) for name in names]:
        size_bytes = measure_bytes(run)
        sent = 0 if dry_run else push_run(run, target)
        rows.append({"run": run.header.run, "to": shown(target), "size_bytes": size_bytes, "sent_bytes": sent})
        if not as_json:
            verb = (
                f"would be put into {shown(target)}" if dry_run else f"is in {shown(target)}, {sent / 1e6:.1f} MB sent"
            )
            click.echo(f"{run.header.run}, {size_bytes / 1e6:.1f} MB, {verb}")
    if as_json:
        click.echo(json.dumps(rows, indent=2))


@click.command(
    short_help="Bring a run from a folder or an S3 store.",
    epilog="Example: admlops results pull MapTR-shard-2 --from s3://bucket/pod-2",
)
@click.argument("name", metavar="RUN")
@click.option(
    "--from",
    "target",
    envvar=STORE_VARIABLE,
    required=True,
    help="A folder, or s3://bucket/path. [env: ADMLOPS_RUN_STORE]",
)
@click.option("--as", "local", metavar="NAME", help="The name of its folder here. [default: RUN]")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pull(name: str, target: str, local: str | None, dry_run: bool, as_json: bool) -> None:
    """Bring RUN, which `results push` put there, into this repository folder; every file is checked against its hash.

    An interrupted pull goes on where it was.
    """
    from admlops.core.errors import UsageError
    from admlops.core.object_store import shown
    from admlops.core.paths import find_layout
    from admlops.pipeline.run_request import RUN_NAME
    from admlops.results.run_store import pull_run

    for option, given in (("RUN", name), ("--as", local)):
        if given is not None and not RUN_NAME.fullmatch(given):
            raise UsageError(
                f"{option} {given!r} is no name of a run", hint="admlops results pull MapTR-val --from DIR"
            )
    folder = find_layout().runs / (local or name)
    if not dry_run:
        pull_run(name, target, folder)
    if as_json:
        click.echo(json.dumps({"run": name, "from": shown(target), "path": str(folder), "dry_run": dry_run}, indent=2))
    else:
        click.echo(f"{name} {'would be' if dry_run else 'is'} in {folder}")
