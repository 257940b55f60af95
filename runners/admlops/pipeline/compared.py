"""The rows of a comparison: a model that ran, or the reason why it did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from admlops.catalog import Model
from admlops.catalog.model import Claim
from admlops.results.run_folder import RunFolder

Outcome = Literal["complete", "failed", "cancelled", "running", "not set up", "not for"]
"""What became of a model; all but `complete` have a reason. `not for`: the data set is of a kind it does not read."""


@dataclass(frozen=True, kw_only=True)
class Shortcoming:
    """Why a complete run does not show its model as it is to be judged, and what to do about it."""

    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return " → ".join(part for part in (self.reason, self.hint) if part)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One row of a comparison: a model that ran, the reason why it did not, or a submission, which has no model."""

    model: Model | None
    outcome: Outcome
    reason: str = ""
    hint: str = ""
    run: RunFolder | None = None
    metrics: Mapping[str, Any] | None = None
    shortcomings: tuple[Shortcoming, ...] = ()
    label: str = ""

    @property
    def name(self) -> str:
        """The model's name; of a run that was named, or of a submission, the run's: two may be of one model."""
        if self.label:
            return self.label
        if self.model is not None:
            return self.model.name
        return "" if self.run is None else self.run.header.run

    @property
    def claims(self) -> Sequence[Claim]:
        """What the model's authors published."""
        return () if self.model is None else self.model.published

    @property
    def failed(self) -> bool:
        """Tell whether the model was set up for this data and yet gave no complete, evaluated run."""
        return self.metrics is None and self.outcome not in ("not set up", "not for")

    @property
    def state(self) -> str:
        """`ready`; `degraded`: random weights, failed samples, or CPU times; else what became of it."""
        if self.metrics is not None:
            return "degraded" if self.shortcomings else "ready"
        return f"not for {self.reason.partition(':')[0]}" if self.outcome == "not for" else self.outcome

    @property
    def status(self) -> str:
        """Return what became of the model and why, in one line."""
        if self.outcome == "not for":
            return f"not for {self.reason}"
        return f"{self.outcome}: {self.reason}" if self.reason else self.outcome

    @property
    def why(self) -> str:
        """Return what keeps the model from being ready, and what to do; empty for one that is."""
        if self.metrics is not None:
            return "; ".join(str(one) for one in self.shortcomings)
        return " → ".join(part for part in (self.reason, self.hint) if part)

    @property
    def judged(self) -> RunFolder | None:
        """The evaluated run, if its scores say how good the model is: those of random weights do not."""
        return None if self.run is None or self.metrics is None or self.run.header.random_weights else self.run
