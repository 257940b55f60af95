"""ONNX Runtime: opens an ONNX file on the CPU or a GPU, and never on another device than asked."""

import importlib
import os
from typing import Any, Dict, Mapping

from .base import ProviderError, Runtime, Session

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxSession(Session):
    """A session of ONNX Runtime, and the provider that executes it."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = [one.name for one in session.get_inputs()]
        self.outputs = [one.name for one in session.get_outputs()]
        self.shapes = {one.name: one.shape for one in session.get_inputs()}
        self.provider = session.get_providers()[0]

    def run(self, feed: Mapping[str, Any]) -> Dict[str, Any]:
        """Run the network on arrays of the host."""
        return dict(zip(self.outputs, self._session.run(self.outputs, dict(feed))))


class OnnxRuntime(Runtime):
    """ONNX Runtime as it lies in the environment, or in a folder behind it."""

    name = "onnxruntime"

    def open(self, path: str, *, device: str) -> Session:
        """Open an ONNX file with the provider of the device.

        Raises:
            ProviderError: the provider is not there, or ONNX Runtime took another one in its place.
        """
        onnxruntime = importlib.import_module("onnxruntime")
        kind, _, index = device.partition(":")
        wanted = PROVIDERS[kind]
        if kind == "cuda" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA's and cuDNN's libraries lie in packages that no loader looks into
        require_provider(wanted, onnxruntime.get_available_providers(), device=device, version=onnxruntime.__version__)
        provider = (wanted, {"device_id": index or "0"}) if kind == "cuda" else wanted
        session = onnxruntime.InferenceSession(path, session_options(onnxruntime), providers=[provider])
        # A provider whose libraries do not load is left out with a warning in the log, and the CPU takes its place.
        require_provider(wanted, session.get_providers()[:1], device=device, version=onnxruntime.__version__)
        return OnnxSession(session)


def session_options(onnxruntime: Any) -> Any:
    """Return a session's options: as many threads as OMP_NUM_THREADS says, and warnings in the log."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_threads(os.environ.get("OMP_NUM_THREADS", ""))
    return options


def count_threads(said: str) -> int:
    """Read OMP_NUM_THREADS, of a list for nested levels (`2,1`) the first; 0, the runtime's choice, if unreadable."""
    first = said.partition(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() else 0


def require_provider(wanted: str, there: Any, *, device: str, version: str) -> None:
    """Raise ProviderError unless `wanted` is among the providers that are there."""
    if wanted not in there:
        raise ProviderError(
            "ONNX Runtime {} has no {} for {}, only {}: nothing ran".format(
                version, wanted, device, ", ".join(there) or "none"
            )
        )


RUNTIME = OnnxRuntime
