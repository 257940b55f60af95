"""What the evaluations of one run have in common: the run, its data set, and ground truth that several of them need."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from admlops.core.errors import DataError
from admlops.curation.tags import Rules
from admlops.datasets.annotations import Annotations, SampleScene
from admlops.datasets.base import BOXES_2D, Dataset, HasBoxes3D, HasStream, tokens_digest
from admlops.results.record import Metadata
from admlops.results.run_folder import RunFolder

Shared = TypeVar("Shared")

NEEDS_BOXES = (
    "give its ground truth, a COCO file, with --boxes-2d FILE, or run the model on pictures with annotated boxes "
    "(projected 3D boxes are not valid ground truth)"
)


@dataclass(kw_only=True)
class Context:
    """One run under evaluation.

    Attributes:
        on_request: protocols wanted beside the usual ones.
        cache: the folder that keeps vectors cut from maps.
        truth_2d: a COCO file with the ground truth of boxes in images, if there is one.
        truth_map: MapTR's file with the ground truth of map elements, where it is not cut from the map expansion.
        official: whether the official code is asked too, so that accumulators keep what it needs.
        metadata: of each record read so far, in the run's order.
        thresholds: by task, the least confidence at which the model's outputs count, as its catalogue entry says.
        where: the condition that chose the samples, for people; empty without one.
        rules: of the tags that results are sliced by; none if None.
        chosen: the tokens of the samples that are evaluated; None for all of the run's.
        following: how many samples after the run's own need annotations.
    """

    run: RunFolder
    data: Dataset
    cache: Path
    on_request: frozenset[str] = frozenset()
    truth_2d: Path | None = None
    truth_map: Path | None = None
    official: bool = False
    metadata: list[Metadata] = field(default_factory=list)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    rules: Rules | None = None
    chosen: frozenset[str] | None = None
    where: str = ""
    following: int = 0
    _shared: dict[Any, Any] = field(default_factory=dict)

    def share(self, key: object, make: Callable[[], Shared]) -> Shared:
        """Return what was made first under `key`."""
        if key not in self._shared:
            self._shared[key] = make()
        return cast("Shared", self._shared[key])

    @property
    def capabilities(self) -> frozenset[str]:
        """Return what the data set can give beside its samples."""
        return self.data.capabilities

    @property
    def has_boxes_2d(self) -> bool:
        """Tell whether there is ground truth of boxes in images: a file, or the data set's own."""
        return self.truth_2d is not None or BOXES_2D in self.capabilities

    @property
    def tokens(self) -> list[str]:
        return [entry.sample_token for entry in self.metadata]

    @cached_property
    def dataset(self) -> str:
        """The digest of the samples, as `data.samples_sha256` in metrics.json."""
        return tokens_digest(self.tokens)

    @cached_property
    def samples(self) -> dict[str, dict[str, Any]]:
        """By token, each sample in the shape of docs/architecture.md.

        Raises:
            DataError: the data set lacks one of them, or an ego pose is not finite.
        """
        if isinstance(self.data, HasStream):  # whose scenes are read together in one pass over the tables
            self.data.scenes(dict.fromkeys(entry.scene for entry in self.metadata))
        samples = {token: self.data.sample(token) for token in self.tokens}
        for token, sample in samples.items():
            pose = sample["ego2global"]
            if not all(map(math.isfinite, (*pose["translation"], *pose["rotation_wxyz"]))):
                raise DataError(
                    f"the ego pose of sample {token} ({sample['scene']}) in {self.data.root} is not finite: {pose}",
                    hint=f"admlops data check {self.data.root}   # then mend the pose, or make the table again",
                )
        return samples

    @cached_property
    def annotations(self) -> Annotations:
        """The annotated objects of the run's samples, and of those after them that are needed.

        Raises:
            DataError: the data set has none.
        """
        if not isinstance(self.data, HasBoxes3D):
            raise DataError(
                f"{self.data.root} is of kind {self.data.kind}, which gives no annotated boxes in space",
                hint="pass --data ROOT of a data set that has them, such as nuScenes",
            )
        return self.data.annotations(self.tokens, following=self.following)

    @cached_property
    def scenes(self) -> list[SampleScene]:
        """The scene of each sample, with its description where the data set has one."""
        known = self.data.sample_scenes() if isinstance(self.data, HasBoxes3D) else {}
        names = (entry.scene for entry in self.metadata)
        return [known.get(name) or SampleScene(name=name, description="", location="") for name in names]
