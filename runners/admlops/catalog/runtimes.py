"""The runtimes that workers load: each is a module that runs inside model environments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import admlops.worker


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What executes a network: an id, and the module that a worker loads by its path.

    The module runs inside the model's environment (Python 3.8, standard library) and names a subclass of
    `worker.runtimes.base.Runtime` as `RUNTIME`.
    """

    id: str
    file: Path


TORCH = Runtime(id="torch", file=Path(admlops.worker.__file__).resolve().parent / "runtimes" / "torch.py")
