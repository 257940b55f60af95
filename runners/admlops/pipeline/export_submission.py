"""A run as a submission, for an official server or another evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from admlops.catalog.registries import SUBMISSION_FORMATS
from admlops.core.errors import UsageError
from admlops.evaluation.submissions.base import SubmissionFormat
from admlops.results.data_set import open_run_data
from admlops.results.run_folder import RunFolder


def export_submission(
    run: RunFolder, form: str, out: Path, *, data: Path | None = None, truth_2d: Path | None = None
) -> int:
    """Write a run in a format of SUBMISSION_FORMATS, and return the number of samples.

    Args:
        data: the root of the data set, which has the poses; the one the run was made with if None.
        truth_2d: a COCO file whose ids are written, for `coco`.

    Raises:
        UsageError: the run's model does not do the task, or no official server takes such a file.
        RecordError: a record is not a standard record.
        DataError: the data set is not there, or not the one of the run.
        StorageError: `out` cannot be written.
    """
    chosen = cast("SubmissionFormat", SUBMISSION_FORMATS.get(form))
    if chosen.write is None:
        raise UsageError(
            f"no run is written as {chosen.title}: no official server takes such a file",
            hint=f"admlops results export {run.path.name} --format nuscenes --out {out.with_suffix('.json')}",
        )
    opened = open_run_data(run.header.data, data)
    if opened.kind not in chosen.kinds:
        raise UsageError(
            f"{run.path.name} is a run over {opened.kind}, and {chosen.title} is about {' or '.join(chosen.kinds)}",
            hint=f"admlops results show {run.path.name}",
        )
    return chosen.write(run, opened, out, truth_2d)
