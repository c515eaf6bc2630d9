"""From rendered clips to a network's input: what stands for missing joints, and the stream."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stillroom.modalities.base import Spec
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.models.graph import nearest


def channels(spec: Spec) -> int:
    """How many numbers of a joint and frame the network sees."""
    return int(spec["dims"]) * (2 if spec["stream"] == "bone_motion" else 1) + bool(spec["score"])


@dataclass(frozen=True)
class Input:
    """What is made of rendered clips.

    Attributes:
        stream: `joint` (coordinates), `bone` (each joint minus its parent, a joint without one 0), `motion`
            (the next frame minus this one; 0 in the last frame and where the person is missing in either),
            or `bone_motion`: bones, then motion.
        score: whether the score of each joint follows.
        fill: what stands for a missing joint: the `neighbour` of that person and frame that is nearest along
            bones and links, or the `centre` of the body, 0; 0 too where no neighbour is there.
        nearest: int64 [J, J], see `graph.nearest`.
        parents: int64 [J].
    """

    stream: str
    score: bool
    fill: str
    nearest: Tensor
    parents: Tensor

    @classmethod
    def of(cls, spec: Spec, layout: Layout) -> "Input":
        """What a spec asks for."""
        near, parents = nearest(layout).tolist(), layout.parents()
        with torch.device("cpu"):  # also where a network is made without memory
            return cls(spec["stream"], spec["score"], spec["fill"], torch.tensor(near), torch.tensor(parents))

    def __call__(self, raw: Tensor) -> Tensor:
        """Rendered clips to a network's input, on the device that holds them.

        Args:
            raw: float32 [B, M, T, J, D + 1]: coordinates, and a score above 0 where the joint is there. What
                stands in the place of other joints' coordinates is not looked at.

        Returns:
            float32 [B, M, T, J, C], all zero of a person without a joint in any frame.
        """
        score = raw[..., -1:]
        there = score > 0
        joints = torch.where(there, raw[..., :-1], 0)
        if self.fill == "neighbour":
            joints = self._filled(joints, there.squeeze(-1))
        parts = []
        if self.stream in ("bone", "bone_motion"):
            parts.append(joints - joints.index_select(-2, self.parents.to(raw.device)))
        if self.stream in ("motion", "bone_motion"):
            seen = there.any(dim=-2, keepdim=True)
            moved = torch.where(seen[:, :, 1:] & seen[:, :, :-1], joints[:, :, 1:] - joints[:, :, :-1], 0)
            parts.append(torch.cat([moved, torch.zeros_like(joints[:, :, :1])], dim=2))
        if self.score:
            parts.append(torch.where(there, score, 0))
        return torch.cat(parts if self.stream != "joint" else [joints, *parts], dim=-1)

    def _filled(self, joints: Tensor, there: Tensor) -> Tensor:
        nearest = self.nearest.to(joints.device)
        taken = torch.arange(len(nearest), device=joints.device).expand(there.shape)
        for column in reversed(nearest.unbind(1)):  # the nearest one that is there comes last, and stays
            taken = torch.where(there.index_select(-1, column), column, taken)
        return joints.gather(-2, taken.unsqueeze(-1).expand_as(joints))
