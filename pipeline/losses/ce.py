"""Cross-entropy with the labels: what a student is trained with when nothing is distilled."""

import torch

from stillroom.losses._common import Terms, cross_entropy, precise

NEEDS = ()


def ce(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """Mean cross-entropy; samples without a label (-1) add nothing to the mean over the batch.

    Args:
        logits: float [B, C], raw.
        labels: int64 [B], in [0, C), or float [B, C] of mixed views (rows sum to 1).
        teacher: not used.
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016), in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `labels`, scalars of at least float32, in nats.
    """
    return {"labels": cross_entropy(precise(logits), labels, label_smoothing, class_weights)}
