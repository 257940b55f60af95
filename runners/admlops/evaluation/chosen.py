"""Which of a run's samples are evaluated: those where the run's own --where and a further one hold.

A run with --where is over whole scenes, for models may carry state from sample to sample; its numbers are of the chosen
samples alone. The digest of these stands with every number, so that it compares only with numbers of the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from admlops.core.errors import DataError, UsageError
from admlops.curation.where import Where, choose_samples, restore_where
from admlops.datasets.base import STREAM, Dataset, tokens_digest
from admlops.results.header import WhereInfo
from admlops.results.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The samples to evaluate: their tokens, None for all, and the condition for people."""

    tokens: frozenset[str] | None
    text: str


def find_chosen(run: RunFolder, data: Dataset, where: Where | None) -> Chosen:
    """Return the samples where the run's own condition and `where` hold.

    Raises:
        UsageError: the data set does not have what a condition is about, or is a stream.
        DataError: the run's own condition chooses other samples than when it ran.
    """
    header = run.header
    own = header.data.where if isinstance(header.data.where, WhereInfo) else None
    restored = None if own is None else restore_where(own.condition, own.tags)
    conditions = [one for one in (restored, where) if one is not None]
    if not conditions:
        return Chosen(tokens=None, text="")
    if STREAM in data.capabilities:
        raise UsageError(
            "--where chooses key frames, and a stream is evaluated whole", hint=f"admlops evaluate {header.run}"
        )
    tokens = [choose_samples(data, one) for one in conditions]
    if own is not None and header.data.shard is None:
        _check_same(run, data, own, tokens[0])
    text = " and ".join(f"({one.text})" if len(conditions) > 1 else one.text for one in conditions)
    return Chosen(tokens=frozenset.intersection(*tokens), text=text)


def _check_same(run: RunFolder, data: Dataset, own: WhereInfo, chosen: frozenset[str]) -> None:
    """Raise DataError where the tables now choose other samples of the run than when it was made."""
    held = {scene.name: scene.samples for scene in data.scenes(list(run.header.scenes))}
    tokens = [token for name, count in run.header.scenes.items() for token in held[name][:count] if token in chosen]
    if tokens_digest(tokens) != own.samples_sha256:
        raise DataError(
            f"run {run.header.run} was made where {own.condition}, {own.samples} samples; the tables in {data.root} "
            f"now give {len(tokens)}, or others",
            hint="pass the --data that the run was made with, tables, map expansion and CAN bus alike",
        )
