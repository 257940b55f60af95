"""GPU memory and name from torch, if the adapter has loaded it and started CUDA. Never imports torch itself."""

import sys
from typing import Any, Optional

BYTES_PER_MEGABYTE = 1e6


def limit_memory(device: str, limit_mb: Optional[float]) -> None:
    """Let torch's allocator take at most `limit_mb` of the device; beyond that it raises its out-of-memory error."""
    cuda = _cuda()
    if cuda is None or not limit_mb or not device.startswith("cuda"):
        return
    total = cuda.get_device_properties(device).total_memory
    cuda.set_per_process_memory_fraction(min(1.0, limit_mb * BYTES_PER_MEGABYTE / total), device)


def reset_peak() -> None:
    """Begin a new peak, for one sample."""
    cuda = _cuda()
    if cuda is not None:
        cuda.reset_peak_memory_stats()


def peak_mb() -> Optional[float]:
    """The peak since `reset_peak` [MB, 10⁶ bytes], or None where no CUDA is in use."""
    cuda = _cuda()
    return None if cuda is None else round(cuda.max_memory_allocated() / BYTES_PER_MEGABYTE, 3)


def device_name(device: str) -> str:
    """The GPU's name, or `device` as it was asked for."""
    cuda = _cuda()
    if cuda is None or not device.startswith("cuda"):
        return device
    return str(cuda.get_device_name(device))


def _cuda() -> Any:
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None
