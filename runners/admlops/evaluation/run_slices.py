"""The slices of a result in metrics.json: its own finer ones, else those by scene; by place; and by tag where asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.errors import AdmlopsError
from admlops.curation.sample_tables import SampleTables
from admlops.curation.tags import tag_samples
from admlops.evaluation.base import Evaluation, HasSampleSlices, Result
from admlops.evaluation.context import Context
from admlops.evaluation.corrupted import fault_suffix, with_suffix
from admlops.evaluation.geography import slice_places
from admlops.evaluation.slices import slice_samples, slice_scenes

MAP_TASK = "vector_map"
"""The task whose answers can be remembered with the streets: it is sliced by where the samples lie."""

Mask = NDArray[np.bool_]


def describe_result(evaluation: Evaluation, result: Result, context: Context) -> dict[str, Any]:
    """Return the details of a result, with its slices."""
    suffix = fault_suffix(context.run.header)
    details = with_suffix(result.details(), suffix)
    if not evaluation.slices:
        return details
    if "breakdowns" not in details:
        own = slice_scenes(result, context.scenes)
        if own is None:
            return details
        if evaluation.task == MAP_TASK:
            own |= slice_places(result, context)
        details = with_suffix({**details, "breakdowns": own}, suffix)
    if context.rules is None:
        return details
    return {**details, "breakdowns": {**details["breakdowns"], "tag": _slice_tags(result, context)}}


def _slice_tags(result: Result, context: Context) -> dict[str, Any]:
    tags = context.share("run_slices.tags", lambda: _find_tags(context))
    if not isinstance(tags, Mapping):
        return {"reason": str(tags)}
    if isinstance(result, HasSampleSlices):
        return result.slice_samples(tags)
    return slice_samples(result, tags) or {"reason": "its values are not resampled"}


def _find_tags(context: Context) -> Mapping[str, Mask] | str:
    """Return by tag which of the samples have it, (S,), without tags that none has; or why there are none."""
    assert context.rules is not None
    try:
        tagged = tag_samples(SampleTables(context.data), context.rules)
    except AdmlopsError as error:
        return error.message
    found = {}
    for one in tagged:
        own = frozenset(one.samples)
        mask = np.array([token in own for token in context.tokens], dtype=np.bool_)
        if mask.any():
            found[one.rule.name] = mask
    return found or "no sample of the run has a tag"
