"""Hints (Romero, Ballas, Kahou, Chassang, Gatta, Bengio 2015, "FitNets: hints for thin deep nets"): the
student's features, through a learned map, are to be the teacher's.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from stillroom.draw import uniforms
from stillroom.losses._common import Terms
from stillroom.losses._features import beside_features, both, same_places, there

NEEDS = ("logits", "features")
TASK = "labels"  # the term that the others' gradients must not oppose
LAYER = "pooled"  # of the student


def fitnet(
    student: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
    teacher: Mapping[str, torch.Tensor],
    *,
    alpha: float = 0.5,
    weight: float = 1.0,
    kd: float = 0.0,
    temperature: float = 4.0,
    revise: Literal["sum", "each", "none"] = "none",
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """alpha * (weight * hint + kd * T^2 * KL(teacher || student)) + (1 - alpha) * cross-entropy.

    Hint: the mean over samples, channels and places of (r(student's features) - teacher's features)^2, where
    r is `learned`: the paper's equation 3 with a regressor of one place (1 x 1) and a mean for its half of a
    sum. The paper trains by the hint first and by labels and logits (its equation 2) after it; here all are
    one sum, as in later comparisons (Tian, Krishnan, Isola 2020, "Contrastive representation distillation").
    Maps of other heights and widths are averaged down to the smaller of both (`same_places`).

    Args:
        student: `logits` float [B, C], raw, and `features`: what `learned` makes of the student's own, float
            [B, C'], [B, C', N] or [B, C', H, W].
        labels: int64 [B], in [0, C), -1: none; or float [B, C] of mixed views (rows sum to 1).
        teacher: `logits` float [B, C], raw, and `features` of the same C'. A sample whose are all 0 is absent
            and adds nothing.
        alpha: weight of the teacher, in [0, 1].
        weight, kd: of the hint and of the logits, at least 0; with 0, there is no such term.
        temperature: T > 0, of the logits.
        revise: what is held against the cross-entropy's gradient: `each` term's by itself, the `sum` of them,
            or `none`.
        label_smoothing: of the cross-entropy, in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `hint`, `teacher` and `labels`, scalars of at least float32: the mean over the batch.

    Raises:
        ParamsError: the two have no places in common.
    """
    own, other = both(student, teacher)
    terms = {}
    if weight:
        apart = F.mse_loss(*same_places(own, other), reduction="none").mean(dim=(1, 2))
        terms["hint"] = alpha * weight * (apart * there(other)).mean()
    return beside_features(
        terms, student, labels, teacher, alpha, kd, temperature, label_smoothing, class_weights
    )


class Projection(nn.Module):
    """A linear map of channels, the same at each place: [B, C, ...] to [B, C', ...].

    Its fresh weights are uniform within 1 / sqrt(C), as torch's of a linear layer, and a function of the seed
    and the two widths alone: torch's generator is not touched, so the student's own are what they would be
    without it.
    """

    def __init__(self, width: int, to: int, seed: int) -> None:
        super().__init__()
        drawn = 2 * uniforms(seed, "projection of fitnet", width << 20 | to, (width + 1) * to) - 1
        values = torch.tensor(drawn * width**-0.5, dtype=torch.float32)
        self.weight = nn.Parameter(values[: width * to].reshape(to, width))
        self.bias = nn.Parameter(values[width * to :])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """float [B, C, ...] to [B, C', ...]."""
        return F.linear(features.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)


def learned(student: Sequence[int], teacher: Sequence[int], seed: int) -> Projection:
    """r: what is trained beside the student, and brings its features to the teacher's width.

    Args:
        student, teacher: the shapes of a sample's features, [C, ...] and [C', ...].
    """
    return Projection(student[0], teacher[0], seed)
