"""What the families share: units with a residual path, and the network around a trunk."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn

SMALLEST = 1e-12  # under the roots of squared distances: equal nodes have a gradient, which is 0


class Unit(nn.Module):
    """relu(branch + residual), [N, C, T, J] to [N, W, T', J]; the branch is left out at random (drop path).

    Args:
        branch: from [N, C, T, J] to [N, W, T', J].
        residual: whether there is a residual path: the input itself, or a 1 x 1 convolution with batch norm
            where widths or frames differ.
    """

    def __init__(
        self, branch: nn.Module, inner: int, width: int, stride: int, residual: bool, drop_path: float
    ) -> None:
        super().__init__()
        self.branch = branch
        self.residual: nn.Module | None = None
        if residual:
            same = inner == width and stride == 1
            self.residual = nn.Identity() if same else projection(inner, width, stride)
        self.drop_path = DropPath(drop_path) if drop_path and residual else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = self.branch(x)
        return torch.relu(y if self.residual is None else self.drop_path(y) + self.residual(x))


def projection(inner: int, width: int, stride: int = 1) -> nn.Sequential:
    """A 1 x 1 convolution that takes every `stride`-th frame, and batch norm."""
    return nn.Sequential(nn.Conv2d(inner, width, 1, (stride, 1)), nn.BatchNorm2d(width))


class Stages(nn.Sequential):
    """Units one after another: stages of equal width, the frames halved (rounded up) between two stages.

    The first unit has no residual path, as in the papers.

    Args:
        branch: makes one from its inner width, its width and its stride.
        channels: of the input.
        widths, depths: of each stage, and how many units it has.
        drop_path: of the last unit; it grows to that linearly.

    Attributes:
        width: of what comes out.
        stride: frames of the input for one that comes out.
    """

    def __init__(
        self,
        branch: Callable[[int, int, int], nn.Module],
        channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        drop_path: float,
    ) -> None:
        units: list[nn.Module] = []
        count, inner = sum(depths), channels
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for place in range(depth):
                stride = 2 if stage and not place else 1
                drop = drop_path * len(units) / max(1, count - 1)
                units.append(Unit(branch(inner, width, stride), inner, width, stride, bool(units), drop))
                inner = width
        super().__init__(*units)
        self.width, self.stride = widths[-1], 2 ** (len(widths) - 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class Classifier(nn.Module):
    """Logits [B, K] of prepared clips [B, M, T, J, C], by a trunk that sees one person at a time.

    Its inputs pass through a batch norm over joints x channels. As in the papers absent persons (all zero)
    pass through the trunk too and count in its batch norms' statistics while training; they count neither in
    the features nor in the logits, which are means over those persons that are there (0 where none is). In
    the stream `motion` one who stands still is as one who is absent.

    Args:
        trunk: from [N, C, T, J] to [N, W, T', J], with the attributes `width` and `stride`.
    """

    def __init__(self, trunk: Any, channels: int, joints: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(joints * channels)
        self.trunk = trunk
        # What these are given is what a teacher may hand on (`Model.layers`)
        self.full, self.pooled, self.edges = nn.Identity(), nn.Identity(), nn.Identity()
        self.head = nn.Linear(trunk.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        persons, joints, channels = x.shape[1], x.shape[3], x.shape[4]
        there = (x != 0).flatten(2).any(dim=2).to(x.dtype)
        share = there / there.sum(dim=1, keepdim=True).clamp(min=1)
        x = self.norm(x.flatten(0, 1).flatten(2).transpose(1, 2))  # [B * M, J * C, T]
        x = self.trunk(x.unflatten(1, (joints, channels)).permute(0, 2, 3, 1))
        full = (x.unflatten(0, (-1, persons)) * share[:, :, None, None, None]).sum(dim=1)
        pooled = self.pooled(self.full(full).mean(dim=2))
        self.edges(distances(pooled))
        logits: Tensor = self.head(pooled.mean(dim=2))
        return logits


def distances(nodes: Tensor) -> Tensor:
    """Euclidean distances between the nodes of each graph, over their mean.

    Args:
        nodes: [B, C, J].

    Returns:
        at least float32 [B, J * (J - 1) / 2]: the upper triangle of the matrix, row by row; all 0 where all
        nodes are, which is where nobody is there.
    """
    nodes = nodes if nodes.dtype == torch.float64 else nodes.float()
    first, second = torch.triu_indices(nodes.shape[2], nodes.shape[2], 1, device=nodes.device).unbind()
    apart = nodes.index_select(2, first) - nodes.index_select(2, second)
    found = (apart.square().sum(dim=1) + SMALLEST).sqrt()
    somebody = nodes.flatten(1).ne(0).any(dim=1, keepdim=True)
    return found / found.mean(dim=1, keepdim=True) * somebody
