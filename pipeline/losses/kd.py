"""Knowledge distillation (Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network")."""

import torch

from stillroom.losses._common import Terms, divergence, precise, with_labels

NEEDS = ("logits",)


def kd(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    *,
    alpha: float = 0.6,
    temperature: float = 4.0,
    label_smoothing: float = 0.0,
) -> Terms:
    """alpha * T^2 * KL(softmax(teacher / T) || softmax(logits / T)) + (1 - alpha) * cross-entropy.

    Args:
        logits: float [B, C], the student's, raw.
        labels: int64 [B], in [0, C), or float [B, C] of mixed views (rows sum to 1).
        teacher: float [B, C], the teacher's raw logits for the same views.
        alpha: weight of the teacher, in [0, 1].
        temperature: T > 0.
        label_smoothing: of the cross-entropy, in [0, 1].

    Returns:
        the terms `teacher` and `labels`, scalars of at least float32, in nats: the mean over the batch.
    """
    logits, teacher = precise(logits), precise(teacher)
    return with_labels(divergence(logits, teacher, temperature), logits, labels, alpha, label_smoothing)
