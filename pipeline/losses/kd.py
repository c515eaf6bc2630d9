"""Knowledge distillation (Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network")."""

import torch
from torch.nn import functional as F


def kd(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    *,
    alpha: float,
    temperature: float,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """alpha * T^2 * KL(softmax(teacher / T) || softmax(logits / T)) + (1 - alpha) * cross-entropy.

    T^2 keeps the gradient of the first part at one scale whatever the temperature. All in log space.

    Args:
        logits: float [B, C], the student's, raw.
        labels: int64 [B], in [0, C).
        teacher: float [B, C], the teacher's raw logits for the same views.
        alpha: weight of the teacher, in [0, 1].
        temperature: T > 0.
        label_smoothing: of the cross-entropy, in [0, 1].

    Returns:
        float scalar, in nats: the mean over the batch.
    """
    student_log = F.log_softmax(logits.float() / temperature, dim=1)
    teacher_log = F.log_softmax(teacher.float() / temperature, dim=1)
    divergence = F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)
    hard = F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    return alpha * temperature**2 * divergence + (1 - alpha) * hard
