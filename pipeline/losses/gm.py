"""Graph matching (Bian, Feng, Wan, Wang 2021, "Structural knowledge distillation for efficient
skeleton-based action recognition", IEEE TIP).
"""

from collections.abc import Mapping

import torch

from stillroom.losses._common import Terms, cross_entropy, precise
from stillroom.losses._graph import matched

NEEDS = ("features",)


def gm(
    student: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
    teacher: Mapping[str, torch.Tensor],
    *,
    alpha: float = 0.5,
    nodes: float = 0.01,
    edges: float = 3.0,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Terms:
    """alpha * (nodes * node distance + edges * edge distance) + (1 - alpha) * cross-entropy.

    Node distance: the mean squared difference of the nodes' features. Where the teacher has C_t channels and
    the student C_s, the teacher's are brought to C_s by a fixed matrix whose columns are orthonormal. The
    paper learns a 1 x 1 convolution of the student's features there; a fixed one suffices, since the layers
    before it are learned, and it can neither shrink nor be thrown away (`losses._graph.projection`).
    Edge distance: Euclidean distances between all nodes of a sample, each graph's over its own mean, compared
    by smooth L1 (Park et al. 2019, RKD's distance loss). It is a hundredth of the node distance or so; the
    paper's weights are equal, and with them the nodes drowned all else where it was tried
    (docs/skeletons.md), hence these defaults.

    Args:
        student: `logits` float [B, C], raw, and `features` (see `teacher`).
        labels: int64 [B], in [0, C), -1: none; or float [B, C] of mixed views (rows sum to 1).
        teacher: `features` float [B, C', J], of J nodes, or [B, C', T', J], of J nodes at T' times: each is a
            node then; the student's are of the same nodes, C' may differ. Or float [B, E], the distances
            between nodes: then there is no node distance. A sample whose are all 0 is absent and adds
            nothing.
        alpha: weight of the teacher, in [0, 1].
        nodes, edges: weights of the two distances, at least 0; with 0, there is no such term.
        label_smoothing: of the cross-entropy, in [0, 1].
        class_weights: float [C], of the cross-entropy with the labels; None: all weigh 1.

    Returns:
        the terms `nodes`, `edges` and `labels`, scalars of at least float32: the mean over the batch.

    Raises:
        ParamsError: the features are of no nodes, or the two not of the same.
    """
    terms = matched(student["features"], teacher["features"], nodes, edges, alpha)
    return {
        **terms,
        "labels": (1 - alpha)
        * cross_entropy(precise(student["logits"]), labels, label_smoothing, class_weights),
    }
