"""`admlops results index --database`: the runs and comparisons as tables of a database."""

from __future__ import annotations

import json
from pathlib import Path

import click

from admlops.cli.conventions import say
from admlops.cli.database_address import check_database
from admlops.core.counting import count_of


def fill_database(url: str, *, dry_run: bool, as_json: bool) -> None:
    """Fill the result tables of a database anew.

    Raises:
        UsageError, StorageError, MissingExtraError: the database cannot be opened.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout
    from admlops.core.types import Planned
    from admlops.results.runs import list_runs
    from admlops.service.queue.database import open_database, spell_address
    from admlops.service.result_tables import fill_tables

    check_database(url)
    layout = find_layout()
    if dry_run:
        count = len(list_runs(layout)[0])
        show_plan([Planned(action="write", target=spell_address(url), detail=count_of(count, "run"))], as_json=as_json)
        return
    opened = open_database(url)
    try:
        filled = fill_tables(opened, layout, anew=True)
    finally:
        opened.close()
    if as_json:
        counts = {"database": opened.address, "runs": filled.runs, "comparisons": filled.comparisons}
        skipped = [{"folder": folder, "reason": reason} for folder, reason in filled.unreadable]
        click.echo(json.dumps({**counts, "skipped": skipped}, indent=2))
        return
    click.echo(f"{count_of(filled.runs, 'run')}, {count_of(filled.comparisons, 'comparison')} → {opened.address}")
    for folder, reason in filled.unreadable:
        say(f"skipped {Path(folder).name}: {reason}")
