"""A matrix of confidences in a standard record: every row, or its likely entries alone."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from msgspec import Meta, Struct

Confidence = Annotated[float, Meta(description="Confidence: a model's is 0 to 1, a submission's any number.")]
Index = Annotated[int, Meta(ge=0)]


class SparseRelation(Struct, frozen=True):
    """The likely entries of a matrix of confidences, each once, in any order; the three lists are equally long."""

    floor: Annotated[Confidence, Meta(description="No entry that is left out has a confidence above this.")]
    rows: Annotated[list[Index], Meta(description="The row of each entry, from 0.")]
    columns: Annotated[list[Index], Meta(description="The column of each entry, from 0.")]
    confidences: Annotated[list[Confidence], Meta(description="The confidence of each entry.")]


Relation = list[list[Confidence]] | SparseRelation
"""A matrix as its rows, or as its likely entries."""


def find_fault(relation: Relation, rows: int, columns: int) -> str | None:
    """Say what keeps a relation from being one of so many rows and columns; None where nothing does."""
    if not isinstance(relation, SparseRelation):
        fits = len(relation) == rows and all(len(row) == columns for row in relation)
        return None if fits else f"is not {rows} × {columns}"
    counts = [len(relation.rows), len(relation.columns), len(relation.confidences)]
    if len(set(counts)) > 1:
        return "has {} rows, {} columns and {} confidences, which are not equally many".format(*counts)
    for name, indices, end in (("row", relation.rows, rows), ("column", relation.columns, columns)):
        if indices and max(indices) >= end:
            return f"has an entry in {name} {max(indices)} and is {rows} × {columns}; the first {name} is 0"
    places = list(zip(relation.rows, relation.columns, strict=True))
    if len(set(places)) < len(places):
        ((row, column), count), *_ = Counter(places).most_common(1)
        return f"has {count} entries for row {row}, column {column}"
    return None
