"""Published weights: how they come, what they hold, and whether a worker may load them. See `store`."""

from admlops.checkpoints.inspection import Inspection, inspect
from admlops.checkpoints.store import (
    Stored,
    Usable,
    add,
    ensure_usable,
    fetch,
    find_checkpoint,
    find_problem,
    path_of,
)

__all__ = [
    "Inspection",
    "Stored",
    "Usable",
    "add",
    "ensure_usable",
    "fetch",
    "find_checkpoint",
    "find_problem",
    "inspect",
    "path_of",
]
