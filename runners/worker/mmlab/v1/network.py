"""Building a network from its own source and configuration."""

import importlib
import os
import tempfile
from contextlib import contextmanager
from typing import Any, Iterator, Sequence

from ...precision import AUTHORS
from ..common.libraries import load_library
from ..common.source import drop_pretrained, plain_batch_norm
from ..custom_config import ConfigError, adapt_bases, is_outside
from .precision import set_activations

LIBRARY_FOLDER = "mmdetection3d"
"""Where sources that bring no mmdet3d expect its checkout: in their root."""


def read_config(path: str, folders: Sequence[str] = ()) -> Any:
    """The configuration, without what only training reads: paths of pretrained backbones, and training's settings.

    `folders`, relative to the source's root, are where the bases of a copy outside the source are looked for.
    """
    with beside_library(path) if not is_outside(path, os.getcwd()) else copied_in(path, folders) as found:
        config = load_library("mmcv").Config.fromfile(found)
    drop_pretrained(config.model)
    config.model["train_cfg"] = None
    plain_batch_norm(config.model)
    return config


@contextmanager
def beside_library(path: str) -> Iterator[str]:
    """A path of the configuration from which its base configurations in mmdet3d's checkout are found.

    Configurations name them relative to themselves, in a checkout in the source's root. The source stays as it is
    pinned: while the block runs, a temporary folder has links to it and to the mmdet3d that is imported.
    """
    root = os.getcwd()
    below = os.path.relpath(path, root)
    first = below.split(os.sep)[0]
    if first == os.pardir or os.path.isdir(LIBRARY_FOLDER):
        yield path
        return
    library = os.path.dirname(os.path.dirname(load_library("mmdet3d").__file__))
    with tempfile.TemporaryDirectory(prefix="admlops-config-") as folder:
        os.symlink(os.path.join(root, first), os.path.join(folder, first))
        os.symlink(library, os.path.join(folder, LIBRARY_FOLDER))
        yield os.path.join(folder, below)


@contextmanager
def copied_in(path: str, folders: Sequence[str]) -> Iterator[str]:
    """The path of a copy of a configuration from outside the source, whose bases are found; while the block runs."""
    root = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="admlops-config-") as folder:
        for name in os.listdir(root):
            os.symlink(os.path.join(root, name), os.path.join(folder, name))
        if not os.path.isdir(LIBRARY_FOLDER):
            library = os.path.dirname(os.path.dirname(load_library("mmdet3d").__file__))
            os.symlink(library, os.path.join(folder, LIBRARY_FOLDER))
        text = adapt_bases(path, [os.path.join(folder, one) for one in folders])
        copy = os.path.join(folder, "config_from_outside.py")
        with open(copy, "w", encoding="utf-8") as file:
            file.write(text)
        yield copy


def import_plugin(config: Any, path: str) -> None:
    """Import the plugin that a configuration names, as upstream's tools/test.py does.

    Raises:
        ConfigError: it names none, and lies outside the source, where the plugin would be beside it.
    """
    if config.get("plugin"):
        folder = config.get("plugin_dir") or path
        if folder.split(os.sep)[0] == os.pardir:
            raise ConfigError(
                "the config {} has plugin = True and no plugin_dir, so its plugin is looked for beside it: lay the "
                "copy beside the config it was copied from, or write plugin_dir".format(os.path.abspath(path))
            )
        importlib.import_module(os.path.dirname(folder).replace("/", "."))


def build_network(
    config: Any, *, device: str, precision: str = AUTHORS, name: str = "the network", half_positions: bool = False
) -> Any:
    """Build the network for inference on `device` in `precision`; its weights are still its constructors'.

    Raises:
        PrecisionError: it cannot run in this precision; the text calls it `name`.
    """
    model = load_library("mmdet3d.models").build_model(config.model, test_cfg=config.get("test_cfg"))
    set_activations(model, config, device=device, precision=precision, name=name, half_positions=half_positions)
    model.eval()
    return model
