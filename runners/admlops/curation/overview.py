"""One data set measured, whatever its kind: nuScenes' tables by SQL, pictures one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from admlops.core.errors import UsageError
from admlops.core.types import Watch
from admlops.curation.columns import BY_NAME
from admlops.curation.differences import Difference, compare_pictures, find_differences
from admlops.curation.expression import Condition, find_columns
from admlops.curation.sample_tables import SampleTables
from admlops.curation.statistics import BOX_AXES, SOURCES, TAG_AXIS, Cell, SetStatistics, count_cells, measure_tables
from admlops.curation.tags import Rules
from admlops.datasets.base import Dataset
from admlops.datasets.statistics import Statistics, measure

NOT_IN_PICTURES = {
    "boxes by distance, visibility, light and weather": "pictures have boxes in pixels, and no description",
    "driving, tracks, standing": "single pictures are no drive",
    "map, training": "pictures lie on no map",
}
"""What statistics of nuScenes' tables have and those of pictures do not, and why."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The statistics of a data set, and what they are of.

    Attributes:
        where: the condition that chose the samples; None for all.
        tables, pictures: one of the two is there, by the kind of data.
        axes, cells: what --by asked for.
    """

    data: Dataset
    where: str | None
    tables: SetStatistics | None
    pictures: Statistics | None
    axes: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()

    @property
    def name(self) -> str:
        """The data set as tables name it: its root and version."""
        return str(self.data.root / self.data.version)

    @property
    def lacking(self) -> dict[str, str]:
        """What the data set does not have, and why."""
        if self.tables is not None:
            return dict(self.tables.lacking)
        if self.data.kind == "images":
            return dict(NOT_IN_PICTURES)
        what = ", ".join(NOT_IN_PICTURES)
        return {what: f"they are asked of nuScenes' tables, which data of the kind {self.data.kind} are not"}

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        own = self.tables if self.tables is not None else self.pictures
        assert own is not None
        facts = {"data": str(self.data.root), "kind": self.data.kind, "version": self.data.version}
        found = {**facts, "synthetic": self.data.is_synthetic, "where": self.where, **own.to_json()}
        found["lacking"] = self.lacking
        if self.axes:
            found["by"] = [
                {**dict(zip(self.axes, cell.values, strict=True)), "boxes": cell.boxes, "samples": cell.samples}
                for cell in self.cells
            ]
        return found


def measure_set(
    data: Dataset, rules: Rules, *, where: Condition | None, axes: Sequence[str], map_samples: int, watch: Watch
) -> Measured:
    """Measure a data set, or the samples of it where a condition holds.

    Raises:
        DataError: a table or a label cannot be read.
        UsageError: the condition or an axis needs what the data set does not have, or no sample is chosen.
    """
    tables = SampleTables(data)
    cut = 0 if axes else map_samples
    if tables.has_tables:
        asked = () if where is None else find_columns(where, rules.conditions)
        sources = {*SOURCES, *(BY_NAME[name].source for name in asked)}
        tables.read(sources, lambda done, total: watch(done, total + cut))
    chosen = None if where is None else _choose(tables, where, rules)
    text = None if where is None else where.text
    if not tables.has_tables:
        if axes:
            raise UsageError(
                f"--by {axes[0]} counts by nuScenes' tables, and {data.root} is of kind {data.kind}",
                hint="leave --by out: pictures are counted by class and size",
            )
        pictures = measure(data, watch, chosen=None if chosen is None else frozenset(chosen))
        return Measured(data=data, where=text, tables=None, pictures=pictures)
    steps = len(SOURCES)
    found = measure_tables(
        tables,
        map_samples=cut,
        watch=lambda done, total: watch(steps + round(cut * done / total), steps + cut),
        chosen=chosen,
    )
    cells: list[Cell] = []
    if axes:
        _check_axes(tables, axes)
        cells = count_cells(tables, axes, rules)
    return Measured(data=data, where=text, tables=found, pictures=None, axes=tuple(axes), cells=tuple(cells))


def compare(first: Measured, second: Measured) -> list[Difference]:
    """Compare two measured sets. Raises UsageError where one has tables and the other pictures alone."""
    if first.tables is not None and second.tables is not None:
        return find_differences(first.tables, second.tables)
    if first.pictures is not None and second.pictures is not None:
        return compare_pictures(first.pictures, second.pictures)
    kinds = f"{first.data.root} is of kind {first.data.kind}, {second.data.root} of kind {second.data.kind}"
    raise UsageError(
        f"{kinds}: boxes in space and in pictures have no measure in common",
        hint="--kind images reads nuScenes' pictures one by one",
    )


def _choose(tables: SampleTables, where: Condition, rules: Rules) -> list[str]:
    chosen = tables.choose(where, rules.conditions)
    if not chosen:
        raise UsageError(
            f"{where.where} {where.text!r} holds for no sample of {tables.data.root / tables.data.version}",
            hint=f"admlops data tag {tables.data.root}   # counts what there is",
        )
    return chosen


def _check_axes(tables: SampleTables, axes: Sequence[str]) -> None:
    of_boxes = [name for name in axes if name in BOX_AXES and "boxes" in tables.lacking]
    lacking = tables.find_lacking([name for name in axes if name not in BOX_AXES and name != TAG_AXIS])
    if of_boxes or lacking is not None:
        name, reason = lacking or (of_boxes[0], tables.lacking["boxes"])
        raise UsageError(f"--by {name}: {reason}", hint="leave it out")
