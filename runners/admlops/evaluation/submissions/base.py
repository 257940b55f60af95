"""What a format of results files is: how a file is recognised, what it says of each sample, how a run is written in it.

A format never decides what counts: it takes unchanged what the official code takes, and refuses what that refuses,
naming the file, the entry and the token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from admlops.core.errors import UsageError
from admlops.datasets.base import Dataset, Scene
from admlops.results.record import Outputs

if TYPE_CHECKING:
    from admlops.evaluation.submissions.results_file import ResultsFile
    from admlops.results.run_folder import RunFolder

Sample = Mapping[str, Any]
"""A sample in the shape of docs/architecture.md."""


class Predictions(Protocol):
    """What a file says, sample by sample.

    Attributes:
        tokens: the samples in the file's order, which decides between equal scores.
        notes: sentences for a reader of the numbers; more may come while outputs are read.
    """

    @property
    def tokens(self) -> Sequence[str]: ...
    @property
    def notes(self) -> Sequence[str]: ...
    def outputs(self, token: str, sample: Sample) -> Outputs:
        """Return what the file says of a sample, in its ego frame.

        Raises:
            UsageError: an entry is not what the official code takes; the message names file, entry and token.
        """


@dataclass(frozen=True, kw_only=True)
class Target:
    """The samples that a file is about: `scenes` of `data`, chosen by the person who evaluates it.

    `truth_2d` is the COCO file with ground truth, if one was named.
    """

    data: Dataset
    scenes: Sequence[Scene]
    split: str
    truth_2d: Path | None = None

    @property
    def tokens(self) -> list[str]:
        return [token for scene in self.scenes for token in scene.samples]


@dataclass(frozen=True, kw_only=True)
class SubmissionFormat:
    """One format.

    Attributes:
        id: as in `--format`.
        title: what a person calls it.
        looks_for: what `recognise` looks for in a file, for messages.
        kinds: the data kinds that its samples are of.
        recognise: whether a file is one, by its content.
        read: open what a file says. Raises UsageError.
        write: write a run, in the order in which it is read; returns the number of samples. The last argument is the
            COCO file with ground truth, if one was named. None where the official side takes no such file.
        suffix: what the name of a file ends in.
    """

    id: str
    title: str
    looks_for: str
    kinds: tuple[str, ...]
    recognise: Callable[[ResultsFile], bool]
    read: Callable[[ResultsFile, Target], Predictions]
    write: Callable[[RunFolder, Dataset, Path, Path | None], int] | None = None
    suffix: str = ".json"

    @property
    def exports(self) -> bool:
        """Tell whether runs can be written in it."""
        return self.write is not None


def refuse(file: Path | str, entry: str, what: str, hint: str = "") -> UsageError:
    """Return the error of an entry that cannot be taken; `entry` says where it stands, with its token."""
    return UsageError(
        f"{file}: {entry}: {what}", hint=hint or "mend the file, or what wrote it; docs/submissions.md shows each form"
    )
