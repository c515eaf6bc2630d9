"""A small transformer over joints and frames, one after the other: of joints within a frame, of frames at a
joint.

Source: the factorised encoder of Plizzari, Cannici, Matteucci, "Spatial Temporal Transformer Network for
Skeleton-Based Action Recognition", 2021, as pre-norm blocks (Xiong et al. 2020) without its convolutions.
"""

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from stillroom.modalities.skeletons.layouts import Layout


class Attention(nn.Module):
    """Self-attention with several heads, [N, L, W] to [N, L, W]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.asked, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        queries, keys, values = (
            self.asked(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        )
        found = nn.functional.scaled_dot_product_attention(queries, keys, values)
        mixed: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """Attention over joints, attention over frames, a perceptron; [N, T, J, W], each with a residual path."""

    def __init__(self, width: int, heads: int, ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.joints, self.frames = Attention(width, heads), Attention(width, heads)
        self.perceptron = nn.Sequential(
            nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width)
        )
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        frames, joints = x.shape[1:3]
        y = self.joints(self.norms[0](x).flatten(0, 1)).unflatten(0, (-1, frames))
        x = x + self.drop_path(y)
        y = self.frames(self.norms[1](x).transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, joints))
        x = x + self.drop_path(y.transpose(1, 2))
        found: Tensor = x + self.drop_path(self.perceptron(self.norms[2](x)))
        return found


class Transformer(nn.Module):
    """A trunk of `Classifier`: [N, C, T, J] to [N, W, T', J], T' = T / patch rounded up.

    Args:
        frames: T; each token's place in time is learned.
        patch: frames that become one token of a joint.
        ratio: width of the perceptrons over that of the tokens.
    """

    def __init__(
        self,
        layout: Layout,
        channels: int,
        frames: int,
        *,
        width: int,
        depth: int,
        heads: int,
        patch: int,
        ratio: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.width, self.stride = width, patch
        tokens = -(-frames // patch)
        self.padding = tokens * patch - frames
        self.embedding = nn.Conv2d(channels, width, (patch, 1), (patch, 1))
        self.joint = nn.Parameter(torch.empty(len(layout.joints), width))
        self.time = nn.Parameter(torch.empty(tokens, 1, width))
        for table in (self.joint, self.time):
            nn.init.trunc_normal_(table, std=0.02)
        rates = [drop_path * place / max(1, depth - 1) for place in range(depth)]
        self.blocks = nn.Sequential(*(Block(width, heads, ratio, rate) for rate in rates))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.embedding(nn.functional.pad(x, (0, 0, 0, self.padding)))
        x = x.permute(0, 2, 3, 1) + self.joint + self.time
        found: Tensor = self.norm(self.blocks(x)).permute(0, 3, 1, 2)
        return found
