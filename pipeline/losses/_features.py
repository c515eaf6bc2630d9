"""What the losses of features share: which are compared place by place, and what stands beside them."""

import math
from collections.abc import Mapping

import torch
from torch.nn import functional as F

from stillroom.errors import ParamsError
from stillroom.losses._common import Terms, cross_entropy, divergence, precise, with_labels


def both(
    student: Mapping[str, torch.Tensor], teacher: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `features` of the two, of at least float32 and one dtype; the teacher's without a gradient."""
    own = precise(student["features"])
    return own, precise(teacher["features"].detach()).to(own.dtype)


def there(teacher: torch.Tensor) -> torch.Tensor:
    """1 for each sample that a teacher saw, else 0: all of its features are 0. [B], of their dtype."""
    return teacher.flatten(1).ne(0).any(dim=1).to(teacher.dtype)


def same_places(student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of the same places, float [B, C, P] each; C may differ.

    Where the places are others, both are taken as maps, and each is averaged over the places of a grid of the
    smaller height and the smaller width (`adaptive_avg_pool2d`). Tokens [B, C, N] are the last H x H of them
    then, since those of classes come first.

    Args:
        student, teacher: float [B, C], or [B, C, N], or [B, C, H, W].

    Raises:
        ParamsError: one has places, the other none.
    """
    if student.shape[2:] == teacher.shape[2:]:
        return student.unsqueeze(-1).flatten(2), teacher.unsqueeze(-1).flatten(2)
    own, other = _map(student), _map(teacher)
    if own is None or other is None:
        raise ParamsError(
            f"the teacher's features {list(teacher.shape[1:])} and the student's {list(student.shape[1:])} "
            "of a sample have no places in common",
            "one of them is a vector [C], or has more axes than [C, H, W]",
            "take a layer of the same kind: student.losses.NAME.layer of the student, and cache.teachers of "
            "the teacher, then run `stillroom cache`",
        )
    size = min(own.shape[2], other.shape[2]), min(own.shape[3], other.shape[3])
    return F.adaptive_avg_pool2d(own, size).flatten(2), F.adaptive_avg_pool2d(other, size).flatten(2)


def _map(features: torch.Tensor) -> torch.Tensor | None:
    """As [B, C, H, W]; None where there is no such."""
    if features.dim() == 3:
        side = math.isqrt(features.shape[2])
        return features[:, :, features.shape[2] - side**2 :].reshape(*features.shape[:2], side, side)
    return features if features.dim() == 4 else None


def beside_features(
    terms: Terms,
    student: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
    teacher: Mapping[str, torch.Tensor],
    alpha: float,
    kd: float,
    temperature: float,
    label_smoothing: float,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """The terms of features, `teacher`: alpha * kd * T^2 * KL(teacher || student), which is left out where
    `kd` is 0, and `labels`: (1 - alpha) * cross-entropy with the labels.

    Args:
        terms: of the features, with their weights.
        student, teacher: `logits` float [B, C], raw; the teacher's may be lacking where `kd` is 0.
        labels: int64 [B], in [0, C), -1: none; or float [B, C] of mixed views.
    """
    logits = precise(student["logits"])
    if not kd:
        return {
            **terms,
            "labels": (1 - alpha) * cross_entropy(logits, labels, label_smoothing, class_weights),
        }
    taught = kd * divergence(logits, precise(teacher["logits"]), temperature)
    return {**terms, **with_labels(taught, logits, labels, alpha, label_smoothing, class_weights)}
