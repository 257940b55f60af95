"""The configuration of a training: the authors', with this training's data, batch, length and first weights."""

import os
from typing import Any, Dict, Mapping

from ....adapter import DataError
from ....training.session import Session
from ...catalogue import read_configs
from ...common.libraries import load_library
from ...common.source import drop_pretrained, plain_batch_norm
from ...custom_config import is_outside
from ..network import beside_library, copied_in, import_plugin
from ..overlay import last_registration_wins
from .corrections import single_precision


def read_training_config(adapter: Any, path: str, session: Session, data: Mapping[str, Any], *, on_cpu: bool) -> Any:
    """Import the model's source, and return its configuration ready for the authors' `tools/train.py`."""
    root = os.getcwd()
    with last_registration_wins():
        adapter.import_libraries()
        known = (adapter.default_config, *read_configs(adapter).values())
        folders = list(dict.fromkeys(os.path.dirname(one) for one in known))
        with beside_library(path) if not is_outside(path, root) else copied_in(path, folders) as found:
            config = load_library("mmcv").Config.fromfile(found)
        import_plugin(config, os.path.relpath(path, root))
        adapter.import_extension()
    adapter.adjust_training(config)
    _set_smoke(config, session.smoke_settings)
    _set_start(config, session.start)
    adapter.set_training_data(config, data)
    _set_length(config, session)
    config.checkpoint_config = None  # ours are saved whenever asked for, and can be resumed exactly
    config.log_config = {"interval": 50, "hooks": [{"type": "TextLoggerHook"}]}  # TensorBoard is not in the locks
    config.resume_from = None
    if on_cpu:
        single_precision(config)
        plain_batch_norm(config.model)
    return config


def _set_smoke(config: Any, settings: Mapping[str, Any]) -> None:
    """Set variables by their path with dots. TOML has lists alone: one in place of a tuple becomes a tuple."""
    for key, value in settings.items():
        node = config
        for part in key.split(".")[:-1]:
            node = node[int(part)] if part.isdigit() else node[part]
        before = node.get(key.rpartition(".")[2]) if isinstance(node, dict) else None
        config.merge_from_dict({key: tuple(value) if isinstance(before, tuple) else value})


def _set_start(config: Any, start: Mapping[str, Any]) -> None:
    """The first weights: none, those of a checkpoint (filled in later), or the authors', found where they lie."""
    if start.get("random") or start.get("weights"):
        drop_pretrained(config.model)
        config.load_from = None
        return
    files: Dict[str, str] = dict(start.get("initial") or {})
    replace_texts(config.model, files)
    first = config.get("load_from")
    if first is not None and first not in files and not os.path.isfile(first):
        raise DataError(
            "the configuration begins with {}, which is not here: pass --from with weights or random".format(first)
        )
    config.load_from = files.get(first, first)
    if files:  # inspected and hashed by the host; some hold NumPy's numbers among their facts
        os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"


def replace_texts(node: Any, texts: Mapping[str, str]) -> None:
    """Replace texts anywhere in a configuration."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(items):
        if isinstance(value, str) and value in texts:
            node[key] = texts[value]
        else:
            replace_texts(value, texts)


def set_info_file(node: Any, info_file: str, root: str) -> None:
    """Point a data set, or the one in its wrapper, at an info file and the root that its paths lie below."""
    while "ann_file" not in node and "dataset" in node:
        node = node["dataset"]
    node["ann_file"] = info_file
    node["data_root"] = root + os.sep


def _set_length(config: Any, session: Session) -> None:
    if session.batch is not None:
        config.data.samples_per_gpu = session.batch
    if session.learning_rate is not None:
        config.optimizer.lr = session.learning_rate
    if session.epochs is not None and "max_epochs" in config.runner:
        config.runner.max_epochs = session.epochs
        if "total_epochs" in config:
            config.total_epochs = session.epochs
