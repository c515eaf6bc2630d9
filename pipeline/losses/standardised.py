"""Standardised logits (Sun et al. 2024, "Logit standardization in knowledge distillation")."""

import torch

from stillroom.losses._common import Terms, divergence, precise, with_labels

NEEDS = ("logits",)


def standardised(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    *,
    alpha: float = 0.9,
    temperature: float = 2.0,
    weight: float = 10.0,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """alpha * weight * T^2 * KL(softmax(z(teacher) / T) || softmax(z(logits) / T)) + (1 - alpha) *
    cross-entropy, where z takes each row's mean away and divides by its standard deviation.

    So the student need not match the teacher's range. At alpha 0.9 and weight 10 the two parts weigh 9 and
    0.1, as in the paper.

    Args:
        logits: float [B, C], the student's, raw; C at least 2.
        labels: int64 [B], in [0, C), or float [B, C] of mixed views (rows sum to 1).
        teacher: float [B, C], the teacher's raw logits for the same views.
        alpha: weight of the teacher, in [0, 1].
        temperature: the base temperature T > 0.
        weight: of the divergence, at least 0.
        label_smoothing: of the cross-entropy, in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `teacher` and `labels`, scalars of at least float32, in nats: the mean over the batch.
    """
    logits, teacher = precise(logits), precise(teacher)
    taught = weight * divergence(_standard(logits), _standard(teacher), temperature)
    return with_labels(taught, logits, labels, alpha, label_smoothing, class_weights)


def _standard(logits: torch.Tensor) -> torch.Tensor:
    """z-scores of each row, with the official code's 1e-7 beside the standard deviation (of a sample)."""
    centred = logits - logits.mean(dim=1, keepdim=True)
    variance = centred.square().sum(dim=1, keepdim=True) / (logits.shape[1] - 1)
    # under the root as well: its gradient at zero is infinite
    return centred / ((variance + 1e-14).sqrt() + 1e-7)
