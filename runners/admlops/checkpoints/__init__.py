"""Published weights: how they come, what they hold, and whether a worker may load them.

It may import core, catalog and downloads, and `worker.mmlab.state_dict`. Begin with `store.py`, then `inspection.py`.
"""

from admlops.checkpoints.description import describe
from admlops.checkpoints.extraction import Extracted, extract
from admlops.checkpoints.identity import FoundConfig, find_config
from admlops.checkpoints.inspection import Inspection, inspect
from admlops.checkpoints.keep_trained import check_free, keep_trained
from admlops.checkpoints.store import Stored, add, fetch, find_checkpoint, path_of, require_file
from admlops.checkpoints.trained import Trained, read_trained, trained_folder
from admlops.checkpoints.usable import Usable, ensure_usable, find_problem
from admlops.checkpoints.weights import Weights

__all__ = [
    "Extracted",
    "FoundConfig",
    "Inspection",
    "Stored",
    "Trained",
    "Usable",
    "Weights",
    "add",
    "check_free",
    "describe",
    "ensure_usable",
    "extract",
    "fetch",
    "find_checkpoint",
    "find_config",
    "find_problem",
    "inspect",
    "keep_trained",
    "path_of",
    "read_trained",
    "require_file",
    "trained_folder",
]
