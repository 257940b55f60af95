"""The job that trains a network of the first mm generation by its authors' own `tools/train.py`.

Loaded by `worker.jobs`. `request` has `training`, as `worker.training.session` says, and `data`, which the adapter's
`set_training_data` takes.
"""

import os
import runpy
import sys
from typing import Any, Dict, List, Mapping

from .adapter import Settings
from .mmlab.common.libraries import load_library
from .mmlab.common.source import enter_source
from .mmlab.v1.overlay import last_registration_wins
from .training.session import Session

CONFIG = "config.py"
PROGRAM = "tools/train.py"


def run(adapter: Any, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Train until the end, or until the session says to stop. Returns where that was."""
    root = enter_source(adapter.source_root(), below=adapter.source_paths)
    on_cpu = settings.device == "cpu"
    from .mmlab.v1.training import corrections, runner  # they import torch
    from .mmlab.v1.training.config import read_training_config
    from .training.torch_state import agree_to_stop

    session = Session(request, agree=agree_to_stop)
    if on_cpu:
        corrections.train_on_cpu()
    path = os.path.join(root, adapter.default_config) if settings.config is None else settings.config
    config = read_training_config(adapter, os.path.abspath(path), session, request["data"], on_cpu=on_cpu)
    session.config_epochs = config.get("num_epochs")
    written = os.path.join(session.folder, CONFIG)
    if session.rank == 0:
        config.dump(written + ".part.py")
        os.replace(written + ".part.py", written)
    _wait_for_first(written)
    runner.watch_runners(session, adapter.tolerated_keys)
    try:
        with last_registration_wins():
            run_train(written, os.path.join(session.folder, "work"), session)
    except runner.EndedError as end:
        return session.end(end.iteration, end.reason)
    raise RuntimeError("{} ended without a last iteration: its data are empty".format(PROGRAM))


def run_train(config: str, folder: str, session: Session) -> None:
    """Run the authors' program as its command line would."""
    arguments: List[str] = [PROGRAM, config, "--work-dir", folder, "--seed", str(session.seed)]
    arguments += ["--no-validate", "--deterministic"]
    arguments += ["--launcher", "pytorch" if "RANK" in os.environ else "none"]
    before, sys.argv = sys.argv, arguments
    try:
        runpy.run_path(PROGRAM, run_name="__main__")
    finally:
        sys.argv = before


def _wait_for_first(path: str) -> None:
    """Of several processes the first writes the configuration; the others wait for the file."""
    if int(os.environ.get("RANK", "0")) == 0:
        return
    time = load_library("time")
    while not os.path.isfile(path):
        time.sleep(0.1)
