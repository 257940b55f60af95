"""Reading a configuration of mmengine's and building its network."""

import os
import tempfile
from contextlib import contextmanager
from typing import Any, Iterator, Sequence

from ..common.libraries import load_library
from ..common.source import drop_pretrained, plain_batch_norm
from ..custom_config import adapt_bases, is_outside


def read_config(path: str, folders: Sequence[str] = ()) -> Any:
    """The configuration, without what only training reads; the modules that it asks for are imported.

    `folders`, relative to the source's root, are where the bases of a copy outside the source are looked for.
    """
    with _whole(path, folders) as found:
        config = load_library("mmengine.config").Config.fromfile(found)
    drop_pretrained(config.model)
    if "train_cfg" in config.model:
        config.model["train_cfg"] = None
    plain_batch_norm(config.model)
    return config


@contextmanager
def _whole(path: str, folders: Sequence[str]) -> Iterator[str]:
    """A path of the configuration from which its bases are found: its own, or that of a copy while the block runs."""
    root = os.getcwd()
    if not is_outside(path, root):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="admlops-config-") as folder:
        copy = os.path.join(folder, "config_from_outside.py")
        with open(copy, "w", encoding="utf-8") as file:
            file.write(adapt_bases(path, [os.path.join(root, one) for one in folders]))
        yield copy


def build_network(config: Any, *, registry: str) -> Any:
    """Build the network for inference; its weights are still its constructors'. `registry` is a module's name."""
    load_library("mmengine.registry").init_default_scope(config.get("default_scope", registry.partition(".")[0]))
    model = load_library(registry).MODELS.build(config.model)
    model.eval()
    return model
