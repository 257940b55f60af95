"""torch: its default device, its allocator's limit and peak, its GPU's name.

A model need not use torch: everything here does nothing until the adapter has imported torch and started CUDA.
"""

import importlib
import sys
from typing import Any, Optional

from .base import Runtime

BYTES_PER_MEGABYTE = 1e6


class TorchRuntime(Runtime):
    """torch as the adapter has imported it."""

    name = "torch"
    _reserved_peak_mb = 0.0

    def use_device(self, device: str) -> None:
        """Make a GPU other than the first one torch's current device: code that says `.cuda()` means that one."""
        self._device = device
        if not device.startswith("cuda") or device in ("cuda", "cuda:0"):
            return
        try:
            torch = importlib.import_module("torch")
        except ImportError:
            return  # a model without torch
        torch.cuda.set_device(device)

    def limit_memory(self, device: str, limit_mb: Optional[float]) -> None:
        """Let the allocator take at most `limit_mb` of the device; beyond that it raises its out-of-memory error."""
        cuda = _started_cuda()
        if cuda is None or not limit_mb or not device.startswith("cuda"):
            return
        total = cuda.get_device_properties(device).total_memory
        cuda.set_per_process_memory_fraction(min(1.0, limit_mb * BYTES_PER_MEGABYTE / total), device)

    def synchronize(self) -> None:
        """Wait for the current device."""
        cuda = _started_cuda()
        if cuda is not None:
            cuda.synchronize()

    def reset_peak(self) -> None:
        """Begin a new peak of the allocator."""
        cuda = _started_cuda()
        if cuda is not None:
            self.reserved_peak_mb()  # resetting forgets this peak, too
            cuda.reset_peak_memory_stats()

    def peak_mb(self) -> Optional[float]:
        """Return the allocator's peak on the current device [MB, 10⁶ bytes]."""
        cuda = _started_cuda()
        return None if cuda is None else round(cuda.max_memory_allocated() / BYTES_PER_MEGABYTE, 3)

    def reserved_peak_mb(self) -> Optional[float]:
        """Return the most that the allocator has held on the current device, its cache included [MB, 10⁶ bytes]."""
        cuda = _started_cuda()
        if cuda is None:
            return None
        held = round(cuda.max_memory_reserved() / BYTES_PER_MEGABYTE, 3)
        self._reserved_peak_mb = max(held, self._reserved_peak_mb)
        return self._reserved_peak_mb

    def release_memory(self) -> None:
        """Empty the allocator's cache."""
        cuda = _started_cuda()
        if cuda is not None:
            cuda.empty_cache()

    def device_name(self, device: str) -> str:
        """Return the GPU's name as torch says it."""
        cuda = _started_cuda()
        if cuda is None or not device.startswith("cuda"):
            return device
        return str(cuda.get_device_name(device))


def _started_cuda() -> Any:
    """Return `torch.cuda` if the adapter has imported torch and started CUDA, else None."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


RUNTIME = TorchRuntime
