"""A run of frames without anybody, as behind a passing car."""

import math
from typing import Any

import numpy as np

from stillroom.modalities.skeletons.corrupted import Corruption, without
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.params import Fraction


class BlockLoss(Corruption):
    """All joints are lost in a run of frames that is `share` of the view long, at a drawn place."""

    share: Fraction

    def apply(self, content: np.ndarray, drawn: Any, layout: Layout | None = None) -> np.ndarray:
        frames = content.shape[1]
        run = math.floor(self.share * frames + 0.5)
        if not run:
            return content
        start = math.floor(float(drawn.uniforms(1)[0]) * (frames - run + 1))
        lost = np.zeros((frames, 1), bool)
        lost[start : start + run] = True
        return without(content, lost)
