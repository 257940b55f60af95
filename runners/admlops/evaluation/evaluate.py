"""From a run's records to its `metrics.json`: every task that the records answer, each by its protocols."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from admlops.catalog.registries import EVALUATIONS
from admlops.core.errors import AdmlopsError, DataError, UsageError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.curation.tags import Rules
from admlops.curation.where import Where
from admlops.datasets.base import Dataset, HasResamplingUnits
from admlops.evaluation.base import Evaluation, HasErrors, Result, TakesTruth
from admlops.evaluation.calibrated import require_uncalibrated
from admlops.evaluation.catalogued import catalogued_protocols, find_model, operating_thresholds
from admlops.evaluation.chosen import find_chosen
from admlops.evaluation.context import Context
from admlops.evaluation.corrupted import fault_suffix, note_fault
from admlops.evaluation.energy.carbon import Carbon
from admlops.evaluation.energy.of_run import describe_run
from admlops.evaluation.error_analysis import HasConfusion, RunErrors, rank_samples
from admlops.evaluation.geography import note_leakage
from admlops.evaluation.metrics import Metric
from admlops.evaluation.metrics_files import METRICS_SCHEMA, write_chosen, write_metrics
from admlops.evaluation.notes import is_whole, list_notes
from admlops.evaluation.official.run import NotAsked, Official, run_official
from admlops.evaluation.preconditions import check_data, check_records, check_wishes, find_lack, list_tasks
from admlops.evaluation.run_outputs import RunOutputs, read_outputs
from admlops.evaluation.run_slices import describe_result
from admlops.evaluation.statistics.bootstrap import (
    Resampling,
    Scenes,
    Values,
    interval,
    number_units,
    resample_scenes,
)
from admlops.results.run_folder import RunFolder

CACHE = "cache/vectors"
"""Below the repository; may be deleted at any time."""

MAX_WORST = 50


@dataclass(frozen=True, kw_only=True)
class NotEvaluated:
    """A protocol that measures a task of the records and has no ground truth here."""

    evaluation: Evaluation
    error: AdmlopsError

    def to_json(self) -> dict[str, Any]:
        """Return the form in metrics.json."""
        names = {"id": self.evaluation.id, "task": self.evaluation.task, "protocol": self.evaluation.protocol}
        return {**names, "reason": self.error.message, "hint": self.error.hint}


@dataclass(kw_only=True)
class _Evaluated:
    """The results in the order of the registry, and what is made of them."""

    results: list[tuple[Evaluation, Result]] = field(default_factory=list)
    without: list[NotEvaluated] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    resampling: Resampling
    resamples: dict[str, dict[str, Values]] = field(default_factory=dict)
    official: list[Official] = field(default_factory=list)
    not_asked: list[NotAsked] = field(default_factory=list)


def evaluate_run(
    run: RunFolder,
    data: Dataset,
    *,
    layout: Layout,
    say: Say,
    official: bool = False,
    truth_2d: Path | None = None,
    truth_map: Path | None = None,
    protocols: Collection[str] = (),
    carbon: Carbon | None = None,
    without_truth: bool = False,
    where: Where | None = None,
    rules: Rules | None = None,
) -> dict[str, Any]:
    """Evaluate a run, write its `metrics.json` in one piece and return it; docs/architecture.md shows the shape.

    The records are read once. A run that is not complete is evaluated over the scenes that are: `notes` says so, and
    the digest of its samples keeps its numbers from being compared with those of the whole. A protocol whose ground
    truth is missing is left out, and `not_evaluated` says why. The caller holds `run.lock()`.

    Args:
        official: compute the metrics with the official code as well, where there is some, each in its own environment:
            `official` in the result has its numbers, `official_not_run` what could not be asked.
        truth_2d: a COCO file with the ground truth of boxes in images.
        truth_map: MapTR's file with the ground truth of map elements, in place of vectors cut from the map expansion.
        protocols: of evaluations that run on request; those of the model's catalogue need no naming.
        carbon: where the run's energy came from, for grams of CO₂ equivalents.
        without_truth: whether to measure the times and energy of a run of which nothing else can be judged.
        where: evaluate only the samples where this holds; the numbers then go into a file below `where/`, and
            metrics.json stays as it is.
        rules: of the tags that results are sliced by; none if None.

    Raises:
        RecordError: there are no records, all samples failed, or a record is not what its task asks for.
        UsageError: the records answer no task that can be evaluated, or none that a requested protocol measures; or
            int8 ranges were taken from samples of the run.
        DataError: nothing can be evaluated, because the samples, annotations or maps are not in `data`, or `truth_2d`
            is unusable.
    """
    check_data(run, data)
    if official:
        _ = layout.envs  # raises early: the official packages' environments need a checkout
    model = find_model(run, layout)
    chosen = find_chosen(run, data, where)
    context = Context(
        run=run,
        data=data,
        cache=layout.repository / CACHE,
        on_request=catalogued_protocols(model).union(protocols),
        thresholds=operating_thresholds(model),
        truth_2d=truth_2d,
        truth_map=truth_map,
        official=official,
        chosen=chosen.tokens,
        where=chosen.text,
        rules=rules,
    )
    if not layout.is_checkout:
        say("no catalogue without a checkout: protocols that only some models' papers use need --protocol")
    evaluations = [cast("Evaluation", entry) for entry in EVALUATIONS.values()]
    outputs = _read_run(context, evaluations, protocols)
    evaluated = _evaluate(context, outputs, evaluations)
    unjudged = _find_unjudged(context, outputs, evaluations, evaluated)
    if unjudged is not None and not without_truth:
        raise unjudged
    if official:
        _ask_official(context, evaluated, layout=layout, say=say)
    notes = _list_notes(context, outputs, evaluations, evaluated, is_unjudged=unjudged is not None)
    for line in (*notes, *([evaluated.resampling.reason] if evaluated.resampling.reason else [])):
        say(f"{run.header.run}: {line}")
    metrics = _shape(context, evaluated, notes)
    if not run.header.is_submission and context.chosen is None:  # all samples of the run took it
        metrics["energy"] = describe_run(context, metrics, carbon)
    if where is not None:
        write_chosen(run, metrics)
    else:
        write_metrics(run, metrics, evaluated.resamples)
    return metrics


def _ask_official(context: Context, evaluated: _Evaluated, *, layout: Layout, say: Say) -> None:
    """Repeat the evaluation with the official code, where there is some."""
    results = [(one, result) for one, result in evaluated.results if one.needs.key is not None]
    evaluated.official, evaluated.not_asked = run_official(context, results, layout=layout, say=say)


def _read_run(context: Context, evaluations: Sequence[Evaluation], protocols: Collection[str]) -> RunOutputs:
    """Read the records once, and the ground truth that evaluations need. Raises as `evaluate_run`."""
    outputs = read_outputs(context, [one for one in evaluations if find_lack(one, context) is None])
    check_records(context)
    require_uncalibrated(context.run.header, context.tokens)
    check_wishes(context, outputs, evaluations, protocols)
    for evaluation in evaluations:
        if isinstance(evaluation, TakesTruth):
            evaluation.read_truth(context)
    return outputs


def _list_notes(
    context: Context,
    outputs: RunOutputs,
    evaluations: Sequence[Evaluation],
    evaluated: _Evaluated,
    *,
    is_unjudged: bool,
) -> list[str]:
    """What a reader of the run's numbers must know."""
    without = [(one.evaluation.protocol, one.error.message) for one in evaluated.without]
    notes = list_notes(context, outputs, evaluations, without)
    notes += note_fault(context.run.header) + note_leakage(context, [one.id for one, _ in evaluated.results])
    if is_unjudged:
        notes = [*notes, f"its outputs are not judged, for {context.data.root} has no ground truth of them"]
    return notes


def _evaluate(context: Context, outputs: RunOutputs, evaluations: Sequence[Evaluation]) -> _Evaluated:
    scenes, resampling = draw_scenes(context)
    evaluated = _Evaluated(resampling=resampling)
    begun = outputs.accumulators
    wanted = [one for one in evaluations if one.id in begun and one.is_wanted(context, begun[one.id])]
    context.following = max((one.needs.following for one in wanted), default=0)
    evaluated.without += _without_truth(context, outputs, evaluations)
    for evaluation in wanted:
        try:
            if evaluation.id in outputs.failures:
                raise outputs.failures[evaluation.id]
            evaluated.results.append((evaluation, evaluation.finish(begun[evaluation.id], context)))
        except DataError as error:
            evaluated.without.append(NotEvaluated(evaluation=evaluation, error=error))
    suffix = fault_suffix(context.run.header)
    for evaluation, result in evaluated.results:
        found = result.metrics(context.dataset)
        evaluated.metrics += [replace(metric, protocol=metric.protocol + suffix) for metric in found]
        if evaluated.resampling.weights is not None and evaluation.resampled:
            evaluated.resamples[result.protocol + suffix] = result.resample(scenes, evaluated.resampling.weights)
    evaluated.metrics = [_with_interval(metric, evaluated.resamples) for metric in evaluated.metrics]
    return evaluated


def draw_scenes(context: Context) -> tuple[Scenes, Resampling]:
    """Return the number of each sample's scene, or other resampling unit, and the resamples of these."""
    if isinstance(context.data, HasResamplingUnits):
        scenes, count = number_units([context.data.resampling_unit(token) for token in context.tokens])
        grouped = count < len(set(context.tokens))
        return scenes, resample_scenes(count, unit="groups of pictures" if grouped else "pictures")
    names = sorted({entry.scene for entry in context.metadata})
    number = {name: index for index, name in enumerate(names)}
    scenes = np.array([number[entry.scene] for entry in context.metadata], dtype=np.int64)
    return scenes, resample_scenes(len(names))


def _without_truth(context: Context, outputs: RunOutputs, evaluations: Sequence[Evaluation]) -> list[NotEvaluated]:
    """List the protocols of tasks in the records whose ground truth the data set does not have."""
    name = context.run.header.run
    found = []
    for one in evaluations:
        why = find_lack(one, context)
        usual = not one.on_request and not one.needs.truth_2d and not _has_other(one, context, evaluations)
        if why is not None and usual and one.needs.key in outputs.tasks and _is_own_task(one, evaluations):
            error = UsageError(
                f"the records of run {name} hold {one.needs.key}, and {why}",
                hint=_other_data(context, one.needs.data),
            )
            found.append(NotEvaluated(evaluation=one, error=error))
    return found


def _has_other(one: Evaluation, context: Context, evaluations: Sequence[Evaluation]) -> bool:
    """Tell whether another usual evaluation judges the same key on this data, as on a stream."""
    same = (other for other in evaluations if other.needs.key == one.needs.key and other.id != one.id)
    return any(
        not other.on_request and not other.needs.truth_2d and find_lack(other, context) is None for other in same
    )


def _other_data(context: Context, needed: Collection[str]) -> str:
    header = context.run.header
    if header.is_submission:
        return f"pass --data with a data set that has {', '.join(needed)}"
    return f"admlops run {header.model} --data DIR   # with a data set that has {', '.join(needed)}"


def _is_own_task(one: Evaluation, evaluations: Sequence[Evaluation]) -> bool:
    """Tell whether an evaluation is the first of its key: what later ones measure may be absent altogether."""
    return one.id == next(other.id for other in evaluations if other.needs.key == one.needs.key)


def _find_unjudged(
    context: Context, outputs: RunOutputs, evaluations: Sequence[Evaluation], evaluated: _Evaluated
) -> UsageError | None:
    """Say why nothing but the metadata can be evaluated; None where something can.

    Raises:
        DataError: ground truth is there, and is missing or damaged in part.
    """
    if any(evaluation.needs.key is not None for evaluation, _ in evaluated.results):
        return None
    if evaluated.without:
        raise evaluated.without[0].error
    plain = dict.fromkeys(one.needs.key for one in evaluations if one.needs.key and not one.needs.truth_2d)
    with_file = dict.fromkeys(one.needs.key for one in evaluations if one.needs.key and one.needs.truth_2d)
    filed = "".join(f", {key} with --boxes-2d FILE" for key in with_file)
    return UsageError(
        f"the records of run {context.run.header.run} hold {list_tasks(outputs.tasks)}; "
        f"{', '.join(str(key) for key in plain)} can be evaluated{filed}",
        hint=f"admlops models show {context.run.header.model}",
    )


def _with_interval(metric: Metric, resamples: Mapping[str, Mapping[str, Values]]) -> Metric:
    values = resamples.get(metric.protocol, {}).get(metric.name)
    return metric if values is None else replace(metric, interval=interval(values))


def _shape(context: Context, evaluated: _Evaluated, notes: Sequence[str]) -> dict[str, Any]:
    header, data = context.run.header, context.data
    failed = [entry for entry in context.metadata if entry.status == "failed"]
    errors = _find_errors(context, evaluated.results)
    names = [(entry.sample_token, entry.scene) for entry in context.metadata]
    worst = rank_samples(names, dict(errors.values()), limit=MAX_WORST)
    shape = {
        "schema": METRICS_SCHEMA,
        "run": header.run,
        "model": header.model,
        "samples": len(context.metadata),
        "failed_samples": len(failed),
        "failed": [{"sample_token": entry.sample_token, "scene": entry.scene} for entry in failed],
        "data": {
            "version": data.version,
            "split": header.data.split if is_whole(context) else None,
            "samples_sha256": context.dataset,
            "synthetic": data.is_synthetic,
            **({"where": context.where} if context.where else {}),
        },
        "notes": list(notes),
        "metrics": [metric.to_json() for metric in evaluated.metrics],
        **{one.id: result.details() for one, result in evaluated.results if one.needs.key is None},
        "details": {
            one.id: describe_result(one, result, context) for one, result in evaluated.results if one.needs.key
        },
        "intervals": evaluated.resampling.to_json(),
        "operating_points": {
            section: dict(own.operating_points) for section, (_, own) in errors.items() if own.operating_points
        },
        "worst": [entry.to_json() for entry in worst],
    }
    confusion = {
        section: own.confusion().to_json() for section, (_, own) in errors.items() if isinstance(own, HasConfusion)
    }
    optional = {
        "confusion": confusion or None,
        "random_weights": header.random_weights,
        "official": [one.beside(evaluated.metrics) for one in evaluated.official] or None,
        "official_not_run": [one.to_json() for one in evaluated.not_asked] or None,
        "not_evaluated": [one.to_json() for one in evaluated.without] or None,
    }
    return {**shape, **{key: value for key, value in optional.items() if value is not None}}


def _find_errors(context: Context, results: Sequence[tuple[Evaluation, Result]]) -> dict[str, tuple[str, RunErrors]]:
    """Return by section of `operating_points` the prefix of its keys and its errors."""
    ran = np.array([entry.status == "ok" for entry in context.metadata], dtype=np.bool_)
    found: dict[str, tuple[str, RunErrors]] = {}
    for evaluation, result in results:
        spec = evaluation.errors
        if spec is not None and spec.section not in found:
            found[spec.section] = (spec.prefix, cast("HasErrors", result).find_errors(ran))
    return found
