"""TF32: switched, and read back. It is PyTorch's own and the same for every generation of the mm libraries."""

import os

from ...precision import FLOAT32, TF32, InForce, in_force
from .libraries import load_library

TF32_CAPABILITY = (8, 0)
"""The first compute capability with TF32: Ampere."""


def set_tf32(precision: str) -> None:
    """Switch TF32 off for `float32` and on for `tf32`; leave PyTorch's default for the others."""
    if precision not in (FLOAT32, TF32):
        return
    backends = load_library("torch").backends
    backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = precision == TF32


def read_tf32(device: str, *, activations: str = FLOAT32) -> InForce:
    """Return what is in force on `device` with these activations, read from PyTorch's switches and the card."""
    if device == "cpu":
        return in_force()
    torch = load_library("torch")
    card = torch.cuda.get_device_capability(device) >= TF32_CAPABILITY
    allowed = card and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0"  # NVIDIA's own switch, above PyTorch's
    return in_force(
        activations=activations,
        tf32_convolutions=bool(allowed and torch.backends.cudnn.allow_tf32),
        tf32_matmul=bool(allowed and torch.backends.cuda.matmul.allow_tf32),
    )
