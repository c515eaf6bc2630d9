"""ST-GCN (Yan, Xiong, Lin, AAAI 2018): graph convolutions over joints, convolutions over frames."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.models.blocks import Stages
from stillroom.modalities.skeletons.models.graph import spatial


class GraphConvolution(nn.Module):
    """Sum over the parts of a partition of a 1 x 1 convolution and the part's edges, [N, C, T, J] to
    [N, W, T, J].

    The edges' weights are learned: a matrix that starts at zero is added, so that joints far apart may learn
    of each other. (The paper multiplies the weights, which makes no new edges; as many parameters.)
    """

    edges: Tensor

    def __init__(self, inner: int, width: int, edges: Tensor) -> None:
        super().__init__()
        self.register_buffer("edges", edges, persistent=False)
        self.learned = nn.Parameter(torch.zeros_like(edges))
        self.convolution = nn.Conv2d(inner, width * len(edges), 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        edges = self.edges + self.learned
        parts = self.convolution(x).unflatten(1, (len(edges), -1))
        return torch.einsum("nkctv,kvw->nctw", parts, edges)


def trunk(
    layout: Layout,
    channels: int,
    *,
    widths: Sequence[int],
    depths: Sequence[int],
    kernel: int,
    drop_path: float,
) -> Stages:
    """A trunk of `Classifier`.

    Args:
        channels: of its input.
        widths, depths: of each stage, and how many units it has; the paper: 64, 128, 256, and 4, 3, 3.
        kernel: frames that a convolution sees, odd; the paper: 9.
    """
    edges = torch.tensor(spatial(layout).tolist())

    def branch(inner: int, width: int, stride: int) -> nn.Module:
        return nn.Sequential(
            GraphConvolution(inner, width, edges),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, (kernel, 1), (stride, 1), (kernel // 2, 0)),
            nn.BatchNorm2d(width),
        )

    return Stages(branch, channels, widths, depths, drop_path)
