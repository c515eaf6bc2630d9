"""What the losses share: precision, the divergence of softened logits, and the labels' part."""

import math

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


def cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    label_smoothing: float,
    class_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy with the labels, mean over all B samples; a sample without a label adds nothing.

    So it is not the mean over those with a label: one of few would weigh as much as all of a full batch, and
    parts of a batch would not add up to it. Where a tenth of the samples has a label, the term is a tenth
    as large; `alpha` makes up for it. Where all have one, no bit differs from torch's.

    Args:
        logits: float [B, C].
        labels: int64 [B], in [0, C), -1: none; or float [B, C] of mixed views, whose rows sum to 1, or to the
            share of a view that has a label.
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016), in [0, 1].
        class_weights: float [C], what a sample of each class counts; None: 1. The mean stays one over B, and
            is not divided by the weights of a batch, as torch's is: parts of a batch add up.

    Returns:
        scalar, in nats; 0 where no sample has a label.
    """
    if class_weights is not None:
        if labels.dim() == 1:
            labels = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
        weighed = labels.to(logits.dtype) * class_weights.to(logits.dtype)
        spread = weighed.sum(dim=1, keepdim=True) * (label_smoothing / logits.shape[1])
        return F.cross_entropy(logits, weighed * (1 - label_smoothing) + spread)
    if labels.dim() > 1:
        labels = labels.to(logits.dtype)
        if label_smoothing:  # of what has a label: torch would spread it in rows of zeros too
            spread = labelled(labels)[:, None] * (label_smoothing / logits.shape[1])
            labels = labels * (1 - label_smoothing) + spread
        return F.cross_entropy(logits, labels)
    known = labels >= 0
    # without reading what lies on a GPU: a row of zeros costs log C whatever its label, and has no gradient
    shown = torch.where(known[:, None], logits, 0.0)
    value = F.cross_entropy(shown, labels.clamp(min=0), label_smoothing=label_smoothing)
    missing = 1 - known.to(logits.dtype).mean()
    return (value - missing * math.log(logits.shape[1])) * known.any()


def labelled(labels: torch.Tensor) -> torch.Tensor:
    """The share of each view that has a label, in [0, 1], float [B].

    Args:
        labels: as of `cross_entropy`.
    """
    if labels.dim() == 1:
        return (labels >= 0).float()
    share = labels.sum(dim=1)
    return torch.where(share > 1 - 1e-5, 1.0, share)  # two shares of a mixed view, rounded


def with_labels(
    taught: torch.Tensor,
    logits: torch.Tensor,
    labels: torch.Tensor,
    alpha: float,
    label_smoothing: float,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """`teacher`: alpha * taught, and `labels`: (1 - alpha) * cross-entropy with the labels.

    Args:
        taught: the teacher's part, scalar.
        logits: float [B, C].
        labels, label_smoothing, class_weights: as of `cross_entropy`.
        alpha: weight of the teacher, in [0, 1].
    """
    hard = cross_entropy(logits, labels, label_smoothing, class_weights)
    return {"teacher": alpha * taught, "labels": (1 - alpha) * hard}
