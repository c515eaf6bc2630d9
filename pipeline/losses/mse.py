"""Squared difference of the logits (Ba, Caruana 2014; Kim et al. 2021 compare it with the KL divergence)."""

import torch
from torch.nn import functional as F

from stillroom.losses._common import Terms, precise, with_labels

NEEDS = ("logits",)


def mse(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    *,
    alpha: float = 0.5,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """alpha * mean over samples and classes of (logits - teacher)^2 + (1 - alpha) * cross-entropy.

    Args:
        logits: float [B, C], the student's, raw.
        labels: int64 [B], in [0, C), or float [B, C] of mixed views (rows sum to 1).
        teacher: float [B, C], the teacher's raw logits for the same views.
        alpha: weight of the teacher, in [0, 1].
        label_smoothing: of the cross-entropy, in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `teacher` and `labels`, scalars of at least float32.
    """
    logits, teacher = precise(logits), precise(teacher)
    return with_labels(
        F.mse_loss(logits, teacher.to(logits.dtype)), logits, labels, alpha, label_smoothing, class_weights
    )
