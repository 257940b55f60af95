"""The data sets of a comparison, and the request on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from admlops.catalog import Model
from admlops.datasets.base import Dataset, default_split, find_kind, open_data
from admlops.pipeline.run_request import RunRequest


def open_for(models: Sequence[Model], request: RunRequest, also: Path | None) -> list[Dataset]:
    """Open the data sets of a comparison, the usual one first.

    If a model reads neither, a root of several kinds is opened again as a kind that the model reads. nuScenes is such a
    root: its cameras' pictures are samples too.

    Raises:
        DataError: one is not there.
    """
    opened = [open_data(request.data, request.version), *([] if also is None else [open_data(also)])]
    for model in models:
        if not any(data.kind in model.reads for data in opened):
            kind = find_kind(request.data, model.reads)
            if kind.id in model.reads and request.data.exists():
                opened.append(kind.open(request.data, request.version))
    return opened


def request_on(own: Dataset, usual: Dataset, request: RunRequest) -> RunRequest:
    """Return the request on a model's own data set; its split and scenes differ if its root does."""
    if own is usual:
        return request
    if own.root == usual.root:
        return replace(request, version=own.version, selection=replace(request.selection, tokens=None))
    split = default_split(own.root, wanted=[own.kind])
    selection = replace(request.selection, split=split, scenes=(), tokens=None)
    return replace(request, data=own.root, version=own.version, selection=selection)
