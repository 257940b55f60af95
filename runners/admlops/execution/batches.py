"""How many samples a worker may take at once, and what follows when it fails at that."""

from __future__ import annotations

from dataclasses import dataclass, replace

from admlops.execution.failures import WorkerFailure
from admlops.results.record import FailureClass

LARGEST_AUTO = 256
"""The largest batch that `--batch auto` tries."""
HALVED: frozenset[FailureClass] = frozenset({"host_oom"})
"""Failures after which half as many samples are tried: the batch was too large for the machine."""
SINGLY: frozenset[FailureClass] = frozenset({"crash", "hang", "poisoned"})
"""Failures after which the samples are done one by one, so that only the faulty one is lost."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """At most `most` samples at once; with `auto`, as many as still pay, found by doubling from 1."""

    most: int
    auto: bool = False

    def after(self, failure: WorkerFailure) -> Batch | None:
        """Return what a fresh worker tries next; None where the failure has nothing to do with the batch."""
        if failure.batch == 1 or failure.kind not in HALVED | SINGLY:
            return None
        return replace(self, most=failure.batch // 2 if failure.kind in HALVED else 1)
