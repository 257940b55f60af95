"""The arithmetic that a run asks for and gets: its names, and what a worker reports of it.

The host and every worker read this file; it needs Python 3.8 and its standard library.
"""

from typing import Dict, Sequence, Union

AUTHORS = "authors"
FLOAT32 = "float32"
TF32 = "tf32"
HALF = "half"
PRECISIONS = (AUTHORS, FLOAT32, TF32, HALF)
"""What a run may ask for.

`authors`: what the authors' own test does: half precision where their configuration says `fp16`, and PyTorch's default
for TF32; positions stay in float32 all the same. `float32`: neither half precision nor TF32. `tf32`: TF32 for
convolutions and matrix products, no half precision. `half`: half precision in the modules that support it, and
PyTorch's default for TF32. A CPU computes in float32 whatever the configuration says.
"""

InForce = Dict[str, Union[str, bool]]
"""What is in force: `activations` ("float32" or "half"), `tf32_convolutions` and `tf32_matmul` (booleans)."""


class PrecisionError(ValueError):
    """A model cannot run in the precision that is asked for. The text names the model and what to pass instead."""


def in_force(*, activations: str = FLOAT32, tf32_convolutions: bool = False, tf32_matmul: bool = False) -> InForce:
    """Return what a worker reports in its `ready` frame; by default single precision throughout."""
    return {"activations": activations, "tf32_convolutions": tf32_convolutions, "tf32_matmul": tf32_matmul}


def require(model: str, offered: Sequence[str], precision: str) -> None:
    """Raise PrecisionError unless `precision` is one of those that a model offers."""
    if precision not in offered:
        raise refuse(model, precision, "it runs in {} alone".format(" or ".join(offered)))


def refuse(model: str, precision: str, reason: str) -> PrecisionError:
    """Return the error for a model that cannot run in `precision`."""
    return PrecisionError(
        "{} cannot run with --precision {}: {}; pass --precision {}".format(model, precision, reason, AUTHORS)
    )
