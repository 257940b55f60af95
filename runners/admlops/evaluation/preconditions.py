"""What must hold before a run is evaluated: its data set, its records, and what was asked for beside the usual."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from admlops.core.counting import count_of
from admlops.core.errors import DataError, RecordError, UsageError
from admlops.datasets.base import COUNTS, Dataset
from admlops.evaluation.base import Evaluation
from admlops.evaluation.context import Context
from admlops.evaluation.run_outputs import RunOutputs
from admlops.results.run_folder import RunFolder


def check_data(run: RunFolder, data: Dataset) -> None:
    """Raise DataError for a data set that the run is not of, or that has no annotations."""
    name = run.header.run
    if data.version != run.header.data.version:
        raise DataError(
            f"run {name} was made on {run.header.data.version}, the data set given is {data.version}",
            hint=f"pass --data with the data set of that version; the run was made on {run.header.data.root}",
        )
    if data.version.endswith("test"):
        raise DataError(
            f"{data.version} has no annotations, so nothing can be measured on it",
            hint="run the model on v1.0-mini or v1.0-trainval; for the test set, upload predictions/ to the server",
        )


def check_records(context: Context) -> None:
    """Raise RecordError where there is no record, or none of a sample that ran; UsageError where none was chosen."""
    run, records = context.run, context.metadata
    if not records and context.chosen is not None and run.complete_scenes():
        raise UsageError(
            f"run {run.header.run} has no sample where {context.where}", hint=f"admlops data tag {context.data.root}"
        )
    if not records:
        raise RecordError(
            f"{run.records_path} holds no complete scene, so there is nothing to evaluate",
            hint=run.header.resume_command,
        )
    if all(entry.status == "failed" for entry in records):
        raise RecordError(
            f"run {run.header.run}: {count_of(len(records), 'sample')}, and all failed: there is nothing to evaluate",
            hint=f"less {run.logs_path}/worker-0.log",
        )


def check_wishes(
    context: Context, outputs: RunOutputs, evaluations: Sequence[Evaluation], protocols: Collection[str]
) -> None:
    """Raise UsageError where a requested protocol or ground truth is of no task that the records answer."""
    asked = [(one.needs.keys, one.protocol, "--protocol") for one in evaluations if one.protocol in protocols]
    if context.truth_2d is not None:
        keys = dict.fromkeys(key for one in evaluations if one.needs.truth_2d for key in one.needs.keys)
        asked.append((tuple(keys), str(context.truth_2d), "--boxes-2d"))
    if context.truth_map is not None:
        asked.append((("map_elements",), str(context.truth_map), "--map-truth"))
    for own, what, option in asked:
        if not outputs.tasks.intersection(key for key in own if key is not None):
            name = context.run.header.run
            raise UsageError(
                f"{what} {'measures' if option == '--protocol' else 'is ground truth of'} {own[0]}; "
                f"the records of run {name} hold {list_tasks(outputs.tasks)}",
                hint=f"admlops evaluate {name}   # without {option}",
            )


def find_lack(evaluation: Evaluation, context: Context) -> str | None:
    """Say what an evaluation lacks before any record is read."""
    if evaluation.needs.key is None and context.run.header.is_submission:
        return "nothing ran here"
    has_counts = evaluation.needs.counts_do and COUNTS in context.capabilities
    if evaluation.needs.truth_2d and not context.has_boxes_2d and not has_counts:
        return "it needs a file with ground truth: --boxes-2d FILE"
    lacking = [name for name in evaluation.needs.data if name not in context.capabilities]
    return f"{context.data.kind} has none to compare them with ({', '.join(lacking)})" if lacking else None


def list_tasks(tasks: Collection[str]) -> str:
    """Return the names of tasks as a message has them."""
    return ", ".join(sorted(tasks)) or "no task"
