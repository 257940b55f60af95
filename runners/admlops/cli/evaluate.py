"""`admlops evaluate`: official metrics of a run."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(epilog="Example: admlops evaluate GroundPlane-20260101-120000-0a1b2c")
@click.argument("run")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Where the data set is, if it moved.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(run: str, data: Path | None, as_json: bool) -> None:
    """Compute the official metrics of RUN (a name or a folder) and keep them beside its records."""
    from admlops.cli.tables import print_table
    from admlops.datasets.nuscenes import NuScenes
    from admlops.evaluation.evaluate import evaluate_run
    from admlops.paths import find_layout
    from admlops.results.runs import find_run

    layout = find_layout()
    folder = find_run(layout, run)
    header = folder.header
    nuscenes = NuScenes(data or Path(header.data.root), header.data.version)
    with folder.lock():
        metrics = evaluate_run(folder, nuscenes, layout=layout, say=lambda line: click.echo(line, err=True))
        folder.write_manifest()
    if as_json:
        click.echo(json.dumps({key: metrics[key] for key in ("run", "model", "samples", "failed_samples", "metrics")}))
        return
    rows = [
        (entry["name"], "-" if entry["value"] is None else f"{entry['value']:.4f}", str(entry["n"]), entry["protocol"])
        for entry in metrics["metrics"]
    ]
    print_table(("metric", "value", "samples", "protocol"), rows)
    click.echo(f"written to {folder.metrics_path}")
