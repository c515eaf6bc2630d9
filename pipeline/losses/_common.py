"""What the losses share: precision, the divergence of softened logits, and the labels' part."""

import torch
from torch.nn import functional as F

Terms = dict[str, torch.Tensor]  # name -> scalar; their sum is what training makes small


def precise(values: torch.Tensor) -> torch.Tensor:
    """At least float32: autocast hands over bfloat16."""
    return values if values.dtype == torch.float64 else values.float()


def divergence(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(logits / T)), mean over the batch, in nats; in log space.

    T^2 keeps the gradient at one scale whatever the temperature (Hinton, Vinyals, Dean 2015, section 2).

    Args:
        logits, teacher: float [B, C], raw.
        temperature: T > 0.
    """
    student_log = F.log_softmax(logits / temperature, dim=1)
    teacher_log = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)


def with_labels(
    taught: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, alpha: float, label_smoothing: float
) -> Terms:
    """`teacher`: alpha * taught, and `labels`: (1 - alpha) * cross-entropy with the labels.

    Args:
        taught: the teacher's part, scalar.
        logits: float [B, C].
        labels: int64 [B], or float [B, C] of mixed views (rows sum to 1).
        alpha: weight of the teacher, in [0, 1].
        label_smoothing: of the cross-entropy (Szegedy et al. 2016), in [0, 1].
    """
    labels = labels if labels.dim() == 1 else labels.to(logits.dtype)
    hard = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return {"teacher": alpha * taught, "labels": (1 - alpha) * hard}
