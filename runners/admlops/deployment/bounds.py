"""How far an engine may be from PyTorch and still count as right, by the arithmetic of its file."""

from __future__ import annotations

from dataclasses import dataclass

from admlops.worker.network import PIXELS
from admlops.worker.rows import REACH

FP32, FP16, INT8 = "fp32", "fp16", "int8"
SCORE_TIE = 2e-4
"""How near the last kept score an output may appear or vanish: rounding errors flip top-k there."""


SHARE = REACH
"""The bound of pixels, over their range: a seventh of a pixel of 1333; defects begin at half a pixel."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The bounds of one arithmetic; None where there is no bound.

    Attributes:
        tensor: the largest |difference| of a tensor; for pixels, SHARE of their range if that is more.
        tensor_p999: the 99.9th percentile of |differences|, over the tensor's range.
        unpaired: the share of rows of a set that may lack a counterpart: rounding errors flip suppression.
        module: the difference that bisecting still takes for equal, over a module's largest output.
        decoded: whether decoded outputs are checked against `centre_m` and the like.
        metric: the largest |difference| of a headline metric.
        needs_metrics: whether the metrics alone decide: then an engine without them is not verified.
    """

    tensor: float | None
    tensor_p999: float | None
    module: float
    decoded: bool
    metric: float
    needs_metrics: bool
    unpaired: float | None = None
    centre_m: float = 0.01
    size_m: float = 0.01
    yaw_rad: float = 0.01
    velocity_m_s: float = 0.01
    score: float = 1e-3
    iou: float = 0.99

    def tensor_bound(self, span: float, unit: str = "") -> float | None:
        """Return the largest |difference| of a tensor of `unit` whose values range over `span`; None: no bound."""
        return self.tensor if self.tensor is None or unit != PIXELS else max(self.tensor, SHARE * span)


_BOUNDS = {
    FP32: Bounds(
        tensor=1e-3, tensor_p999=None, module=1e-3, decoded=True, metric=0.001, needs_metrics=False, unpaired=0.01
    ),
    FP16: Bounds(tensor=None, tensor_p999=5e-2, module=5e-2, decoded=False, metric=0.002, needs_metrics=True),
    INT8: Bounds(tensor=None, tensor_p999=None, module=0.2, decoded=False, metric=0.005, needs_metrics=True),
}


def bounds_of(precision: str) -> Bounds:
    """Return the bounds of `fp32`, `fp16` or `int8`; those of `fp32` for the other names of float32 files."""
    return _BOUNDS.get(precision, _BOUNDS[FP32])
