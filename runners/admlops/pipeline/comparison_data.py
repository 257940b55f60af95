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

    Where a root is of several kinds, such as nuScenes, whose cameras' pictures are samples too, it is opened as each
    that a model reads.

    Raises:
        DataError: one is not there.
    """
    first = open_data(request.data, request.version)
    if also is not None:
        return [first, open_data(also)]
    kinds = {kind.id: kind for kind in (find_kind(request.data, model.reads) for model in models)}
    read = {name for model in models for name in model.reads}
    others = [kind for name, kind in kinds.items() if name != first.kind and name in read]
    return [first, *(kind.open(request.data, request.version) for kind in others)]


def request_on(own: Dataset, usual: Dataset, request: RunRequest) -> RunRequest:
    """Return the request on a model's own data set, whose split and scenes are others if its root is."""
    if own is usual:
        return request
    if own.root == usual.root:
        return replace(request, version=own.version, selection=replace(request.selection, tokens=None))
    split = default_split(own.root, wanted=[own.kind])
    selection = replace(request.selection, split=split, scenes=(), tokens=None)
    return replace(request, data=own.root, version=own.version, selection=selection)
