"""Joints lost here and there, as a quick pose estimator loses them."""

from typing import Any, Literal

import numpy as np

from stillroom.modalities.skeletons.corrupted import Corruption, without
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.measures import present
from stillroom.params import Fraction

NEAR = 3  # frames to either side that `mean` looks at (Bian et al. 2021, as released)


class JointDrop(Corruption):
    """Each joint of each frame is lost with probability `p`.

    What stands in its place: the last value before it that is there (`hold`, which uses nothing of what comes
    after), the mean of those within three frames to either side (`mean`, which does), or nothing (`none`, and
    where there is no such value). A joint that was not there before is not filled in either.
    """

    p: Fraction
    fill: Literal["hold", "mean", "none"] = "hold"

    def apply(self, content: np.ndarray, drawn: Any, layout: Layout | None = None) -> np.ndarray:
        if not self.p:
            return content
        lost = (drawn.uniforms(content[..., 0].size) < self.p).reshape(content.shape[:-1])
        left = without(content, lost)
        if left is content or self.fill == "none":
            return left
        there = present(left)
        stand_in, found = (_held if self.fill == "hold" else _mean)(left, there)
        filled = lost & present(content) & found
        return np.where(filled[..., None], stand_in, left)


def _held(content: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each joint the last value up to its frame, and whether there is one."""
    frames = np.arange(content.shape[1])[:, None]
    last = np.maximum.accumulate(np.where(there, frames, -1), axis=1)
    return np.take_along_axis(content, np.maximum(last, 0)[..., None], axis=1), last >= 0


def _mean(content: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each joint the mean over its neighbours in time, and whether there is any."""
    values = np.where(there[..., None], content, np.float32(0)).astype(np.float64)
    total, count = np.zeros_like(values), np.zeros(there.shape, np.int64)
    frames = content.shape[1]
    for step in range(-NEAR, NEAR + 1):
        here = slice(max(0, -step), max(0, min(frames, frames - step)))
        other = slice(max(0, step), max(0, min(frames, frames + step)))
        total[:, here] += values[:, other]
        count[:, here] += there[:, other]
    return (total / np.maximum(count, 1)[..., None]).astype(np.float32), count > 0
