"""Losses by which a student learns from a teacher's outputs. They take PyTorch's tensors and need nothing else.

Sources:
    G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531, section 2.
    X. Li et al., Generalized Focal Loss, NeurIPS 2020, arXiv:2006.04388, equation 5.
    Z. Zheng et al., Localization Distillation for Dense Object Detection, CVPR 2022, arXiv:2102.12252, section 3.2.
"""

from typing import Any, Dict, NamedTuple, Optional, Tuple

from .torch_state import load_torch


class Distillation(NamedTuple):
    """How a student learns: from a teacher's file of weights, at a temperature, and for which share from it."""

    teacher: str
    temperature: float
    soft_share: float


def soft_loss(student: Any, teacher: Any, temperature: float, weights: Optional[Any] = None) -> Any:
    """Return T² · KL(softmax(teacher / T) || softmax(student / T)), averaged over rows.

    T² keeps the size of the gradients, which a temperature makes 1/T² times as large (Hinton et al., section 2.1).

    Args:
        student, teacher: logits (N, classes).
        weights: (N,), how much each row counts; all alike without them. Their sum may be 0, then the loss is 0.
    """
    functional, torch = load_torch().nn.functional, load_torch()
    wanted = functional.log_softmax(teacher / temperature, dim=-1)
    given = functional.log_softmax(student / temperature, dim=-1)
    rows = temperature**2 * (torch.exp(wanted) * (wanted - given)).sum(-1)
    if weights is None:
        return rows.mean()
    return (rows * weights).sum() / weights.sum().clip(min=1e-12)


def distillation_loss(student: Any, teacher: Any, labels: Any, how: Distillation) -> Tuple[Any, Dict[str, Any]]:
    """Return the loss of a classifier, and its parts: L = (1 - a) · CE(student, labels) + a · soft_loss.

    Hinton et al. give the hard labels a considerably lower weight: `a`, the soft share, is near 1.

    Args:
        student, teacher: logits (N, classes).
        labels: (N,) int64.
    """
    hard = load_torch().nn.functional.cross_entropy(student, labels)
    soft = soft_loss(student, teacher, how.temperature)
    return (1 - how.soft_share) * hard + how.soft_share * soft, {"hard": hard, "soft": soft}


def quality_focal_loss(student: Any, wanted: Any, *, beta: float = 2.0) -> Any:
    """Return the sum of |y - s|^beta · BCE(s, y), s = sigmoid(student): Li et al.'s loss, with a teacher's scores as y.

    Args:
        student: logits of scores that are independent of each other, such as a detector's.
        wanted: the teacher's scores, 0 to 1, of the same shape.
    """
    functional, torch = load_torch().nn.functional, load_torch()
    distance = abs(wanted - torch.sigmoid(student)) ** beta
    return (distance * functional.binary_cross_entropy_with_logits(student, wanted, reduction="none")).sum()
