"""What `admlops evaluate` does with a results file: say what it would become, or make a run of it."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.core.counting import count_of

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.datasets.base import Dataset
    from admlops.evaluation.submissions.base import SubmissionFormat
    from admlops.pipeline.take_submission import Plan
    from admlops.results.run_folder import RunFolder

EVERY_S = 0.5
LINE_EVERY_S = 10.0


def take_file(
    layout: Layout, file: Path, *, data: Path | None, version: str | None, dry_run: bool, as_json: bool, **options: Any
) -> RunFolder | None:
    """Make a run of a results file; None where `dry_run` only says what it would be.

    Args:
        options: `form`, `split`, `name`, `model` of a `SubmissionRequest`.

    Raises:
        UsageError, DataError, StorageError: see `pipeline.take_submission`.
    """
    from admlops.pipeline.take_submission import SubmissionRequest, plan_submission, take_submission

    request = SubmissionRequest(
        file=file,
        open_data=lambda form: _open_data(layout, form, data, version),
        command=shlex.join(["admlops", *sys.argv[1:]]),
        **options,
    )
    with plan_submission(layout, request) as plan:
        if dry_run:
            _show(plan, as_json=as_json)
            return None
        with _Progress(plan.samples) as on_samples:
            run = take_submission(layout, plan, say=lambda line: click.echo(line, err=True), on_samples=on_samples)
        if plan.earlier is None:
            click.echo(f"{count_of(plan.samples, 'sample')} of {plan.format.title} → {run.path}", err=True)
    return run


def _open_data(layout: Layout, form: SubmissionFormat, data: Path | None, version: str | None) -> Dataset:
    from admlops.cli.options import default_data
    from admlops.datasets.base import open_data

    return open_data(data or default_data(layout, form.kinds), version, wanted=form.kinds)


def _show(plan: Plan, *, as_json: bool) -> None:
    said = plan.to_json()
    if as_json:
        click.echo(json.dumps(said, indent=2))
        return
    click.echo(
        f"file     {said['submission']['file']} ({plan.format.title}, sha256 {said['submission']['sha256'][:12]})"
    )
    click.echo(f"samples  {plan.samples} in {count_of(len(plan.scenes), 'scene')} of split {said['data']['split']}")
    click.echo(f"data     {said['data']['version']} in {said['data']['root']}")
    what = "is there already and would be used again" if said["reused"] else "would be made"
    click.echo(f"run      {said['run']} ({said['model']}): {said['folder']} {what}")


class _Progress:
    """A context that gives a function which shows samples done: in place on a terminal, as lines elsewhere."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._is_terminal = sys.stderr.isatty()
        self._every_s = EVERY_S if self._is_terminal else LINE_EVERY_S
        self._last_s = time.monotonic()
        self._shown = False

    def __enter__(self) -> Callable[[int, int], None]:
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._shown and self._is_terminal:
            click.echo("", err=True)

    def _show(self, done: int, samples: int) -> None:
        if time.monotonic() - self._last_s < self._every_s:
            return
        self._last_s, self._shown = time.monotonic(), True
        text = f"reading: {done:,} of {samples:,} samples"
        click.echo(f"\r{text}" if self._is_terminal else text, nl=not self._is_terminal, err=True)
