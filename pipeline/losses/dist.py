"""DIST (Huang et al. 2022, "Knowledge distillation from a stronger teacher"): correlation, not equality."""

import torch

from stillroom.losses._common import Terms, precise, with_labels

NEEDS = ("logits",)


def dist(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    *,
    alpha: float = 0.5,
    temperature: float = 1.0,
    inter: float = 1.0,
    intra: float = 1.0,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """alpha * T^2 * (inter * between classes + intra * within classes) + (1 - alpha) * cross-entropy.

    Between classes: 1 - Pearson's correlation of teacher and student over the classes, mean over the samples.
    Within classes: the same over the batch, mean over the classes. Both of probabilities softened by T. The
    paper's beta and gamma are `inter` and `intra`; at alpha 0.5 this is half its loss. It looks across the
    batch: a batch of one sample has no part within classes.

    Args:
        logits: float [B, C], the student's, raw; C at least 2.
        labels: int64 [B], in [0, C), or float [B, C] of mixed views (rows sum to 1).
        teacher: float [B, C], the teacher's raw logits for the same views.
        alpha: weight of the teacher, in [0, 1].
        temperature: T > 0.
        inter, intra: of the two correlations, at least 0.
        label_smoothing: of the cross-entropy, in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `teacher` and `labels`, scalars of at least float32: the mean over the batch.
    """
    logits, teacher = precise(logits), precise(teacher)
    student, taught = (torch.softmax(one / temperature, dim=1) for one in (logits, teacher))
    distance = inter * _apart(student, taught)
    if len(logits) > 1:
        distance = distance + intra * _apart(student.T, taught.T)
    return with_labels(temperature**2 * distance, logits, labels, alpha, label_smoothing, class_weights)


def _apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """1 - Pearson's correlation of each row, mean over the rows; 1 for a row that does not vary."""
    one, other = one - one.mean(dim=1, keepdim=True), other - other.mean(dim=1, keepdim=True)
    # the official code's bound, on the product of the norms: no infinite gradient where a row does not vary
    least = 1e-8
    norms = (one.square().sum(dim=1) + least**2).sqrt() * (other.square().sum(dim=1) + least**2).sqrt()
    return (1 - (one * other).sum(dim=1) / norms).mean()
