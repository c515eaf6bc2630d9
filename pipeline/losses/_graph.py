"""Features as graphs: what their nodes hold, and how far these lie apart."""

from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional as F

from stillroom.draw import uniforms
from stillroom.errors import ParamsError
from stillroom.losses._common import Terms, precise
from stillroom.losses._features import there

LEAST = 1e-12  # added to a squared distance: nodes that coincide have a finite gradient


def matched(
    student: torch.Tensor, teacher: torch.Tensor, nodes: float, edges: float, alpha: float = 1.0
) -> Terms:
    """How far a student's graphs are from its teacher's: the terms `nodes` and `edges`, each times `alpha`.

    `nodes` is the mean squared difference of the nodes' features (see `node_distance`), `edges` the mean
    smooth L1 distance of the distances between them (see `edge_distance`). A term of weight 0 is left out,
    and so are nodes where distances alone were kept. Both are means over all B samples, to which those that
    are absent (all of the teacher's features are 0) add nothing.

    Args:
        student, teacher: float [B, C, J] or [B, C, T', J], features of J nodes, or of J at T' times: then a
            node is one of them at one time; or [B, E], the E = N (N - 1) / 2 distances between N nodes. C may
            differ between the two.
        nodes, edges: the weights of the two, at least 0.

    Raises:
        ParamsError: the features are of no nodes, or of other nodes than the other's.
    """
    _check(student, teacher)
    student = precise(student)
    teacher = precise(teacher.detach()).to(student.dtype)
    seen = there(teacher)
    terms = {}
    if nodes and student.dim() > 2:
        terms["nodes"] = alpha * nodes * (node_distance(student, teacher) * seen).mean()
    if edges:
        terms["edges"] = alpha * edges * (edge_distance(student, teacher) * seen).mean()
    if nodes and not terms:
        raise ParamsError(
            "graph matching has nothing to match",
            f"the features are distances alone, and the weights are nodes = {nodes}, edges = {edges}",
            "raise edges, or take a layer of nodes in cache.teachers, and run `stillroom cache`",
        )
    return terms


def node_distance(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The mean squared difference of the nodes' features, float [B].

    Where the teacher's are wider or narrower, they are brought to the student's width by `projection`.

    Args:
        student, teacher: float [B, C, ...] of the same nodes; C may differ.
    """
    own, other = student.flatten(2), teacher.flatten(2)
    if own.shape[1] != other.shape[1]:
        other = projection(other.shape[1], own.shape[1], own.dtype, own.device) @ other
    return (own - other).square().mean(dim=(1, 2))


def edge_distance(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The mean smooth L1 distance of the graphs' edges, float [B]: RKD's distance loss (Park, Kim, Lu, Cho
    2019, "Relational knowledge distillation", equations 4 to 6) among the nodes of a sample.

    The distances of each graph are taken over their own mean, so neither width nor scale of the features
    counts; nor do a shift and a rotation of them.

    Args:
        student, teacher: as of `matched`.
    """
    own, other = (_relative(one if one.dim() == 2 else distances(one)) for one in (student, teacher))
    return F.smooth_l1_loss(own, other, reduction="none").mean(dim=1)


def distances(features: torch.Tensor) -> torch.Tensor:
    """Euclidean distances between nodes, each pair once: float [B, N (N - 1) / 2], as `torch.triu_indices`.

    By products of the nodes' features, in 4 N^2 bytes a sample (and a few times that for the gradient), not
    N^2 C: 400 nodes take 0.6 MB. Nodes nearer to each other than a thousandth of the mean distance are all
    about that near, in float32.

    Args:
        features: float [B, C, ...], of N nodes.
    """
    nodes = features.flatten(2)
    nodes = nodes - nodes.mean(
        dim=2, keepdim=True
    )  # what is subtracted below is then no larger than it must be
    first, second = _pairs(nodes.shape[2], nodes.device)
    products = nodes.transpose(1, 2) @ nodes
    sizes = products.diagonal(dim1=1, dim2=2)
    squared = sizes[:, first] + sizes[:, second] - 2 * products[:, first, second]
    # below that a difference is rounding, of which the root would make much
    blur = 8 * torch.finfo(nodes.dtype).eps * sizes.detach().mean(dim=1, keepdim=True)
    lengths: torch.Tensor = (squared.clamp(min=0) + blur + LEAST).sqrt()
    return lengths


@lru_cache(maxsize=8)
def projection(width: int, to: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A fixed matrix, [to, width], that brings features of one width to another.

    The columns of its longer side are orthonormal: what is brought to fewer channels keeps its mean square
    on average, and distances between nodes nearly (Johnson, Lindenstrauss 1984); what is brought to more
    keeps them all. It is a function of the two widths alone, from `draw`'s numbers.

    The paper learns a 1 x 1 convolution of the student's features instead. A fixed matrix does as well,
    because the layers before are learned: whatever rotation the convolution would have learned, they can. And
    it cannot shrink to please the loss, needs no place in a checkpoint, and nothing is thrown away when
    training ends.
    """
    longer, shorter = max(width, to), min(width, to)
    drawn = uniforms(0, "projection of features", longer << 20 | shorter, longer * shorter) - 0.5
    columns, triangle = np.linalg.qr(drawn.reshape(longer, shorter))
    columns = columns * np.sign(np.diag(triangle))  # LAPACKs differ in the signs
    return torch.tensor(columns.T if width > to else columns, dtype=dtype, device=device)


def _relative(lengths: torch.Tensor) -> torch.Tensor:
    """Distances over their mean, float [B, E]."""
    return lengths / lengths.mean(dim=1, keepdim=True).clamp(min=LEAST**0.5)


@lru_cache(maxsize=8)
def _pairs(count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = torch.triu_indices(count, count, 1, device=device)
    return first, second


def _check(student: torch.Tensor, teacher: torch.Tensor) -> None:
    """Refuse features that are no graphs, or not of the same nodes."""
    own, other = (tuple(one.shape[1:]) for one in (student, teacher))
    for whose, shape in (("teacher's", other), ("student's", own)):
        if not (_triangular(shape[0]) if len(shape) == 1 else len(shape) in (2, 3) and shape[-1] > 0):
            raise ParamsError(
                f"the {whose} features {list(shape)} of a sample are of no nodes",
                "graph matching takes [C, J], [C, T', J], or the J (J - 1) / 2 distances between J nodes",
                "take another layer in cache.teachers, and run `stillroom cache`",
            )
    if len(own) != len(other) or own[1:] != other[1:] or (len(own) == 1 and own != other):
        raise ParamsError(
            f"the teacher's features {list(other)} and the student's {list(own)} of a sample are not of the "
            "same nodes",
            "graph matching compares them node by node, at the same times; only C may differ",
            "take a student with the joints, the frames and the steps in time of its teacher, or features "
            "without time (take: pooled, or edges) in cache.teachers, and run `stillroom cache`",
        )
    if len(own) > 1 and np.prod(own[1:]) < 2:
        raise ParamsError(
            f"the features {list(own)} of a sample have one node",
            "there is nothing between it and another",
            "take a layer of more nodes in cache.teachers, and run `stillroom cache`",
        )


def _triangular(count: int) -> bool:
    """Whether so many distances lie between some number of nodes."""
    nodes = round((1 + (1 + 8 * count) ** 0.5) / 2)
    return count > 0 and nodes * (nodes - 1) // 2 == count
