"""`admlops run`: one model over some scenes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_checkpoints, complete_configs, complete_models, complete_runs
from admlops.cli.conventions import dry_run_option, say
from admlops.cli.detach import detach_option
from admlops.cli.options import selection_options
from admlops.core.counting import count_of

if TYPE_CHECKING:
    from admlops.core.errors import AdmlopsError
    from admlops.execution.scene_job import Summary
    from admlops.results.header import RunHeader
    from admlops.results.run_folder import RunFolder


@click.command(epilog="Example: admlops run GroundPlane --data DIR --split mini_val --workers 2")
@click.argument("model", shell_complete=complete_models)
@selection_options
@click.option(
    "--config",
    envvar="CUSTOM_CONFIG_FILE",
    shell_complete=complete_configs,
    help="Config: name or file. [env: CUSTOM_CONFIG_FILE]",
)
@click.option(
    "--checkpoint",
    envvar="CHECKPOINT_FILE",
    shell_complete=complete_checkpoints,
    help="Weights: name or file. [env: CHECKPOINT_FILE]",
)
@click.option("--weights", metavar="random:SEED", help="Draw the weights from a seed: to try a model, not to judge it.")
@click.option("--option", "own", multiple=True, metavar="NAME=VALUE", help="An option of MODEL's (may be repeated).")
@click.option("--off-distribution", is_flag=True, help="Allow data that MODEL was not made for; the numbers say so.")
@click.option("--stream", is_flag=True, help="Run on every camera picture, 12 a second, for streaming metrics.")
@click.option(
    "--corrupt", metavar="FAULT:LEVEL", help="Let MODEL see its sensors with a fault: fog:2, camera-crash:1, …"
)
@click.option("--corrupt-seed", type=click.IntRange(0), default=0, show_default=True, help="Draw that fault otherwise.")
@click.option("--run", "name", shell_complete=complete_runs, help="The run's name. [default: made from model and time]")
@click.option("--resume", is_flag=True, help="Go on with the run called --run.")
@click.option("--retry-failed", is_flag=True, help="Do the failed samples of the run called --run again.")
@click.option(
    "--throughput", is_flag=True, help="Search how many workers do most samples/s, then run; --workers caps the search."
)
@click.option("--runtime", help="What executes the network: torch, or an extension's. [default: the model's]")
@detach_option
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def run(
    model: str,
    config: str | None,
    checkpoint: str | None,
    weights: str | None,
    own: tuple[str, ...],
    off_distribution: bool,
    stream: bool,
    corrupt: str | None,
    corrupt_seed: int,
    name: str | None,
    resume: bool,
    retry_failed: bool,
    throughput: bool,
    runtime: str | None,
    detach: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run MODEL over scenes and write one standard record a sample.

    Scenes run in order and whole; a run that was stopped goes on with --run NAME --resume. Every visible GPU gets its
    own workers. With --detach it goes on when this terminal is gone. With --throughput settings are tried first, and
    the run's times are then those of workers that share a device: no latency.
    """
    from admlops.cli.detach import announcer, start_again, take_folder
    from admlops.cli.options import make_request
    from admlops.cli.progress import show_progress
    from admlops.cli.signals import cancel_on_signals
    from admlops.core.paths import find_layout
    from admlops.pipeline.options import parse_options, read_corrupt
    from admlops.pipeline.run import run_model

    layout = find_layout()
    detached = take_folder()
    if detach and detached is None and not dry_run:
        start_again(layout, as_json=as_json)
        return
    with cancel_on_signals() as cancel, show_progress() as watch:
        request = make_request(
            layout,
            model=model,
            options=options,
            config=config,
            checkpoint=checkpoint,
            weights=weights,
            model_options=parse_options(own),
            off_distribution=off_distribution,
            stream=stream,
            corrupt=None if corrupt is None else read_corrupt(corrupt, corrupt_seed),
            name=name,
            resume=resume,
            retry_failed=retry_failed,
            throughput=throughput,
            runtime=runtime,
            on_begin=announcer(detached),
            cancel=cancel,
        )
        if dry_run:
            from admlops.cli.dry_run import show_plan
            from admlops.pipeline.preview import preview_run

            show_plan(preview_run(layout, request, say=say), as_json=as_json)
            return
        folder, summary = run_model(layout, request, say=say, on_progress=watch)
    _tell(folder, summary, throughput=throughput, as_json=as_json)
    _raise_for(summary, folder.header)


def _tell(folder: RunFolder, summary: Summary, *, throughput: bool, as_json: bool) -> None:
    """Print what became of a run."""
    from admlops.pipeline.throughput import read_throughput
    from admlops.results.lost_devices import list_lost_devices
    from admlops.results.refused_graphs import list_refused_graphs

    header = folder.header
    found = read_throughput(folder.throughput_path) if throughput else None
    lost = list_lost_devices(folder, last_start_only=True)
    refused = list_refused_graphs(folder)
    if as_json:
        facts = {
            "run": header.run,
            "path": str(folder.path),
            "state": summary.state,
            **({} if found is None else {"throughput": found}),
            "ok": summary.ok,
            "failed": summary.failed,
            "remaining": summary.remaining,
            "of": header.data.whole_samples,
            "whole": header.data.whole,
            "lost_devices": [one.facts for one in lost],
            **({"graphs_refused": refused} if header.has_graphs else {}),
        }
        click.echo(json.dumps(facts, indent=2))
        return
    if found is not None:
        _print_throughput(found)
    more = f" and {summary.dropped} more in a scene that was not finished" if summary.dropped else ""
    click.echo(f"{header.run}: {summary.state}, {count_of(summary.ok, 'sample')} ok, {summary.failed} failed{more}")
    click.echo(f"covers:  {header.coverage}")
    click.echo(f"records: {folder.records_path}")
    for part, why in refused.items():
        click.echo(f"graphs:  {part} ran without one: {why}")
    for one in lost:
        click.echo(f"lost:    {one.sentence}\n  → {one.hint}")


def _print_throughput(found: dict[str, Any]) -> None:
    """Print a row for each setting that was tried, and why the search ended."""
    from admlops.cli.tables import print_table

    rows = []
    for one in found["tried"]:
        is_chosen = (one["workers"], one["batch"]) == (found["workers"], found["batch"]) and not one["failed"]
        rate = one["failed"].partition(":")[0] or f"{one['samples_per_s']:.3g}"
        joules = "no meter" if one["j_per_sample"] is None else f"{one['j_per_sample']:.3g}"
        gpu = "" if one["gpu_mb"] is None else f"{one['gpu_mb']:.0f}"
        chosen = "chosen" if is_chosen else ""
        rows.append((str(one["workers"]), str(one["batch"]), rate, joules, gpu, f"{one['host_mb']:.0f}", chosen))
    print_table(("workers", "batch", "samples/s", "J/sample", "GPU MB", "memory MB", ""), rows)
    click.echo(f"ended:   {found['ended']}")


def _raise_for(summary: Summary, header: RunHeader) -> None:
    """Return if all went well; else raise the error that says what did not, and decides the exit code."""
    if summary.state != "complete":
        raise _explain_stop(summary, header)
    if summary.failed:
        raise _explain_failed(summary, header)


def _explain_stop(summary: Summary, header: RunHeader) -> AdmlopsError:
    """Return the error of a run that is not complete."""
    from admlops.core.errors import DataError, RunFailedError, StoppedError

    failure = summary.stopped_by
    kind = DataError if failure is not None and failure.kind == "data" else RunFailedError
    remain = f"{count_of(summary.remaining, 'sample')} remain"
    if summary.dropped:
        remain += f", {summary.dropped} of them failed in a scene that was not finished"
    if failure is None or failure.kind == "cancelled":
        return StoppedError(f"{header.run} was stopped; {remain}", hint=header.resume_command)
    return kind(
        f"{header.run} ended {summary.state} ({failure.kind}): {failure.summary}; {remain}",
        hint=failure.hint if failure.is_of_file else f"{failure.hint}\n  → {header.resume_command}",
    )


def _explain_failed(summary: Summary, header: RunHeader) -> AdmlopsError:
    """Return the error of a complete run with failed samples: from now, or from before if nothing was run now."""
    from admlops.core.errors import DataError, RunFailedError

    seen = next((failure for failure in summary.failures if failure.kind != "cancelled"), None)
    if seen is not None:
        first, words, hint = seen.kind, seen.summary, seen.hint
    elif summary.first_failed is not None:
        first, words, hint = summary.first_failed.kind, summary.first_failed.message, summary.first_failed.hint
    else:
        first, words, hint = "model", "see the records", f"admlops results show {header.run}"
    kind = DataError if first == "data" else RunFailedError
    if first == "data":
        hint = "mend what the message names"
    of = summary.ok + summary.failed
    return kind(
        f"{summary.failed} of {of} samples failed, first ({first}): {words}",
        hint=f"{hint}\n  → {header.retry_command}   # does the failed samples again",
    )
