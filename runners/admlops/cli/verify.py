"""`admlops verify`: whether an engine computes what the model's network does in PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_checkpoints, complete_configs, complete_models
from admlops.cli.conventions import dry_run_option, note, say
from admlops.cli.options import selection_options

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.deployment.verification import Verification
    from admlops.pipeline.verify import VerifyRequest

NEXT = {
    "file": "{export} --fresh",
    "tensors": "{again} --bisect   # names the first module that parts",
    "bisected": "{export} --fresh   # then verify again",
    "decoded": "admlops report {runs}   # puts both runs side by side",
    "metrics": "admlops results compare {runs}",
}
"""Step that failed → what to do; `bisected`: the module is named already."""


@click.command(epilog="Example: admlops verify CalibrationStatus --engine onnx --limit 8")
@click.argument("model", shell_complete=complete_models)
@selection_options
@click.option("--config", shell_complete=complete_configs, help="Config of the reference: name or file.")
@click.option("--checkpoint", shell_complete=complete_checkpoints, help="Weights of the reference: name or file.")
@click.option("--weights", metavar="random:SEED", help="Draw the reference's weights from a seed, as the file's were.")
@click.option("--option", "own", multiple=True, metavar="NAME=VALUE", help="An option of MODEL's (may be repeated).")
@click.option("--frames", default=4, show_default=True, type=click.IntRange(1), help="Frames to compare tensors of.")
@click.option("--bisect", is_flag=True, help="Name the first module whose output parts.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the page. [default: the file's]"
)
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
def verify(
    model: str,
    config: str | None,
    checkpoint: str | None,
    weights: str | None,
    own: tuple[str, ...],
    frames: int,
    bisect: bool,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare an exported network with MODEL in PyTorch, on this machine, in four steps.

    file: what the file is, and that it opens where it should. tensors: every output of a few frames, from PyTorch's own
    state, on two rigs. decoded: what whole scenes give, matched. metrics: the difference of the scores.

    The first step that fails names the layer. Runs of an engine that passed are no longer marked as not verified.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.cli.options import make_request
    from admlops.cli.progress import show_progress
    from admlops.cli.signals import cancel_on_signals
    from admlops.core.paths import find_layout
    from admlops.pipeline.options import parse_options
    from admlops.pipeline.verify import VerifyRequest, preview_verification, verify_command

    layout = find_layout()
    with cancel_on_signals() as cancel:
        run = make_request(
            layout,
            model=model,
            options=options,
            config=config,
            checkpoint=checkpoint,
            weights=weights,
            model_options=parse_options(own),
            cancel=cancel,
        )
        request = VerifyRequest(run=run, frames=frames, bisect=bisect)
        if dry_run:
            show_plan(preview_verification(layout, request), as_json=as_json)
            return
        verification, page = _verify(layout, request, out, show_progress)
    if as_json:
        click.echo(json.dumps({**verification.to_json(), "page": str(page)}, indent=1))
    else:
        _print(verification)
        note(f"\npage: {page}")
    _raise_for(verification, verify_command(run))


def _verify(layout: Layout, request: VerifyRequest, out: Path | None, show_progress: Any) -> tuple[Verification, Path]:
    from admlops.core.storage import require_writable, write_atomically
    from admlops.pipeline.verify import verify_engine
    from admlops.reports.verification import render_verification

    if out is not None:
        require_writable(out)
    verification = verify_engine(layout, request, say=say, show_progress=show_progress)
    folder = Path(verification.about["file"]).parent if out is None else out
    content = json.dumps(verification.to_json(), indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "verification.json", content.encode())
    write_atomically(folder / "verification.html", render_verification(verification).encode())
    return verification, folder / "verification.html"


def _print(verification: Verification) -> None:
    from admlops.cli.tables import print_table

    print_table(
        ("step", "verdict", "what was found"), [(one.name, one.verdict, one.reason) for one in verification.steps]
    )
    bisect = verification.bisect
    if bisect is not None:
        found = bisect["module"]
        behind = f", after {bisect['after']}" if bisect.get("after") else ""
        said = f"{found} ({bisect['kind']}){behind}" if found else f"none of {bisect['modules']} outputs parts"
        click.echo(f"first module that parts: {said}")
    click.echo(f"{verification.about['model']}@{verification.about['engine']}: {verification.outcome}")


def _raise_for(verification: Verification, again: str) -> None:
    """Raise only if a step failed; that an engine could not be judged is no failure."""
    from admlops.core.errors import RunFailedError

    failed = verification.failed
    if failed is not None:
        about = verification.about
        step = "bisected" if failed.name == "tensors" and verification.bisect else failed.name
        command = NEXT[step].format(again=again, export=about["export"], runs=" ".join(about["runs"] or ()))
        raise RunFailedError(verification.outcome, hint=command)
