"""A model's source and its configuration, as far as every generation of the mm libraries has them alike."""

import os
import sys
from typing import Any, Sequence

PLUGIN_MARK = "projects"


def enter_source(default_root: str, *, mark: str = PLUGIN_MARK, below: Sequence[str] = ()) -> str:
    """Go to the root of the model's source and put it, and the folders `below`, first on the import path.

    The host starts workers there; by hand one may be anywhere, and `default_root` is where to go. Configurations and
    plugins name files relative to it. A folder of `below` may be an absolute path: another checkout. Returns the root.

    Raises:
        FileNotFoundError: the source, or one of `below`, is not checked out.
    """
    root = os.getcwd() if os.path.isdir(mark) else default_root
    paths = [os.path.join(root, folder) for folder in below]
    for folder in (os.path.join(root, mark), *paths):
        if not os.path.isdir(folder):
            raise FileNotFoundError(2, "the model's source is not checked out: admlops sources fetch", folder)
    os.chdir(root)
    sys.path[:0] = [path for path in (root, *paths) if path not in sys.path]
    return root


def drop_pretrained(node: Any) -> None:
    """Weights come from a checkpoint of the whole network, so nothing else needs to be on disk."""
    if isinstance(node, dict):
        if isinstance(node.get("init_cfg"), dict) and node["init_cfg"].get("type") == "Pretrained":
            node["init_cfg"] = None
        if "pretrained" in node:
            node["pretrained"] = None
        for value in list(node.values()):
            drop_pretrained(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            drop_pretrained(value)


def plain_batch_norm(node: Any) -> None:
    """SyncBN computes what BN does outside training, with the same keys, and torch 1.9 has it for GPUs alone."""
    if isinstance(node, dict):
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
        for value in list(node.values()):
            plain_batch_norm(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            plain_batch_norm(value)
