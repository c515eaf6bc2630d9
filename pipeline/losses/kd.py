"""Knowledge distillation (Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network")."""

import torch
from torch.nn import functional as F

from stillroom.losses._common import Terms, divergence, labelled, precise, with_labels

NEEDS = ("logits",)
LEAST = 0.01  # teacher's probability that the correction divides by at least, as the paper's authors do


def kd(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    *,
    alpha: float = 0.6,
    temperature: float = 4.0,
    correction: float = 0.0,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """alpha * T^2 * KL(softmax(teacher / T) || softmax(logits / T)) + (1 - alpha) * cross-entropy.

    With `correction`, the divergence is corrected for what the label says of the teacher's error, to first
    order (see `first_order`).

    Args:
        logits: float [B, C], the student's, raw.
        labels: int64 [B], in [0, C), or float [B, C] of mixed views (rows sum to 1).
        teacher: float [B, C], the teacher's raw logits for the same views.
        alpha: weight of the teacher, in [0, 1].
        temperature: T > 0.
        correction: weight of the loss correction, in [0, 1]; 0: none, 1: the paper's.
        label_smoothing: of the cross-entropy, in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `teacher` and `labels`, scalars of at least float32, in nats: the mean over the batch.
    """
    logits, teacher = precise(logits), precise(teacher)
    taught = divergence(logits, teacher, temperature)
    if correction:
        taught = taught + correction * temperature**2 * first_order(logits, labels, teacher, temperature)
    return with_labels(taught, logits, labels, alpha, label_smoothing, class_weights)


def first_order(
    logits: torch.Tensor, labels: torch.Tensor, teacher: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The loss correction of Dao, Kamath, Syrgkanis, Mackey, "Knowledge Distillation as Semiparametric
    Inference" (ICLR 2021): <y - p, gradient of the cross-entropy with the softened teacher by p>, where p are
    the teacher's probabilities. To first order the loss is then what it were with the true ones: a bias of
    the teacher, as of one that underfits, counts only squared.

    With w = softmax(teacher / T) and q = softmax(logits / T): the sum over classes j of
    (y_j / p_j - 1) * w_j / T * (sum_k w_k log q_k - log q_j); p_j is taken as `LEAST` at least.

    Args:
        logits, teacher: float [B, C], raw.
        labels: int64 [B], or float [B, C] of mixed views; without a label there is nothing to correct.
        temperature: T > 0.

    Returns:
        the mean over the batch, in nats; of either sign.
    """
    right = (
        labels if labels.dim() > 1 else labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    )
    given = F.softmax(teacher, dim=1).clamp(min=LEAST)
    softened = F.softmax(teacher / temperature, dim=1)
    surprise = -F.log_softmax(logits / temperature, dim=1)
    apart = surprise - (softened * surprise).sum(dim=1, keepdim=True)
    error = right.to(logits.dtype) / given - labelled(labels).to(logits.dtype)[:, None]
    return (error * softened * apart).sum(dim=1).mean() / temperature
