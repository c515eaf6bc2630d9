"""CTR-GCN (Chen et al., ICCV 2021): edges that each channel refines by what the joints of a clip are like.

Source: "Channel-wise Topology Refinement Graph Convolution for Skeleton-Based Action Recognition", section 3,
and its released code for widths, branches and where batch norm stands.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.models.blocks import Stages, projection
from stillroom.modalities.skeletons.models.graph import spatial

KERNEL, DILATIONS = 5, (1, 2)  # of the convolutions over frames
BRANCHES = len(DILATIONS) + 2  # each gives an equal share of the width
REDUCTION, FEWEST = 8, 8  # channels in which joints are compared: a share of the width, and at least these


class Refinement(nn.Module):
    """One graph convolution whose edges are refined channel by channel, [N, C, T, J] to [N, W, T, J]."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        related = max(FEWEST, inner // REDUCTION)
        self.target, self.source = nn.Conv2d(inner, related, 1), nn.Conv2d(inner, related, 1)
        self.features = nn.Conv2d(inner, width, 1)
        self.relation = nn.Conv2d(related, width, 1)

    def forward(self, x: Tensor, edges: Tensor, alpha: Tensor) -> Tensor:
        """See the class.

        Args:
            edges: [J, J], target and source.
            alpha: [1], how much refinement is added to them.
        """
        target, source = self.target(x).mean(dim=2), self.source(x).mean(dim=2)
        relation = self.relation((target.unsqueeze(-1) - source.unsqueeze(-2)).tanh())
        return torch.einsum("ncuv,nctv->nctu", relation * alpha + edges, self.features(x))


class GraphConvolution(nn.Module):
    """Refined graph convolutions over the parts of a partition, with a residual path."""

    def __init__(self, inner: int, width: int, edges: Tensor) -> None:
        super().__init__()
        self.edges = nn.Parameter(edges.clone())
        self.alpha = nn.Parameter(torch.zeros(1))
        self.parts = nn.ModuleList(Refinement(inner, width) for _ in edges)
        self.norm = nn.BatchNorm2d(width)
        nn.init.constant_(self.norm.weight, 1e-6)  # it starts as its residual path
        self.residual = nn.Identity() if inner == width else projection(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, T, J] to [N, W, T, J]."""
        # `forward` itself: torch's counter of operations asks the graph of a module's arguments; parameters
        # have none where nothing is recorded
        first, *others = (
            part.forward(x, self.edges[place], self.alpha) for place, part in enumerate(self.parts)
        )
        for other in others:
            first = first + other
        return torch.relu(self.norm(first) + self.residual(x))


class Frames(nn.Module):
    """Branches over frames side by side: dilated convolutions, a maximum, and none."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        part = width // BRANCHES

        def narrowed() -> list[nn.Module]:
            return [nn.Conv2d(width, part, 1), nn.BatchNorm2d(part), nn.ReLU()]

        def convolution(dilation: int) -> nn.Module:
            padding = KERNEL // 2 * dilation
            return nn.Conv2d(part, part, (KERNEL, 1), (stride, 1), (padding, 0), (dilation, 1))

        self.branches = nn.ModuleList(
            nn.Sequential(*narrowed(), convolution(dilation), nn.BatchNorm2d(part)) for dilation in DILATIONS
        )
        largest = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(*narrowed(), largest, nn.BatchNorm2d(part)))
        self.branches.append(projection(width, part, stride))

    def forward(self, x: Tensor) -> Tensor:
        """[N, W, T, J] to [N, W, T', J]."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def trunk(
    layout: Layout, channels: int, *, widths: Sequence[int], depths: Sequence[int], drop_path: float
) -> Stages:
    """A trunk of `Classifier`.

    Args:
        channels: of its input.
        widths, depths: of each stage, and how many units it has; the paper: 64, 128, 256, and 4, 3, 3. Widths
            are multiples of `BRANCHES`.
    """
    edges = torch.tensor(spatial(layout).transpose(0, 2, 1).tolist())

    def branch(inner: int, width: int, stride: int) -> nn.Module:
        return nn.Sequential(GraphConvolution(inner, width, edges), Frames(width, stride))

    return Stages(branch, channels, widths, depths, drop_path)
