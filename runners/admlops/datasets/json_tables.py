"""What a data set whose annotations are JSON tables offers for SQL queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

TABLES = "tables"


@runtime_checkable
class HasTables(Protocol):
    """Capability TABLES: samples and annotations are JSON tables in nuScenes' schema."""

    root: Path

    @property
    def tables_folder(self) -> Path:
        """The folder of the tables: `sample.json`, `sample_annotation.json`, …."""

    def scenes_by_split(self, scenes: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """By split the names of its scenes, official splits first; `scenes` are all names in the tables.

        Raises:
            DataError: the file that defines splits cannot be read.
        """
