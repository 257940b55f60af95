"""How far an engine may be from PyTorch, by the arithmetic of its file, and still be called right."""

from __future__ import annotations

from dataclasses import dataclass

FP32, FP16, INT8 = "fp32", "fp16", "int8"
SCORE_TIE = 2e-4
"""How near the last kept score an output may be dropped or taken up: top-k flips there at rounding errors."""


RANGE = 100.0
"""Up to which range of a tensor's values the bound is absolute: those of pixels range further."""
SHARE = 1e-4
"""The bound beyond, over the range. With normalised activations, boxes in 640 pixels were 0.04 apart."""
UNPAIRED = 0.01
"""The share of rows of a set that may lack a counterpart: suppression flips at rounding errors."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The bounds of one arithmetic; None where a step says nothing of it.

    Attributes:
        tensor: the largest |difference| of a tensor, where its range is RANGE or less; a share of its range beyond.
        tensor_p999: the 99.9th percentile of |differences|, over the tensor's range.
        module: what bisecting takes for equal, over a module's largest output.
        decoded: whether decoded outputs are held against `centre_m` and the like.
        metric: the largest |difference| of a headline metric.
        needs_metrics: whether the metrics alone decide: then an engine without them is not verified.
    """

    tensor: float | None
    tensor_p999: float | None
    module: float
    decoded: bool
    metric: float
    needs_metrics: bool
    centre_m: float = 0.01
    size_m: float = 0.01
    yaw_rad: float = 0.01
    velocity_m_s: float = 0.01
    score: float = 1e-3
    iou: float = 0.99

    def tensor_bound(self, span: float) -> float | None:
        """Return the largest |difference| of a tensor whose values range over `span`; None without a bound."""
        return self.tensor if self.tensor is None or span <= RANGE else max(self.tensor, SHARE * span)


_BOUNDS = {
    FP32: Bounds(tensor=1e-3, tensor_p999=None, module=1e-3, decoded=True, metric=0.001, needs_metrics=False),
    FP16: Bounds(tensor=None, tensor_p999=5e-2, module=5e-2, decoded=False, metric=0.002, needs_metrics=True),
    INT8: Bounds(tensor=None, tensor_p999=None, module=0.2, decoded=False, metric=0.005, needs_metrics=True),
}


def bounds_of(precision: str) -> Bounds:
    """Return the bounds of `fp32`, `fp16` or `int8`; float32's for whatever else a float32 file is called."""
    return _BOUNDS.get(precision, _BOUNDS[FP32])
