"""What a section of the page is, and the data that it is made from.

To add one, write a function that takes a `Report` and gives the values of its template, or None where it has nothing to
say, and put a `Section` into `sections.SECTIONS`. Its template stands in `templates/sections/`, its script, if it has
one, in `scripts/`: the page holds each script once, after `core.js`. A script that draws a sample listens for
`admlops:sample` on `document`, whose `detail` has the packed sample, the runs and the least confidence to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from admlops.pipeline.run_data import RunData
from admlops.reports import page
from admlops.reports.samples import SampleSet
from admlops.reports.scene_view import Samples


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that sections are made of; `comparison` is `comparison_summary.json` where there is one."""

    runs: Sequence[RunData]
    comparison: Mapping[str, Any] | None
    data: Samples | None
    also: Sequence[Samples] = ()

    @cached_property
    def labels(self) -> list[str]:
        """A label a run."""
        return page.label_runs(self.runs)

    @cached_property
    def pairs(self) -> list[tuple[str, RunData]]:
        """Every row with its label."""
        return list(zip(self.labels, self.runs, strict=True))

    @cached_property
    def ran(self) -> list[tuple[str, RunData]]:
        """The runs that ran. A run's place here decides its colour in the whole page."""
        return [(label, run) for label, run in self.pairs if run.header is not None]

    @cached_property
    def samples(self) -> SampleSet:
        """The samples that the page shows."""
        return SampleSet(ran=self.ran, data=self.data, also=self.also)

    @property
    def is_comparison(self) -> bool:
        return self.comparison is not None or len(self.runs) > 1

    @property
    def title(self) -> str:
        if self.comparison is not None or len(self.runs) != 1:
            return " · ".join(dict.fromkeys(run.model for run in self.runs))
        return self.runs[0].name

    @property
    def created(self) -> str:
        """When the comparison was made, or the newest run began; empty where nothing ran."""
        if self.comparison is not None and "created" in self.comparison:
            return str(self.comparison["created"])
        return max((run.header.created for _, run in self.ran if run.header is not None), default="")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page.

    Attributes:
        id: its anchor.
        title: its heading, and its name in the contents; a `title` among the values replaces it.
        template: below `templates/sections/`.
        values: what the template is given beside `report`; None leaves the section out.
        scripts: files of `scripts/` that it needs, or of `vendor/` with that folder's name before theirs.
    """

    id: str
    title: str
    template: str
    values: Callable[[Report], Mapping[str, Any] | None]
    scripts: tuple[str, ...] = ()
