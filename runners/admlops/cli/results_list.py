"""`admlops results list`: the runs on disk, chosen and ordered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_models, complete_tags
from admlops.cli.conventions import note, say, with_format

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from admlops.results.run_folder import RunFolder
    from admlops.results.runs import SkippedRun

NO_RUNS = "no runs yet; make one with: admlops run GroundPlane --data DIR"
STATES = ("complete", "running", "stopped", "failed", "cancelled")
SORT_KEYS = {
    "created": "created",
    "run": "run",
    "model": "model",
    "state": "state",
    "samples": "samples",
    "failed": "failed_samples",
}


@click.command("list", short_help="List all runs.")
@click.option("--model", "models", multiple=True, shell_complete=complete_models, help="Runs of this model.")
@click.option("--data", "data_words", multiple=True, metavar="TEXT", help="Runs on data with this in version or root.")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Runs in this state.")
@click.option("--tag", "tags", multiple=True, shell_complete=complete_tags, help="Runs with this tag.")
@click.option(
    "--sort",
    type=click.Choice(SORT_KEYS),
    default="created",
    show_default=True,
    help="By what the rows are ordered; ties by name.",
)
@click.option("--reverse", is_flag=True, help="Turn the order round.")
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_(sort: str, reverse: bool, as_json: bool, **filters: Any) -> None:
    """List every run, oldest first, from the runs' own files.

    The options choose among them. A repeated option matches any of its values; different options must all match.

    \b
    Example:
      admlops results list --model MapTR --state complete --sort failed --reverse
    """
    from admlops.cli.tables import print_table
    from admlops.core.paths import find_layout
    from admlops.results.runs import list_runs

    found, skipped = list_runs(find_layout())
    rows = [row for run in found if _is_wanted(run, filters) for row in [summarise(run)]]
    rows = [row for row in rows if not filters["states"] or row["state"] in filters["states"]]
    rows.sort(key=lambda row: (row[SORT_KEYS[sort]], row["run"]), reverse=reverse)
    if as_json:
        click.echo(json.dumps({"runs": rows, "skipped": unread(skipped)}, indent=2))
        return
    if rows:
        tagged = any(row["tags"] for row in rows)
        columns = ("run", "model", "variant", "state", "samples", "failed", "data", "evaluated", "created")
        cells = [(*_row(row), ", ".join(row["tags"])) if tagged else _row(row) for row in rows]
        print_table((*columns, "tags") if tagged else columns, cells)
    else:
        note(f"none of {len(found)} runs is so" if found else NO_RUNS)
    for one in skipped:
        say(f"skipped {one.folder.name}: {one.reason}")


def _is_wanted(run: RunFolder, filters: Mapping[str, tuple[str, ...]]) -> bool:
    """Tell whether a run is one of those that the options name; each option's values are alternatives."""
    from admlops.results.tags import read_tags

    header = run.header
    where = f"{header.data.version} {header.data.root}{' synthetic' if header.data.synthetic else ''}"
    return (
        (not filters["models"] or header.model in filters["models"])
        and (not filters["data_words"] or any(word in where for word in filters["data_words"]))
        and (not filters["tags"] or not set(filters["tags"]).isdisjoint(read_tags(run)))
    )


def unread(skipped: Iterable[SkippedRun]) -> list[dict[str, str]]:
    """Return what `--json` says of folders that are no readable runs."""
    return [{"folder": str(one.folder), "reason": one.reason} for one in skipped]


def summarise(run: RunFolder) -> dict[str, Any]:
    """Return what `results list` and `results show` say of a run in one line."""
    from admlops.results.runs import count_failed, count_samples
    from admlops.results.tags import read_tags

    done, total = count_samples(run)
    header = run.header
    return {
        "run": run.path.name,
        "model": header.model,
        "variant": header.variant,
        "random_weights": header.random_weights,
        "engine": header.execution or None,
        "unverified_engine": header.unverified_engine,
        "state": run.observe_state(),
        "complete_samples": done,
        "failed_samples": count_failed(run),
        "samples": total,
        "data": f"{header.data.version}{' synthetic' if header.data.synthetic else ''}",
        "tags": read_tags(run),
        "evaluated": run.metrics_path.exists(),
        "created": header.created,
        "folder": str(run.path),
    }


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    from admlops.results.labels import spell_label

    samples = f"{one['complete_samples']}/{one['samples']}"
    evaluated = "yes" if one["evaluated"] else "no"
    weights, unverified = one["random_weights"], one["unverified_engine"]
    model = spell_label(one["model"], engine=one["engine"], weights=weights, unverified=unverified)
    failed = str(one["failed_samples"])
    return one["run"], model, one["variant"], one["state"], samples, failed, one["data"], evaluated, one["created"]
