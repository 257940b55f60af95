"""The interface of a runtime, and loading the one that the host names."""

import importlib.util
import os
import sys
from types import MappingProxyType
from typing import Any, Dict, Mapping, Optional, Sequence


class ProviderError(RuntimeError):
    """What is to execute a network is not there, or another took its place. Nothing ran."""


class Session:
    """A network that a runtime has opened from a file."""

    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    shapes: Mapping[str, Sequence[Any]] = MappingProxyType({})
    """The inputs' shapes as far as the file fixes them; an axis that varies has a text or None."""
    provider = ""
    """What of the runtime executes it, such as CUDAExecutionProvider."""

    def run(self, feed: Mapping[str, Any]) -> Dict[str, Any]:
        """Return NumPy arrays by output, of NumPy arrays by input; everything is done when it returns."""
        raise NotImplementedError


class Runtime:
    """A library that executes networks, as far as it knows its device. This class is for models without one."""

    name = "none"

    def use_device(self, device: str) -> None:
        """Make `device` ("cpu", "cuda:1") the default one of this process. Called before the model is built."""

    def limit_memory(self, device: str, limit_mb: Optional[float]) -> None:
        """Let the library take at most `limit_mb` [MB, 10⁶ bytes] of the device. Called after the model is built."""

    def synchronize(self) -> None:
        """Wait until the device has finished its work, so that a clock can be read."""

    def reset_peak(self) -> None:
        """Begin a new peak of GPU memory, for one sample."""

    def peak_mb(self) -> Optional[float]:
        """Return the peak since `reset_peak` [MB, 10⁶ bytes], None where no GPU is in use."""
        return None

    def reserved_peak_mb(self) -> Optional[float]:
        """Return the most of the GPU's memory that the library has held at once since the start [MB, 10⁶ bytes].

        None where no GPU is in use, or where nobody counts. What the driver takes for the process is not in it.
        """
        return None

    def release_memory(self) -> None:
        """Give back what the library keeps of the device's memory for later, after a batch was too large."""

    def use_settings(self, settings: Mapping[str, Any]) -> None:
        """Take what the host says of the engine: `build`, `cache` and `driver`. Nothing to do for most."""

    def open(self, path: str, *, device: str) -> Session:
        """Open a network's file on a device ("cpu", "cuda:0").

        Raises:
            ProviderError: it could be opened on another device alone.
            RuntimeError: it cannot be opened.
        """
        raise RuntimeError("the runtime {} opens no file of a network, so not {}".format(self.name, path))

    def device_name(self, device: str) -> str:
        """Return the GPU's name, or `device` itself where the library does not know one."""
        return device


def load_runtime(described: Optional[Mapping[str, Any]]) -> Runtime:
    """Return the runtime that `{"id": ..., "file": ..., "path": [...]}` describes; torch's where the host names none.

    `path` are folders with packages that the runtime needs and the model's environment does not have.

    Raises:
        ImportError: the file is missing, fails to import, or defines no class `RUNTIME`.
    """
    described = described or {}
    # Behind the model's own packages, so that none of those is replaced by another version.
    sys.path.extend(folder for folder in described.get("path") or () if folder not in sys.path)
    file = described.get("file") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch.py")
    name = str(described.get("id") or "torch")
    if not os.path.isfile(file):
        raise ImportError("the runtime {} is not a Python file: {}".format(name, file))
    runtime = getattr(_import_file(file, name), "RUNTIME", None)
    if runtime is None:
        raise ImportError("{} defines no class RUNTIME".format(file))
    loaded: Runtime = runtime()
    return loaded


def _import_file(file: str, name: str) -> Any:
    """Import a runtime's module as a part of this package, so that its relative imports work wherever its file lies."""
    spec = importlib.util.spec_from_file_location("{}.loaded_{}".format(__package__, name.replace(".", "_")), file)
    if spec is None or spec.loader is None:
        raise ImportError("the runtime {} is not a Python file: {}".format(name, file))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
