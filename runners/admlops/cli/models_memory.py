"""`admlops models memory`: what a worker of each model takes, as it was measured here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from admlops.cli.completion import complete_models
from admlops.cli.conventions import note, with_format

if TYPE_CHECKING:
    from admlops.pipeline.memory_table import MemoryRow

COLUMNS = ("model", "variant", "device", "how", "GPU MB", "memory MB", "cores", "samples")


@click.command(short_help="Show what workers take, as measured here.")
@click.argument("names", nargs=-1, metavar="[MODEL]...", shell_complete=complete_models)
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def memory(names: tuple[str, ...], as_json: bool) -> None:
    """Show what one worker of each model takes: of the GPU's memory, of the machine's, and how many cores.

    Every run that has its device to itself measures it on its first scene. admlops compare --together and admlops plan
    go by it. MB are 10⁶ bytes.

    \b
    Example:
      admlops models memory MapTR
    """
    from admlops.catalog import load_model
    from admlops.cli.tables import print_table
    from admlops.core.paths import find_layout
    from admlops.pipeline.memory_table import MemoryTable

    layout = find_layout()
    wanted = {load_model(layout, name).name for name in names}
    table = MemoryTable.of(layout)
    rows = [row for row in table.rows() if not wanted or row.key.model in wanted]
    if as_json:
        import msgspec

        shown = [{**msgspec.to_builtins(row), "gpu_mb": row.gpu_mb} for row in rows]
        click.echo(json.dumps({"file": str(table.path), "rows": shown}, indent=2))
        return
    print_table(COLUMNS, [_cells(row) for row in rows])
    lacking = sorted(wanted - {row.key.model for row in rows})
    if lacking or not rows:
        note(f"never measured here: {', '.join(lacking) or 'any model'}; a run measures it")


def _cells(row: MemoryRow) -> tuple[str, ...]:
    key = row.key
    how = [key.engine, key.precision, "" if key.batch == "1" else f"batches of {key.batch}", key.options]
    how += [] if key.prefetch == "0" else [f"{key.prefetch} read ahead"]
    return (
        key.model,
        key.variant,
        key.device,
        ", ".join(part for part in how if part),
        "" if row.gpu_mb is None else f"{row.gpu_mb:.0f}",
        f"{row.host_mb:.0f}",
        "" if row.cores is None else f"{row.cores:.2f}",
        str(row.samples),
    )
