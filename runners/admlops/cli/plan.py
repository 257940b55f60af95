"""`admlops plan`: minutes, memory and money of runs before any of them is begun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_model_lists, complete_splits, complete_versions
from admlops.cli.options import DATA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from admlops.pipeline.cost_estimate import CostEstimate
    from admlops.pipeline.rented_gpus import RentedGpus

COLUMNS = ("model", "samples", "s/sample", "minutes", "GPU memory", "disk", "cost")


@click.command(
    short_help="Estimate minutes, memory and money of runs.",
    epilog="Example: admlops plan --models MapTR,PETR --data DIR --split val --gpus 2xA40",
)
@click.option(
    "--models",
    "names",
    multiple=True,
    required=True,
    metavar="A,B,…",
    shell_complete=complete_model_lists,
    help="Names of the catalogue (may be repeated).",
)
@click.option("--data", type=DATA, help="The data set's root.  [default: the one in data/ that the first model reads]")
@click.option("--version", shell_complete=complete_versions, help="The tables' folder. [default: the only one]")
@click.option("--split", shell_complete=complete_splits, help="The split.  [default: val; for v1.0-mini: mini_val]")
@click.option("--tokens", type=click.Path(path_type=Path), help="A file or folder of sample tokens.")
@click.option("--limit", type=int, metavar="N", help="The first N samples.")
@click.option("--gpus", metavar="2xA40", help="The GPUs to plan for.  [default: this machine's CPU]")
@click.option(
    "--price", type=click.FloatRange(min=0), metavar="USD", help="Of one GPU an hour; goes before the table's."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(
    names: tuple[str, ...],
    data: Path | None,
    version: str | None,
    split: str | None,
    tokens: Path | None,
    limit: int | None,
    gpus: str | None,
    price: float | None,
    as_json: bool,
) -> None:
    """Say how long runs of these models would take, whether they fit the GPU, and what they would cost.

    A speed is measured if a run of the model on such a GPU is here; else it is the authors' own. Each line says which.
    Models run one after the other, the scenes of each on all GPUs at once.
    """
    from admlops.catalog import load_model
    from admlops.cli.options import default_data
    from admlops.core.errors import UsageError
    from admlops.core.paths import find_layout
    from admlops.datasets.base import default_split, open_data
    from admlops.pipeline.cost_estimate import estimate_cost
    from admlops.pipeline.rented_gpus import parse_gpus
    from admlops.pipeline.selection import Selection, select

    layout = find_layout()
    if price is not None and gpus is None:
        raise UsageError("--price is of a GPU, and none is named", hint="add --gpus 2xA40")
    rented = None if gpus is None else parse_gpus(gpus, usd_per_hour=price)
    models = [load_model(layout, name) for listed in names for name in dict.fromkeys(listed.split(","))]
    root = data or default_data(layout, models[0].reads)
    selection = Selection(
        split=split or default_split(root, version, wanted=models[0].reads), tokens=tokens, limit=limit
    )
    opened = open_data(root, version, wanted=models[0].reads)
    scenes = [len(scene.samples) for scene in select(opened, selection)]
    estimates = [estimate_cost(layout, model, scenes, rented) for model in models]
    if as_json:
        click.echo(json.dumps(_to_json(estimates, rented), indent=2))
    else:
        _print(estimates, rented)


def _to_json(estimates: Sequence[CostEstimate], rented: RentedGpus | None) -> dict[str, Any]:
    known = [one for one in estimates if one.minutes is not None]
    costs = [one.cost_usd for one in known if one.cost_usd is not None]
    return {
        "gpus": None if rented is None else {"count": rented.count, "name": rented.name},
        "usd_per_gpu_hour": None if rented is None else rented.usd_per_hour,
        "price_read": None if rented is None else rented.read,
        "models": [one.to_json() for one in estimates],
        "minutes": sum(one.minutes or 0 for one in known),
        "cost_usd": sum(costs) if costs else None,
        "complete": len(known) == len(estimates),
    }


def _print(estimates: Sequence[CostEstimate], rented: RentedGpus | None) -> None:
    from admlops.cli.tables import print_table
    from admlops.pipeline.expected_time import spell_time

    rows = [_row(one, rented) for one in estimates]
    print_table(COLUMNS, rows)
    for one in estimates:
        click.echo(f"{one.model}: {one.source}")
    facts = _to_json(estimates, rented)
    unknown = [one.model for one in estimates if one.minutes is None]
    rest = f", without {', '.join(unknown)}" if unknown else ""
    cost = facts["cost_usd"]
    money = "" if cost is None else f", {cost:.2f} USD"
    where = "this machine's CPU" if rented is None else str(rented)
    click.echo(f"in all: {spell_time(60 * facts['minutes'])} on {where}{money}{rest}; setting up is not counted")
    if rented is not None and rented.usd_per_hour is None:
        click.echo(f"the price of {rented.name} is not known here: add --price USD")
    elif rented is not None and rented.read is not None:
        click.echo(f"price: {rented.usd_per_hour:.2f} USD an hour for one {rented.name}, read on {rented.read}")


def _row(one: CostEstimate, rented: RentedGpus | None) -> list[str]:
    memory = "–" if one.gpu_memory_mb is None else f"{one.gpu_memory_mb / 1000:.1f} GB"
    if one.fits is not None and rented is not None and rented.memory_mb is not None:
        memory += f" of {rented.memory_mb / 1000:.0f}" if one.fits else f", more than {rented.memory_mb / 1000:.0f}"
    return [
        one.model,
        str(one.samples),
        "–" if one.seconds_a_sample is None else f"{one.seconds_a_sample:.3f}",
        "–" if one.minutes is None else f"{one.minutes:.1f}",
        memory,
        "–" if one.disk_mb is None else f"{one.disk_mb:.0f} MB",
        "–" if one.cost_usd is None else f"{one.cost_usd:.2f} USD",
    ]
