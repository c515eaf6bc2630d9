"""Attention transfer (Zagoruyko, Komodakis 2017, "Paying more attention to attention"): where a network's
features are strong.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch.nn import functional as F

from stillroom.errors import ParamsError
from stillroom.losses._common import Terms
from stillroom.losses._features import beside_features, both, same_places, there

NEEDS = ("logits", "features")
TASK = "labels"  # the term that the others' gradients must not oppose
LAYER = "last"  # of the student


def at(
    student: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
    teacher: Mapping[str, torch.Tensor],
    *,
    alpha: float = 0.5,
    weight: float = 1000.0,
    kd: float = 0.0,
    temperature: float = 4.0,
    revise: Literal["sum", "each", "none"] = "none",
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """alpha * (weight * attention + kd * T^2 * KL(teacher || student)) + (1 - alpha) * cross-entropy.

    Attention: the mean over samples and places of (Q_s / |Q_s| - Q_t / |Q_t|)^2, where Q is the attention
    map, the sum over channels of the squared features (the paper's F^2_sum), as one vector, and |.| its
    Euclidean length. It is the paper's equation 2 squared, as its authors compute it, with their weight. Maps
    of other heights and widths are averaged down to the smaller of both (`same_places`); widths in channels
    do not matter.

    Args:
        student: `logits` float [B, C], raw, and `features` (see `teacher`).
        labels: int64 [B], in [0, C), -1: none; or float [B, C] of mixed views (rows sum to 1).
        teacher: `logits` float [B, C], raw, and `features` float [B, C', H, W], or tokens [B, C', N]. A
            sample whose are all 0 is absent and adds nothing.
        alpha: weight of the teacher, in [0, 1].
        weight, kd: of the attention and of the logits, at least 0; with 0, there is no such term.
        temperature: T > 0, of the logits.
        revise: what is held against the cross-entropy's gradient: `each` term's by itself, the `sum` of them,
            or `none`.
        label_smoothing: of the cross-entropy, in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `attention`, `teacher` and `labels`, scalars of at least float32: the mean over the batch.

    Raises:
        ParamsError: one of the two has no places.
    """
    own, other = both(student, teacher)
    for whose, features in (("teacher's", other), ("student's", own)):
        if features.dim() < 3:
            raise ParamsError(
                f"the {whose} features {list(features.shape[1:])} of a sample have no places to attend to",
                "attention transfer compares maps [C, H, W] or tokens [C, N]",
                "take a layer with places, as last: student.losses.at.layer of the student, and "
                "cache.teachers of the teacher, then run `stillroom cache`",
            )
    terms = {}
    if weight:
        seen, shown = same_places(*(one.square().mean(dim=1, keepdim=True) for one in (own, other)))
        apart = (F.normalize(seen, dim=2) - F.normalize(shown, dim=2)).square().mean(dim=(1, 2))
        terms["attention"] = alpha * weight * (apart * there(other)).mean()
    return beside_features(
        terms, student, labels, teacher, alpha, kd, temperature, label_smoothing, class_weights
    )
