"""A run as a nuScenes detection submission, for the official server or another evaluator."""

from __future__ import annotations

import json
from pathlib import Path

from msgspec import UNSET

from admlops.core.errors import UsageError
from admlops.core.storage import write_atomically
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.detection_3d.box_table import BoxTable
from admlops.evaluation.detection_3d.nuscenes_submission import META, make_submission
from admlops.evaluation.detection_3d.protocols import BOX_KEYS
from admlops.evaluation.run_outputs import read_records
from admlops.results.run_folder import RunFolder


def export_submission(run: RunFolder, out: Path, *, data: Path | None = None) -> int:
    """Write every box of the run in the global frame, and return the number of samples.

    `data` is the root of the data set, which has the ego poses; the one the run was made with if None.

    Raises:
        RecordError: a record is not one, or names a class or attribute that nuScenes does not have.
        DataError: the data set is not there, or not the one of the run.
        UsageError: the run's model does not detect objects.
        StorageError: `out` cannot be written.
    """
    boxes, metadata, has_boxes = BoxTable(), [], False
    for record in read_records(run, BOX_KEYS):
        boxes.add(record)
        metadata.append(record.metadata)
        has_boxes |= record.detections_3d is not UNSET
    if not has_boxes:
        raise UsageError(
            f"{run.path.name} has no detections: {run.header.model} does not do that task, or no scene is complete",
            hint=f"admlops results export {run.path.name} --format jsonl --out {out.with_suffix('.jsonl')}",
        )
    nuscenes = NuScenes(data or Path(run.header.data.root), run.header.data.version)
    samples = {entry.sample_token: nuscenes.sample(entry.sample_token) for entry in metadata}
    results = make_submission(boxes, metadata, samples)
    write_atomically(out, json.dumps({"meta": META, "results": results}).encode())
    return len(results)
