"""Relational knowledge distillation (Park, Kim, Lu, Cho 2019, "Relational knowledge distillation"): how the
samples of a batch lie to each other.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch.nn import functional as F

from stillroom.losses._common import Terms
from stillroom.losses._features import beside_features, both
from stillroom.losses._graph import LEAST, edge_distance

NEEDS = ("logits", "features")
TASK = "labels"  # the term that the others' gradients must not oppose
LAYER = "pooled"  # of the student


def rkd(
    student: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
    teacher: Mapping[str, torch.Tensor],
    *,
    alpha: float = 0.5,
    distances: float = 25.0,
    angles: float = 50.0,
    kd: float = 0.0,
    temperature: float = 4.0,
    revise: Literal["sum", "each", "none"] = "none",
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """alpha * (distances * D + angles * A + kd * T^2 * KL(teacher || student)) + (1 - alpha) * cross-entropy.

    D: the mean over pairs of different samples of l(psi_t, psi_s), where psi is their Euclidean distance over
    the mean of all pairs' (the paper's equations 4 to 7). A: the mean over triples of different samples i, j,
    k of l of the two cosines of the angle at j (its equations 8 and 9). l is Huber's: x^2 / 2 below 1, else
    |x| - 1/2. The weights are the paper's for classification. Features of any shape are a vector of a sample
    here, and the two networks' may be of any lengths.

    The samples are those of a batch, of all processes; where `accumulate` cuts it, those of each part. B of
    them take a few times 4 B^3 bytes for their angles: 256 about half a gigabyte.

    Args:
        student: `logits` float [B, C], raw, and `features` float [B, ...].
        labels: int64 [B], in [0, C), -1: none; or float [B, C] of mixed views (rows sum to 1).
        teacher: `logits` float [B, C], raw, and `features` float [B, ...].
        alpha: weight of the teacher, in [0, 1].
        distances, angles, kd: of the three terms, at least 0; with 0, there is no such term.
        temperature: T > 0, of the logits.
        revise: what is held against the cross-entropy's gradient: `each` term's by itself, the `sum` of them,
            or `none`.
        label_smoothing: of the cross-entropy, in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `distances`, `angles`, `teacher` and `labels`, scalars of at least float32. Of fewer than
        two samples the distances are 0, of fewer than three the angles.
    """
    own, other = (one.flatten(1) for one in both(student, teacher))
    terms = {}
    if distances:
        # nodes of one graph, whose edges are compared
        apart = edge_distance(own.T[None], other.T[None]) if len(own) > 1 else 0 * own.sum()
        terms["distances"] = alpha * distances * apart.mean()
    if angles:
        terms["angles"] = alpha * angles * angle_distance(own, other)
    return beside_features(
        terms, student, labels, teacher, alpha, kd, temperature, label_smoothing, class_weights
    )


def angle_distance(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The mean smooth L1 distance of the angles between the samples: A of `rkd`, scalar.

    Args:
        student, teacher: float [B, D]; D may differ.
    """
    apart = F.smooth_l1_loss(cosines(student), cosines(teacher), reduction="none")
    count = len(student)
    other = ~torch.eye(count, dtype=torch.bool, device=student.device)
    different = other[:, :, None] & other[:, None, :] & other[None]  # [j, i, k]
    return (apart * different).sum() / max(1, count * (count - 1) * (count - 2))


def cosines(samples: torch.Tensor) -> torch.Tensor:
    """The cosine of the angle at j between i and k, float [B, B, B] by j, i, k; where two of them are one
    sample it says nothing.

    By products of the samples, as `_graph.distances`: [B, B, D] of differences would take more memory.

    Args:
        samples: float [B, D].
    """
    samples = samples - samples.mean(dim=0)
    products = samples @ samples.T
    sizes = products.diagonal()
    squared = sizes[:, None] + sizes[None] - 2 * products
    blur = 8 * torch.finfo(samples.dtype).eps * sizes.detach().mean()  # what is below it is rounding
    lengths = (squared.clamp(min=0) + blur + LEAST).sqrt()
    along = products[None] - products[:, :, None] - products[:, None, :] + sizes[:, None, None]
    return along / (lengths[:, :, None] * lengths[:, None, :])
