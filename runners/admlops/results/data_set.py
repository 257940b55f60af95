"""Opening the data set that a run was made on."""

from __future__ import annotations

from pathlib import Path

from admlops.datasets.base import Dataset, open_data
from admlops.results.header import DataInfo


def open_run_data(data: DataInfo, root: Path | None = None) -> Dataset:
    """The data set that a run's header describes, as the kind that it was read as; in `root` if it moved there.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    return open_data(root or Path(data.root), data.version, wanted=data.kinds)
