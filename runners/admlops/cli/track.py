"""`admlops track`: evaluated runs exported to a tracker."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option, say
from admlops.cli.out_paths import OUT_FOLDER

if TYPE_CHECKING:
    from admlops.core.types import Planned
    from admlops.tracking.exported import ExportedRun
    from admlops.tracking.trackers import Destination


@click.command(epilog="Example: admlops track first --to mlflow --server http://127.0.0.1:5000")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
@click.option("--to", "tracker", required=True, metavar="mlflow|wandb|tensorboard", help="The tracker.")
@click.option("--server", help="MLflow's tracking server, without credentials. [env: MLFLOW_TRACKING_URI]")
@click.option("--project", help="MLflow's experiment, W&B's project.  [default: made from data set and split]")
@click.option(
    "--dir", "folder", type=OUT_FOLDER,
    help="Where TensorBoard and W&B write.  [default: tracking/ beside the runs]",
)  # fmt: skip
@click.option("--online", is_flag=True, help="Send to W&B at once, by WANDB_API_KEY, instead of writing a folder.")
@click.option("--records", is_flag=True, help="Upload the records as well.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def track(
    runs: tuple[str, ...],
    tracker: str,
    server: str | None,
    project: str | None,
    folder: Path | None,
    online: bool,
    records: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Export evaluated runs to a tracker; the run's own files stay the truth.

    Tracking a run again updates it, or says that nothing changed. Each tracker needs its library: pip install
    "admlops[mlflow]", "admlops[wandb]", "admlops[tensorboard]". Credentials come from the tracker's own variables.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout
    from admlops.results.runs import find_run
    from admlops.tracking.exported import export_run
    from admlops.tracking.trackers import TRACKERS, Destination

    layout = find_layout()
    chosen = TRACKERS.get(tracker)
    exported = [export_run(find_run(layout, run)) for run in runs]
    destination = Destination(
        folder=(folder or layout.repository / "tracking" / tracker).absolute(),
        server=server,
        project=project,
        online=online,
        records=records,
    )
    if dry_run:
        show_plan([_plan(run, tracker, destination) for run in exported], as_json=as_json)
        return
    done = []
    for run in exported:
        tracked = chosen.track(run, destination, say=say)
        done.append({"run": run.run, **asdict(tracked)})
        if not as_json:
            click.echo(f"{run.run}: {tracked.outcome}, {tracked.where}")
            if tracked.next_step:
                click.echo(f"  → {tracked.next_step}")
    if as_json:
        click.echo(json.dumps({"tracker": tracker, "runs": done}, indent=2))


def _plan(run: ExportedRun, tracker: str, destination: Destination) -> Planned:
    """What would be exported, and whereto."""
    from admlops.core.addresses import redact
    from admlops.core.types import Planned

    where = str(destination.folder) if destination.server is None else redact(destination.server)
    files = len(run.files) + (len(run.records) if destination.records else 0)
    detail = f"{len(run.metrics)} metrics and {files} files to {tracker}, {where}"
    return Planned(action="export", target=run.run, detail=detail)
