"""Whole records as the arrays and the submission that evaluation makes of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from admlops.evaluation.detection_3d.box_table import BoxTable
from admlops.evaluation.detection_3d.nuscenes_submission import Results, make_submission
from admlops.results.record import PartialRecord, Record


def table_of(records: Sequence[Record]) -> BoxTable:
    """The boxes of these records."""
    table = BoxTable()
    for record in records:
        table.add(cast("PartialRecord", record))
    return table


def submit(records: Sequence[Record], samples: Mapping[str, Mapping[str, Any]]) -> Results:
    """The submission of these records; `samples` by token, in the shape of docs/architecture.md."""
    return make_submission(table_of(records), [record.metadata for record in records], samples)
