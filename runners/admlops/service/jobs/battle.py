"""The endpoint `battle`: two models or runs against each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from admlops.catalog import Model, find_known
from admlops.core.paths import Layout
from admlops.deployment.engines import split_contender
from admlops.pipeline.battle import check_metric
from admlops.pipeline.compare import Comparison, take_runs, write_comparison
from admlops.results.data_set import open_run_data
from admlops.results.run_folder import RunFolder
from admlops.service.jobs.checks import check_contender, check_run, check_selected, find_data
from admlops.service.jobs.compare import compare, describe, target_of
from admlops.service.jobs.endpoints import Endpoint
from admlops.service.jobs.inputs import BattleInput
from admlops.service.jobs.outcome import JobFailedError
from admlops.service.jobs.settings import JobSettings
from admlops.service.jobs.work import Work


def check(layout: Layout, settings: JobSettings, given: BattleInput) -> None:
    """Raise AdmlopsError where the input names something that is not there."""
    check_metric(given.metric)
    sides = [find_side(layout, name, given) for name in (given.model_a, given.model_b)]
    models = [one for one in sides if isinstance(one, Model)]
    if len(models) == len(sides):
        check_selected(layout, settings, given, models[:1])
    elif given.data is not None:
        find_data(settings, given.data)


def find_side(layout: Layout, name: str, given: BattleInput) -> Model | RunFolder:
    """Return the model or the run of that name. Raises AdmlopsError: there is neither."""
    if find_known(layout, split_contender(name)[0]) is not None:
        return check_contender(layout, name, given)
    return check_run(layout, name)


def work(work: Work, given: BattleInput) -> Mapping[str, Any]:
    """Bring both to evaluated runs, and say who wins.

    Raises:
        AdmlopsError: one of the two cannot be run or evaluated.
        JobFailedError: one of the two gave no evaluated run.
    """
    names = [given.model_a, given.model_b]
    sides = [find_side(work.layout, name, given) for name in names]
    runs = [one for one in sides if isinstance(one, RunFolder)]
    models = [name for name, one in zip(names, sides, strict=True) if isinstance(one, Model)]
    done = _with_models(work, given, models, runs) if models else _of_runs(work, runs, given.metric)
    fought = done.summary["battles"]
    if not fought:
        lost = [row for row in done.rows if row.metrics is None]
        raise JobFailedError(
            f"no battle: {'; '.join(f'{row.name} {row.status}' for row in lost)}",
            hint=next((row.hint for row in lost if row.hint), "see the job's log"),
            kind="no_battle",
        )
    output = describe(work, done)
    a, b = fought[0]["models"]
    return {"model_a": a, "model_b": b, "winner": fought[0]["winner"], "battle": fought[0], **output}


def _with_models(work: Work, given: BattleInput, models: list[str], runs: list[RunFolder]) -> Comparison:
    """Bring models to runs; beside a run they take its data set and its scenes, unless others are named."""
    usual = Path(runs[0].header.data.root) if runs else None
    if runs and given.data is None and given.split is None and not (given.scenes or given.images):
        given = msgspec.structs.replace(given, scenes=list(runs[0].header.scenes))
    options = {"random_weights": given.random_weights, "metric": given.metric, "runs": runs}
    return compare(work, given, models, usual=usual, **options)


def _of_runs(work: Work, runs: list[RunFolder], metric: str | None) -> Comparison:
    rows = take_runs(work.layout, runs, work.say)
    data = [open_run_data(run.header.data) for run in runs]
    return write_comparison(rows, data, target=target_of(work), metric=metric)


BATTLE = Endpoint(
    id="battle", title="Put two models or runs against each other", shape=BattleInput, check=check, work=work
)
