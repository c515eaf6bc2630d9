"""The teacher's answer as a label (Touvron et al. 2021, "Training data-efficient image transformers")."""

import torch
from torch.nn import functional as F

from stillroom.losses._common import Terms, precise, with_labels

NEEDS = ("logits",)


def hard(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    *,
    alpha: float = 0.5,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """alpha * cross-entropy with the teacher's likeliest class + (1 - alpha) * cross-entropy with the labels.

    As in the paper (section 4), the teacher's class is not smoothed.

    Args:
        logits: float [B, C], the student's, raw.
        labels: int64 [B], in [0, C), or float [B, C] of mixed views (rows sum to 1).
        teacher: float [B, C], the teacher's raw logits for the same views.
        alpha: weight of the teacher, in [0, 1]; the paper's is 0.5.
        label_smoothing: of the cross-entropy with the labels, in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `teacher` and `labels`, scalars of at least float32, in nats: the mean over the batch.
    """
    logits = precise(logits)
    return with_labels(
        F.cross_entropy(logits, teacher.argmax(dim=1)), logits, labels, alpha, label_smoothing, class_weights
    )
