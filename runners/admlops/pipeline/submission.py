"""A run as a nuScenes detection submission, for the official server or another evaluator."""

from __future__ import annotations

import json
from pathlib import Path

from admlops.core.errors import UsageError
from admlops.core.storage import write_atomically
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.detection_3d.nuscenes_submission import META, make_submission
from admlops.results.run_folder import RunFolder


def export_submission(run: RunFolder, out: Path, *, data: Path | None = None) -> int:
    """Write every box of the run in the global frame, and return the number of samples.

    `data` is the root of the data set, which has the ego poses; the one the run was made with if None.

    Raises:
        DataError: the data set is not there, or not the one of the run.
        UsageError: the run's model does not detect objects.
        StorageError: `out` cannot be written.
    """
    records = list(run.records())
    if not any(isinstance(record.detections_3d, list) for record in records):
        raise UsageError(
            f"{run.path.name} has no detections: {run.header.model} does not do that task, or no scene is complete",
            hint=f"admlops results export {run.path.name} --format jsonl --out {out.with_suffix('.jsonl')}",
        )
    nuscenes = NuScenes(data or Path(run.header.data.root), run.header.data.version)
    tokens = [record.metadata.sample_token for record in records]
    submission = make_submission(records, {token: nuscenes.sample(token) for token in tokens})
    write_atomically(out, json.dumps({"meta": META, "results": submission.results}).encode())
    return len(submission.results)
