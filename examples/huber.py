"""A loss: Huber's distance of the logits. As pipeline/losses/huber.py it is the arm `huber`:
`student.losses: {huber: {delta: 2.0}}` in params.yaml, then `stillroom student --family pvt --arm huber`.
"""

import torch
from torch.nn import functional as F

from stillroom.losses._common import Terms, precise, with_labels

NEEDS = ("logits",)  # outputs of the teacher that it learns from


def huber(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    *,
    alpha: float = 0.5,
    delta: float = 1.0,
    label_smoothing: float = 0.0,
) -> Terms:
    """alpha * mean Huber distance of the logits + (1 - alpha) * cross-entropy.

    What stands behind the star is what `student.losses.huber` may say.

    Args:
        logits: float [B, C], the student's, raw.
        labels: int64 [B], in [0, C), or float [B, C] of mixed views (rows sum to 1).
        teacher: float [B, C], the teacher's raw logits for the same views.
        alpha: weight of the teacher, in [0, 1].
        delta: distance up to which it is the squared one, in logits.
        label_smoothing: of the cross-entropy, in [0, 1].
    """
    logits, teacher = precise(logits), precise(teacher)
    taught = F.huber_loss(logits, teacher.to(logits.dtype), delta=delta)
    return with_labels(taught, logits, labels, alpha, label_smoothing)
