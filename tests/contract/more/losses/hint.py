"""Learns from the logits, and from the features of a layer: one file."""

import torch
from torch.nn import functional as F

from stillroom.losses._common import Terms, divergence, precise

NEEDS = ("logits", "features")


def hint(
    student: dict[str, torch.Tensor],
    labels: torch.Tensor,
    teacher: dict[str, torch.Tensor],
    *,
    temperature: float = 2.0,
    weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> Terms:
    """KL(teacher || student) of softened logits, and the squared distance of features."""
    near = F.mse_loss(precise(student["features"]), precise(teacher["features"]))
    logits = divergence(precise(student["logits"]), precise(teacher["logits"]), temperature)
    return {"logits": logits, "features": weight * near}
