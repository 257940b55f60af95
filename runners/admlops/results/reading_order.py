"""The order in which the records of a run are read.

It is that of the scenes, one after another in time. A submission has its samples in an order of its own, and where
scores are equal the official code goes by it: such a run has a file `order.json`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import msgspec

from admlops.core.errors import RecordError
from admlops.core.line_file import LineFile
from admlops.core.storage import write_atomically
from admlops.results.run_folder import RunFolder


def write_order(run: RunFolder, places: Sequence[int]) -> None:
    """Say in which order evaluations read the records.

    Args:
        places: for each record in that order, its place among all records, scene after scene, from 0.
    """
    write_atomically(run.order_path, msgspec.json.encode(list(places)))


def lines_in_order(run: RunFolder) -> Iterator[tuple[str, bytes, str]] | None:
    """Return (scene, line, `file:line`) of all records in the order of `write_order`; None where there is none.

    Raises:
        RecordError: the order is not one of this run's records.
    """
    try:
        places = msgspec.json.decode(run.order_path.read_bytes(), type=list[int])
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise RecordError(
            f"{run.order_path} cannot be read: {error}", hint=f"admlops results verify {run.path.name}"
        ) from error
    return _lines_at(run, places)


def _lines_at(run: RunFolder, places: Sequence[int]) -> Iterator[tuple[str, bytes, str]]:
    paths = [run.scene_path(scene) for scene in run.header.scenes]
    first = [0, *accumulate(run.header.scenes.values())]
    if sorted(places) != list(range(first[-1])) or not all(path.exists() for path in paths):
        raise RecordError(
            f"{run.order_path} is not an order of the {first[-1]} records",
            hint=f"admlops results verify {run.path.name}",
        )
    scenes, opened = list(run.header.scenes), [LineFile(path) for path in paths]
    for place in places:
        number = bisect_right(first, place) - 1
        line = place - first[number]
        yield scenes[number], opened[number].line(line), f"{paths[number]}:{line + 1}"
