"""What an evaluation is: one protocol of one task, from the keys of a record that it reads to the values it gives.

An `Evaluation` is registered in `catalog.registries.EVALUATIONS`. Its module declares and imports no numerical library;
`begin` imports what computes. Records pass once: `begin` gives an accumulator, `add` takes each record of the run in
order, `finish` compares what was kept with the ground truth and gives a `Result`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from admlops.evaluation.metrics import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from admlops.evaluation.context import Context
    from admlops.evaluation.error_analysis import RunErrors
    from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
    from admlops.results.derived_structs import Selection
    from admlops.results.record import PartialRecord

CLASS = "{class}"
"""Stands in a metric's name for the classes that the ground truth names."""

BY_SCENE = ("scene", "light", "weather")
"""Slices that every resampled evaluation has: a slice of scenes is a resample that draws these scenes once."""


@dataclass(frozen=True)
class MetricSpec:
    """A metric's name, its unit (empty for a share) and its direction."""

    name: str
    unit: str = ""
    higher_is_better: bool = True

    def covers(self, name: str) -> bool:
        """Tell whether `name` is this metric's, with a class in place of `{class}`."""
        begin, found, end = self.name.partition(CLASS)
        if not found:
            return name == self.name
        return len(name) > len(begin) + len(end) and name.startswith(begin) and name.endswith(end)


@dataclass(frozen=True)
class Column:
    """A metric that tables show: its name, its digits, and its keys in a slice of metrics.json, if not its name."""

    metric: str
    digits: int = 4
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class ErrorSpec:
    """How the errors of single samples stand in metrics.json.

    Attributes:
        section: the key in `operating_points`. Of several evaluations of one section the first one counts.
        prefix: begins the keys of an entry of `worst`.
    """

    section: str
    prefix: str


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an evaluation reads.

    Attributes:
        key: the record key with the outputs of its task; if no record has it, there is nothing to do. None for an
            evaluation of the metadata alone: its details stand in metrics.json under its id, beside `details`.
        other_keys: keys that answer the same question where `key` is absent.
        record: how much of a record's keys it decodes.
        data: capabilities of the data set, such as `boxes_3d`.
        following: how many samples after each one it needs annotations of.
        truth_2d: whether it needs a COCO file with the ground truth.
        counts_do: whether the data set's object counts suffice, where there is no such file.
        joins: whether its accumulator is `Joinable`, so that several processes may read the records.
    """

    key: str | None
    record: Mapping[str, Selection] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    following: int = 0
    truth_2d: bool = False
    joins: bool = False
    counts_do: bool = False
    other_keys: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str | None, ...]:
        """The record keys of which any is enough; None for an evaluation of the metadata alone."""
        return (self.key, *self.other_keys)


class Accumulator(Protocol):
    """Keeps what an evaluation needs of the records. Several evaluations may share one.

    It may have a method `notes(context) -> list[str]`: sentences for a reader of the numbers.
    """

    def add(self, record: PartialRecord) -> None:
        """Take the next record. Every record of the run comes once, in order; in failed ones the task's key is UNSET.

        Raises:
            RecordError: the outputs are not what the task asks for.
        """


class Joinable(Accumulator, Protocol):
    """An accumulator whose content travels between processes as arrays."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that was kept."""

    def extend(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append what another accumulator kept of the records that come after these."""


class Result(Protocol):
    """The values of one protocol over one run."""

    @property
    def protocol(self) -> str:
        """The evaluation's protocol, with a suffix where other conditions held."""

    def metrics(self, dataset: str) -> list[Metric]:
        """Return the values; `dataset` is the digest of the samples."""

    def details(self) -> dict[str, Any]:
        """Return what stands under the evaluation's id in `details` of metrics.json."""

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """Return by metric the values in resamples of scenes, (R,); metrics that are not resampled are absent.

        Args:
            scenes: (S,) the scene of each sample of the run, from 0.
            weights: (R, C) how often each resample has each scene.
        """


@runtime_checkable
class HasSampleSlices(Protocol):
    """A result that computes its metrics of groups of samples by other means than resampling."""

    def slice_samples(self, groups: Mapping[str, NDArray[np.bool_]]) -> dict[str, Any]:
        """Return the metrics of each group; `groups` says by name which samples are in it, (S,). They may overlap."""


class HasErrors(Protocol):
    """The result of an evaluation with `errors`: it says what was wrong in single samples."""

    def find_errors(self, ran: NDArray[np.bool_]) -> RunErrors:
        """Classify every output; `ran` (S,) says which samples have outputs."""


@runtime_checkable
class TakesTruth(Protocol):
    """An evaluation whose ground truth may be a file of the user's own."""

    def read_truth(self, context: Context) -> None:
        """Read that file, if one is named, before anything is evaluated. Raises DataError if it is unusable."""


class Evaluation(Protocol):
    """One protocol of one task. `catalog.registries.EvaluationEntry` is the part that needs no numerical library."""

    @property
    def id(self) -> str:
        """Its key in `details` of metrics.json."""

    @property
    def task(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def needs(self) -> Needs: ...
    @property
    def metrics(self) -> Sequence[MetricSpec]: ...
    @property
    def columns(self) -> Sequence[Column]:
        """The metrics that tables and comparisons show, in their order."""

    @property
    def headlines(self) -> Mapping[str, str]:
        """The few metrics that represent it where models are compared: metric → column heading."""

    @property
    def slices(self) -> tuple[str, ...]:
        """The slices of the data that its details have."""

    @property
    def resampled(self) -> bool:
        """Tell whether its values are resampled over scenes."""

    @property
    def errors(self) -> ErrorSpec | None:
        """Say how errors of single samples are listed; None where they are not."""

    @property
    def official(self) -> OfficialCode | str:
        """The official code that can be run beside it, or why there is none."""

    @property
    def on_request(self) -> bool: ...
    def is_wanted(self, context: Context, accumulator: Accumulator) -> bool:
        """Tell whether to finish, once all records are read, even if nobody asked for the protocol."""

    def begin(self, context: Context) -> Accumulator:
        """Return an accumulator for one run; `context.share` gives the same one to several evaluations."""

    def finish(self, accumulator: Accumulator, context: Context) -> Result:
        """Compare what was kept with the ground truth.

        Raises:
            DataError: ground truth is missing or damaged.
            RecordError: a record's outputs are not what the task asks for.
        """


@dataclass(frozen=True, kw_only=True)
class OfficialCode:
    """Official code that runs in an environment of its own.

    Attributes:
        package: the name it goes by in metrics.json.
        runner: "module:function", called with an `official.run.Asked` and the `Result`.
        checkout: the folder in submodules/ that the code comes from, if it is no package.
    """

    package: str
    runner: str
    checkout: str | None = None


@dataclass(frozen=True, kw_only=True)
class Declared:
    """The declarations of an evaluation; a task's module derives from it and adds `begin` and `finish`."""

    id: str
    task: str
    protocol: str
    needs: Needs
    metrics: tuple[MetricSpec, ...]
    official: OfficialCode | str
    columns: tuple[Column, ...] = ()
    headlines: Mapping[str, str] = field(default_factory=dict)
    slices: tuple[str, ...] = BY_SCENE
    resampled: bool = True
    errors: ErrorSpec | None = None
    on_request: bool = False

    def is_wanted(self, context: Context, accumulator: Accumulator) -> bool:
        """Tell whether to finish even if nobody asked: always, except for protocols that run on request."""
        return not self.on_request or self.protocol in context.on_request
