"""The sentences in metrics.json that say what a run's numbers leave out or count in another way."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from admlops.core.counting import count_of
from admlops.evaluation.base import Evaluation
from admlops.evaluation.context import NEEDS_BOXES, Context
from admlops.evaluation.run_outputs import RunOutputs


def is_whole(context: Context) -> bool:
    """Tell whether the run is complete and all of its samples are evaluated."""
    header = context.run.header
    everything = context.chosen is None and header.data.where is UNSET
    return everything and header.state == "complete" and len(context.metadata) == sum(header.scenes.values())


def list_notes(
    context: Context, outputs: RunOutputs, evaluations: Sequence[Evaluation], without: Sequence[tuple[str, str]]
) -> list[str]:
    """Return a sentence for everything that a reader of the numbers must know.

    Args:
        without: protocols that could not be evaluated, and why.
    """
    header = context.run.header
    notes = [] if is_whole(context) else [_incomplete_note(context)]
    if header.random_weights:
        notes.append(f"the weights are random ({header.random_weights}): these numbers compare with no others")
    if header.engine_doubt is not None:
        notes.append(f"the engine {header.unverified_engine} {header.engine_doubt}")
    notes += header.options.get("notes", []) if header.is_submission else []
    if not context.has_boxes_2d:
        keys = dict.fromkeys(one.needs.key for one in evaluations if one.needs.truth_2d)
        notes += [
            f"{key} is in the records and is not evaluated: {NEEDS_BOXES}" for key in keys if key in outputs.tasks
        ]
    seen: list[object] = []
    for accumulator in outputs.accumulators.values():
        if all(one is not accumulator for one in seen):
            seen.append(accumulator)
            notes += getattr(accumulator, "notes", _nothing)(context)
    return [*notes, *(f"{protocol} is not evaluated: {why}" for protocol, why in without)]


def _nothing(context: Context) -> list[str]:
    return []


def _incomplete_note(context: Context) -> str:
    header = context.run.header
    whole = count_of(sum(header.scenes.values()), "sample")
    if header.state == "complete":
        return f"evaluated: {len(context.metadata)} of {whole}, those where {context.where}"
    chosen = f", and of these where {context.where}" if context.where else ""
    return (
        f"evaluated: {len(context.metadata)} of {whole}, those of scenes that "
        f"are whole{chosen} (the run is {header.state}); go on with: {header.resume_command}"
    )
