"""Decoupled knowledge distillation (Zhao et al. 2022, "Decoupled knowledge distillation")."""

import torch
from torch.nn import functional as F

from stillroom.losses._common import Terms, precise, with_labels

NEEDS = ("logits",)


def dkd(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    *,
    alpha: float = 0.5,
    temperature: float = 4.0,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """alpha * T^2 * (target_weight * TCKD + other_weight * NCKD) + (1 - alpha) * cross-entropy.

    TCKD is the divergence of the two masses "target" and "all others", NCKD that of the softmax over the
    others. The paper's alpha and beta are `target_weight` and `other_weight`; at alpha 0.5 this is half its
    loss. Of a mixed view the target is every class with a share in it; a view without a label has none, and
    all classes are the others.

    Args:
        logits: float [B, C], the student's, raw; C at least 2.
        labels: int64 [B], in [0, C), or float [B, C] of mixed views (rows sum to 1).
        teacher: float [B, C], the teacher's raw logits for the same views.
        alpha: weight of the teacher, in [0, 1].
        temperature: T > 0.
        target_weight, other_weight: of the two divergences, at least 0.
        label_smoothing: of the cross-entropy, in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `teacher` and `labels`, scalars of at least float32, in nats: the mean over the batch.
    """
    logits, teacher = precise(logits), precise(teacher)
    classes = torch.arange(logits.shape[1], device=labels.device)
    inside = labels[:, None] == classes if labels.dim() == 1 else labels > 0
    student_masses, student_others = _decoupled(logits / temperature, inside)
    teacher_masses, teacher_others = _decoupled(teacher / temperature, inside)
    target = _divergence(student_masses, teacher_masses)
    other = _divergence(student_others, teacher_others)
    taught = temperature**2 * (target_weight * target + other_weight * other)
    return with_labels(taught, logits, labels, alpha, label_smoothing, class_weights)


def _decoupled(logits: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log masses of target and others, [B, 2], and log softmax over the others, [B, C], 0 in the target."""
    low = torch.finfo(logits.dtype).min / 4  # takes no part in a sum of exponentials, and stays finite
    of_target = torch.logsumexp(logits.masked_fill(~inside, low), dim=1)
    of_others = torch.logsumexp(logits.masked_fill(inside, low), dim=1)
    masses = F.log_softmax(torch.stack([of_target, of_others], dim=1), dim=1)
    return masses, F.log_softmax(logits.masked_fill(inside, low), dim=1).masked_fill(inside, 0.0)


def _divergence(student_log: torch.Tensor, teacher_log: torch.Tensor) -> torch.Tensor:
    """KL(teacher || student) of log probabilities, mean over the rows; where both are 0 nothing is added."""
    return F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)
