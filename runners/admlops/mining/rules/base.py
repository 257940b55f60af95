"""What a rule is: it looks at a run, or two, and gives reasons to look at samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from admlops.core.errors import UsageError
from admlops.datasets.annotations import SampleScene
from admlops.datasets.base import Dataset, HasBoxes3D, HasResamplingUnits, Scene
from admlops.mining.found import FoundRun


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a sample is worth a look.

    Attributes:
        weight: what it adds to the sample's score.
        what: in words.
        run: the run whose output it is about; empty where it is about none.
        id: that output's number in the record.
        place: the camera; empty in space.
        class_name, confidence: of the output.
    """

    weight: float
    what: str
    run: str = ""
    id: int | None = None
    place: str = ""
    class_name: str = ""
    confidence: float | None = None


Reasons = Mapping[str, Sequence[Reason]]
"""By sample token."""


@dataclass(frozen=True, kw_only=True)
class MiningInput:
    """What a rule gets: one run, or two over the same samples; and the data set that they were made on."""

    runs: Sequence[FoundRun]
    data: Dataset

    @property
    def run(self) -> FoundRun:
        """The first run."""
        return self.runs[0]

    @cached_property
    def sequences(self) -> list[list[str]]:
        """The samples of each scene in time order, including those that the run does not have.

        Raises:
            UsageError: the samples are unrelated single pictures.
        """
        names = dict.fromkeys(sample.scene for sample in self.run.samples.values())
        scenes = [scene for scene in self.data.scenes(list(names)) if self._is_sequence(scene)]
        if not scenes:
            raise UsageError(
                f"the samples of run {self.run.name} are single pictures, and no sequence",
                hint=f"admlops data mine {self.run.name} --by uncertainty",
            )
        return [list(scene.samples) for scene in scenes]

    def _is_sequence(self, scene: Scene) -> bool:
        return not isinstance(self.data, HasResamplingUnits) or any(
            self.data.resampling_unit(token) != token for token in scene.samples
        )

    @cached_property
    def scenes(self) -> list[SampleScene]:
        """The scene of each of the run's samples, as its annotators described it."""
        known = self.data.sample_scenes() if isinstance(self.data, HasBoxes3D) else {}
        names = (sample.scene for sample in self.run.samples.values())
        return [known.get(name) or SampleScene(name=name, description="", location="") for name in names]


@dataclass(frozen=True, kw_only=True)
class MiningRule:
    """A rule.

    Attributes:
        id: as `--by` takes it.
        text: what it looks for.
        runs: how many runs it compares, 1 or 2.
        find: the reasons by sample. Raises UsageError, DataError.
    """

    id: str
    text: str
    runs: int
    find: Callable[[MiningInput], Reasons]


@dataclass(frozen=True, kw_only=True)
class MinedSample:
    """A sample worth a look: its score is the sum of its reasons' weights."""

    token: str
    scene: str
    score: float
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)
