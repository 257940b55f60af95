"""How the lanes and traffic elements of a lane graph connect, as standard records."""

from typing import Any

import numpy as np

FLOOR = 0.1
"""A relation that is no likelier is left out of a record. OpenLane-V2 counts those above 0.5 alone."""
NUMBERS_OF_AN_ENTRY = 3


def relation(matrix: Any, *, whole: bool = False) -> Any:
    """The confidences (rows, columns) of a relation as the record takes them: the likely entries, or every row.

    Most of 300 × 300 pairs of lanes are not connected, and their confidences are most of a record. Every row is given
    where that is shorter, and where `whole` asks for it.
    """
    confidences = np.asarray(matrix, dtype=np.float64)
    rows, columns = np.nonzero(confidences > FLOOR)
    if whole or NUMBERS_OF_AN_ENTRY * len(rows) >= confidences.size:
        return confidences.tolist()
    return {
        "floor": FLOOR,
        "rows": rows.tolist(),
        "columns": columns.tolist(),
        "confidences": confidences[rows, columns].tolist(),
    }
