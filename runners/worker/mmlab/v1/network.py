"""Building a network from its own source and configuration."""

import importlib
import os
import sys
import tempfile
from contextlib import contextmanager
from typing import Any, Iterator, Sequence

from ...precision import AUTHORS
from ..common.libraries import load_library
from ..custom_config import ConfigError, adapt_bases, is_outside
from .precision import set_activations

PLUGIN_MARK = "projects"
LIBRARY_FOLDER = "mmdetection3d"
"""Where sources that bring no mmdet3d expect its checkout: in their root."""


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


def read_config(path: str, folders: Sequence[str] = ()) -> Any:
    """The configuration, without what only training reads: paths of pretrained backbones, and training's settings.

    `folders`, relative to the source's root, are where the bases of a copy outside the source are looked for.
    """
    with beside_library(path) if not is_outside(path, os.getcwd()) else copied_in(path, folders) as found:
        config = load_library("mmcv").Config.fromfile(found)
    _drop_pretrained(config.model)
    config.model["train_cfg"] = None
    _plain_batch_norm(config.model)
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


def _drop_pretrained(node: Any) -> None:
    """Weights come from a checkpoint of the whole network, so nothing else needs to be on disk."""
    if isinstance(node, dict):
        if isinstance(node.get("init_cfg"), dict) and node["init_cfg"].get("type") == "Pretrained":
            node["init_cfg"] = None
        if "pretrained" in node:
            node["pretrained"] = None
        for value in list(node.values()):
            _drop_pretrained(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _drop_pretrained(value)


def _plain_batch_norm(node: Any) -> None:
    """SyncBN computes what BN does outside training, with the same keys, and torch 1.9 has it for GPUs alone."""
    if isinstance(node, dict):
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
        for value in list(node.values()):
            _plain_batch_norm(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _plain_batch_norm(value)
