"""The runtimes that workers load: each is a module that runs inside model environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import admlops.worker


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What executes a network: an id, and the module that a worker loads by its path.

    The module runs inside the model's environment (Python 3.8, standard library) and names a subclass of
    `worker.runtimes.base.Runtime` as `RUNTIME`.

    Attributes:
        engine: what `--engine` calls it; empty for one that executes the adapter's own network and opens no file.
        suffixes: the endings of the files that it opens.
        package: the Python package that it needs.
        tools: kind of device (`cpu`, `cuda`) → the environment in `envs/tools` that has the package, for models whose
            own lacks it.
        providers: kind of device → what of the runtime executes there.
    """

    id: str
    file: Path
    engine: str = ""
    suffixes: tuple[str, ...] = ()
    package: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)


_FOLDER = Path(admlops.worker.__file__).resolve().parent / "runtimes"
TORCH = Runtime(id="torch", file=_FOLDER / "torch.py")
ONNXRUNTIME = Runtime(
    id="onnxruntime",
    file=_FOLDER / "onnxruntime.py",
    engine="onnx",
    suffixes=(".onnx",),
    package="onnxruntime",
    tools={"cpu": "onnx", "cuda": "onnx-gpu"},
    providers={"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"},
)
