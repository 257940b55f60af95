"""The samples of a data set that has no tables in nuScenes' schema: what each sample itself and its labels say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from admlops.curation.columns import COLUMNS, Source
from admlops.datasets.base import BOXES_2D, Dataset, HasBoxes2D

if TYPE_CHECKING:
    import duckdb

HAVE = {
    "scene": ("sample", "scene", "location", "index_in_scene"),
    "pictures": ("pictures", "width_px", "height_px"),
    "boxes": ("boxes",),
}
"""The columns of each source that pictures have."""


class PlainRows:
    """Makes the tables of one data set in `database`, a source at a time."""

    lacking_columns: Mapping[str, str]

    def __init__(self, data: Dataset, database: duckdb.DuckDBPyConnection) -> None:
        self._data = data
        self._database = database
        self._tokens: list[str] = []
        kept = {name for names in HAVE.values() for name in names}
        reason = f"data of the kind {data.kind} do not have it"
        self.lacking_columns = {column.name: reason for column in COLUMNS if column.name not in kept}

    def read(self, source: Source) -> str | None:
        """Read a source; return why the data set does not have it, None if it does. Raises DataError."""
        if source == "scene":
            return self._read_scenes()
        if source == "pictures":
            return self._read_pictures()
        if source == "boxes":
            return self._read_boxes()
        return f"data of the kind {self._data.kind} do not have it"

    def _read_scenes(self) -> str | None:
        columns: dict[str, list[Any]] = defaultdict(list)
        for scene in self._data.scenes():
            columns["sample"] += scene.samples
            columns["scene"] += [scene.name] * len(scene.samples)
            columns["location"] += [scene.location or None] * len(scene.samples)
            columns["index_in_scene"] += range(len(scene.samples))
        self._tokens = columns["sample"]
        texts = {name: np.array(columns[name], dtype=object) for name in ("sample", "scene", "location")}
        self._add("sample_rows", {**texts, "index_in_scene": np.array(columns["index_in_scene"], dtype=np.int64)})
        return None

    def _read_pictures(self) -> str | None:
        rows = []
        for token in self._tokens:
            cameras = list(self._data.sample(token)["cameras"].values())
            size = (cameras[0]["width"], cameras[0]["height"]) if cameras else (None, None)
            rows.append((len(cameras), *(side or np.nan for side in size)))
        found = np.array(rows, dtype=np.float64).reshape(-1, 3)
        self._add("picture_rows", dict(zip(HAVE["pictures"], found.T, strict=True)))
        return None

    def _read_boxes(self) -> str | None:
        data = self._data
        if not isinstance(data, HasBoxes2D) or BOXES_2D not in data.capabilities:
            return f"{data.root} has no annotated boxes"
        counts = []
        for token in self._tokens:
            own = data.image_annotations(token)
            counts.append(sum(int((~one.ignore).sum()) for one in own.values()) if own else np.nan)
        self._add("box_rows", {"boxes": np.array(counts, dtype=np.float64)})
        return None

    def _add(self, name: str, columns: Mapping[str, Any]) -> None:
        number = np.arange(len(self._tokens), dtype=np.int64)
        self._database.register("given", {"number": number, **columns})
        self._database.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
        self._database.unregister("given")
