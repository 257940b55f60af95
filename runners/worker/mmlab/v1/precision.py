"""Half precision for networks of mmcv 1.x, by mmcv's own marks.

mmcv marks the methods that may run in half precision with `auto_fp16` and those that must not with `force_fp32`; both
do nothing until `wrap_fp16_model` sets `fp16_enabled` on their modules. Positions stay in single precision whatever is
asked for, unless the user wants the authors' own rounding: half precision resolves 2^-11 of a coordinate, which is
centimetres on a map of 60 m and moves the whole pixels that a position is rounded to.
"""

from typing import Any, List

from ...precision import AUTHORS, FLOAT32, HALF, TF32, InForce, refuse
from ..common.libraries import load_library
from ..common.precision import read_tf32

TRAINING_ONLY = "_fp16"
"""How sources name a method that they call in training alone, beside another for inference."""


def wants_half(config: Any, *, device: str, precision: str) -> bool:
    """Say whether a network is to run in half precision on `device`: as asked for, or as its configuration says."""
    if device == "cpu":
        return False
    return precision == HALF or (precision == AUTHORS and config.get("fp16") is not None)


def set_activations(
    model: Any, config: Any, *, device: str, precision: str, name: str = "the network", half_positions: bool = False
) -> None:
    """Run a network in half precision where it is wanted, else in single.

    `half_positions` leaves positions to the authors' code, which may round them: to repeat what the authors ran.

    Raises:
        PrecisionError: half precision is asked for on a CPU, or of a network none of whose modules supports it.
    """
    if precision in (HALF, TF32) and device == "cpu":
        raise refuse(name, precision, "a CPU computes in float32")
    if wants_half(config, device=device, precision=precision):
        if precision == HALF and not half_modules(model):
            raise refuse(name, precision, "no module of the network supports half precision (mmcv's auto_fp16)")
        load_library("mmcv.runner").wrap_fp16_model(model)
        if not half_positions:
            keep_positions_single(model)
    elif precision != AUTHORS or device == "cpu":
        for module in model.modules():
            if getattr(module, "fp16_enabled", False):
                module.fp16_enabled = False


def read_precision(model: Any, *, device: str) -> InForce:
    """Return what is in force for a network on `device`, read from its modules, PyTorch's switches and the card."""
    half = device != "cpu" and any(module.fp16_enabled for module in half_modules(model))
    return read_tf32(device, activations=HALF if half else FLOAT32)


def half_modules(model: Any) -> List[Any]:
    """Return the modules that run a method in half precision at inference once `fp16_enabled` is set on them."""
    marked = _marked_code()
    return [module for module in model.modules() if hasattr(module, "fp16_enabled") and _has(type(module), marked)]


def keep_positions_single(model: Any) -> int:
    """Keep the positions of BEV encoders in single precision. Returns how many encoders there are.

    `BEVFormerEncoder.forward` of MapTR and VAD is marked `auto_fp16()`, which casts its queries, and it makes its
    reference points in the queries' type: in half precision they are rounded before they are projected into the
    pictures. Here they are always float32. What follows from them is then single by itself, because the projection and
    the rounding to whole pixels take their type from them.
    """
    found = 0
    for module in model.modules():
        if hasattr(module, "get_reference_points") and hasattr(module, "point_sampling"):
            module.get_reference_points = _in_single(module.get_reference_points)
            found += 1
    return found


def _in_single(make_points: Any) -> Any:
    def make(*arguments: Any, **keywords: Any) -> Any:
        return make_points(*arguments, **{**keywords, "dtype": load_library("torch").float32})

    return make


def _marked_code() -> Any:
    """Return the code that every method under mmcv's `auto_fp16` runs: one constant, whatever it wraps."""

    def plain() -> None:
        """Nothing: only its wrapper is looked at."""

    return load_library("mmcv.runner").auto_fp16()(plain).__code__


def _has(kind: type, marked: Any) -> bool:
    attributes = {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()}
    return any(
        getattr(value, "__code__", None) is marked and not name.endswith(TRAINING_ONLY)
        for name, value in attributes.items()
    )
