"""What must hold before ultralytics is imported, and what it changes that must not change.

Nothing of ultralytics is imported here. Its switches are variables that it reads once, at its import:

- `YOLO_AUTOINSTALL=0`: else it installs what it misses, by name, into the locked environment.
- `YOLO_OFFLINE=1`: no probe of the network, no download of weights, no usage statistics.
- `YOLO_CONFIG_DIR`: else it writes its settings, which switch the statistics on, into the user's home; YOLOv5's
  repository has a variable of its own, `YOLOV5_CONFIG_DIR`, and makes a folder there.
- `ULTRALYTICS_SAFE_LOAD=1`: its own loader takes no class that it does not know. The adapters never call it.
- `YOLO_VERBOSE=1`: else its warnings are dropped, and one of them says that boxes are missing.
- `OMP_NUM_THREADS`: unset, the import sets it to 1, and a comparison on a CPU is unfair.
"""

import atexit
import logging
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from typing import Any, Dict, Iterator

from ..mmlab.common.libraries import load_library

SWITCHES = {"YOLO_AUTOINSTALL": "0", "YOLO_OFFLINE": "1", "YOLO_VERBOSE": "1", "ULTRALYTICS_SAFE_LOAD": "1"}
FOLDERS = ("YOLO_CONFIG_DIR", "YOLOV5_CONFIG_DIR")
THREADS = "OMP_NUM_THREADS"
LEFT_ALONE = (THREADS, "CUBLAS_WORKSPACE_CONFIG")
"""Variables that it sets as it is imported and used; the second slows other code on a GPU."""
TIME_LIMIT = "NMS time limit"
"""The begin of its warning that boxes were dropped because non-maximum suppression took too long."""

_chosen: Dict[str, str] = {}


def set_switches() -> Dict[str, str]:
    """Set every switch in this process's environment, and return them; a count of threads that is set is kept.

    A second call changes nothing.

    Raises:
        RuntimeError: ultralytics is imported already, so that it would not see them.
    """
    if _chosen:
        return dict(_chosen)
    if "ultralytics" in sys.modules:
        raise RuntimeError("ultralytics was imported before its switches were set")
    folder = tempfile.mkdtemp(prefix="admlops-ultralytics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    threads = os.environ.get(THREADS) or str(len(os.sched_getaffinity(0)))
    _chosen.update({**SWITCHES, **dict.fromkeys(FOLDERS, folder), THREADS: threads})
    os.environ.update(_chosen)
    return dict(_chosen)


@contextmanager
def keep_settings() -> Iterator[None]:
    """Undo what the block changes of LEFT_ALONE, and of torch's number of threads."""
    before = {name: os.environ.get(name) for name in LEFT_ALONE}
    torch = load_library("torch")
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class NmsLimit(logging.Handler):
    """Hears the warning that non-maximum suppression was cut short: what was found then depends on the machine's load.

    Args:
        logger: the library's.
    """

    def __init__(self, logger: Any) -> None:
        super().__init__(level=logging.WARNING)
        self._heard = ""
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of that warning."""
        text = record.getMessage()
        if TIME_LIMIT in text:
            self._heard = text

    def check(self) -> None:
        """Raise TimeoutError if the warning came since the last call: the boxes are not all there."""
        heard, self._heard = self._heard, ""
        if heard:
            raise TimeoutError("{}: boxes were dropped, so this sample has none; use a less busy machine".format(heard))
