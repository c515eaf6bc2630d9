"""Structural knowledge distillation (Bian, Feng, Wan, Wang 2021, "Structural knowledge distillation for
efficient skeleton-based action recognition", IEEE TIP): logits and graphs, with revised gradients.
"""

from collections.abc import Mapping
from typing import Literal

import torch

from stillroom.losses._common import Terms, divergence, precise, with_labels
from stillroom.losses._graph import matched

NEEDS = ("logits", "features")
TASK = "labels"  # the term that the others' gradients must not oppose


def skd(
    student: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
    teacher: Mapping[str, torch.Tensor],
    *,
    alpha: float = 0.5,
    temperature: float = 4.0,
    nodes: float = 0.01,
    edges: float = 3.0,
    revise: Literal["sum", "each", "none"] = "sum",
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """alpha * (T^2 * KL(teacher || student) + nodes * node distance + edges * edge distance) + (1 - alpha) *
    cross-entropy: the losses `kd` and `gm` together.

    From the gradient of what the teacher says, the loop takes the part that opposes the gradient of the
    cross-entropy (`revise`; `stillroom.training.gradients`). What is left does not depend on the size of that
    one, so `alpha` weighs as it does elsewhere. The paper's sum has T = 1, equal weights, and is twice that
    at alpha 0.5.

    Args:
        student: `logits` float [B, C], raw, and `features`, as of `gm`.
        labels: int64 [B], in [0, C), -1: none; or float [B, C] of mixed views (rows sum to 1).
        teacher: `logits` float [B, C], raw, and `features`, as of `gm`.
        alpha: weight of the teacher, in [0, 1].
        temperature: T > 0.
        nodes, edges: weights of the two distances, at least 0; with 0, there is no such term.
        revise: what is held against the cross-entropy's gradient: `each` term's by itself, the paper's, one
            more backward pass a term; the `sum` of them, two passes in all; or `none`, one pass. It says how
            terms are put together and changes none of them.
        label_smoothing: of the cross-entropy, in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `teacher`, `nodes`, `edges` and `labels`, scalars of at least float32: the mean over the
        batch.

    Raises:
        ParamsError: the features are of no nodes, or the two not of the same.
    """
    logits = precise(student["logits"])
    taught = divergence(logits, precise(teacher["logits"]), temperature)
    graphs = matched(student["features"], teacher["features"], nodes, edges, alpha)
    return {**graphs, **with_labels(taught, logits, labels, alpha, label_smoothing, class_weights)}
