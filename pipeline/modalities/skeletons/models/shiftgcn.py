"""Shift-GCN (Cheng et al., CVPR 2020): joints and frames learn of each other by shifted channels alone.

Source: "Skeleton-Based Action Recognition with Shift Graph Convolutional Network": non-local spatial shift
with a mask (section 3.1), adaptive temporal shift (section 3.2); linear interpolation in plain torch here.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.models.blocks import Stages, projection


def joint_shift(joints: int, channels: int, step: int) -> Tensor:
    """The places from which a spatial shift takes the values of [..., J * C]: channel c of joint i is that of
    joint (i + step * c) mod J.

    Returns:
        int64 [J * C]. That of -step undoes it.
    """
    joint, channel = torch.arange(joints)[:, None], torch.arange(channels)[None]
    return ((joint + step * channel) % joints * channels + channel).flatten()


def frame_shift(x: Tensor, offsets: Tensor, stride: int = 1) -> Tensor:
    """Each channel of a clip at its own offset in time, between two frames by linear interpolation.

    Args:
        x: [N, C, T, J].
        offsets: [C], in frames; before the first frame and after the last one all is zero.

    Returns:
        [N, C, T', J], T' = T / stride rounded up: frame t is that at stride * t + offset.
    """
    channels, frames = x.shape[1:3]
    at = torch.arange(0, frames, stride, device=x.device) + offsets[:, None]
    before = at.detach().floor()
    part = (at - before).to(x.dtype)[None, :, :, None]
    padded = nn.functional.pad(x, (0, 0, 1, 1)).flatten(1, 2)  # a zero frame at either end
    first = torch.arange(channels, device=x.device)[:, None] * (frames + 2)

    def taken(frame: Tensor) -> Tensor:
        rows = first + frame.long().clamp(-1, frames) + 1
        found: Tensor = padded.index_select(1, rows.flatten()).unflatten(1, (channels, -1))
        return found

    low = taken(before)
    return low + (taken(before + 1) - low) * part


class JointShift(nn.Module):
    """Shift, mask, linear layer, shift back, batch norm, residual path: [N, C, T, J] to [N, W, T, J]."""

    there: Tensor
    back: Tensor

    def __init__(self, inner: int, width: int, joints: int) -> None:
        super().__init__()
        self.register_buffer("there", joint_shift(joints, inner, 1), persistent=False)
        self.register_buffer("back", joint_shift(joints, width, -1), persistent=False)
        self.mask = nn.Parameter(torch.zeros(joints, inner))
        self.linear = nn.Linear(inner, width)
        nn.init.normal_(self.linear.weight, 0, width**-0.5)
        nn.init.zeros_(self.linear.bias)
        self.norm = nn.BatchNorm1d(joints * width)
        self.residual = nn.Identity() if inner == width else projection(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        frames, joints = x.shape[2:]
        y = x.permute(0, 2, 3, 1).flatten(2).index_select(2, self.there)  # [N, T, J * C]
        y = self.linear(y.unflatten(2, (joints, -1)) * (self.mask.tanh() + 1))
        y = self.norm(y.flatten(2).flatten(0, 1).index_select(1, self.back))
        y = y.unflatten(0, (-1, frames)).unflatten(2, (joints, -1)).permute(0, 3, 1, 2)
        return torch.relu(y + self.residual(x))


class FrameShift(nn.Module):
    """`frame_shift` by learned offsets, which start apart from each other: whole frames, at which the
    interpolation has kinks, and equal ones would learn alike.
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.offsets = nn.Parameter(torch.empty(channels).uniform_(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return frame_shift(x, self.offsets, self.stride)


def trunk(
    layout: Layout, channels: int, *, widths: Sequence[int], depths: Sequence[int], drop_path: float
) -> Stages:
    """A trunk of `Classifier`.

    Args:
        channels: of its input.
        widths, depths: of each stage, and how many units it has; the paper: 64, 128, 256, and 4, 3, 3.
    """

    def branch(inner: int, width: int, stride: int) -> nn.Module:
        return nn.Sequential(
            JointShift(inner, width, len(layout.joints)),
            nn.BatchNorm2d(width),
            FrameShift(width),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            FrameShift(width, stride),
            nn.BatchNorm2d(width),
        )

    return Stages(branch, channels, widths, depths, drop_path)
