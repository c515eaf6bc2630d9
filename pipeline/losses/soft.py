"""The teacher alone (Beyer et al. 2022, "Knowledge distillation: a good teacher is patient and
consistent").
"""

import torch

from stillroom.losses._common import Terms, divergence, precise

NEEDS = ("logits",)


def soft(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    *,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """T^2 * KL(softmax(teacher / T) || softmax(logits / T)); no label is looked at.

    Args:
        logits: float [B, C], the student's, raw.
        labels, label_smoothing, class_weights: not used.
        teacher: float [B, C], the teacher's raw logits for the same views.
        temperature: T > 0; the paper's is 1 on ImageNet.

    Returns:
        the terms `teacher`, scalars of at least float32, in nats: the mean over the batch.
    """
    return {"teacher": divergence(precise(logits), precise(teacher), temperature)}
