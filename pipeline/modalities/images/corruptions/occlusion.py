"""Pictures with something before them."""

import math
from typing import Any

import numpy as np

from stillroom.modalities.base import Corruption, uniforms
from stillroom.params import Fraction

RATIO = 2.0  # the longer side of what stands before it, over the shorter, at most
GREY = 128


class Occlusion(Corruption):
    """A grey rectangle over `share` of the view's area, its aspect log-uniform between 1:2 and 2:1, at a
    place that is uniform over those where it fits. A side that would be longer than the view's is cut to it,
    and the other made longer.
    """

    share: Fraction

    def draw(self, seed: int, sample: Any, number: int) -> tuple[float, float, float]:
        """Aspect (width / height), and where it lies, left and top, in [0, 1)."""
        aspect, left, top = uniforms(seed, "occlusion", sample, number, 3).tolist()
        return math.exp(math.log(RATIO) * (2 * aspect - 1)), left, top

    def apply(self, content: np.ndarray, drawn: tuple[float, float, float]) -> np.ndarray:
        aspect, left, top = drawn
        height, width = content.shape[:2]
        area = self.share * height * width
        # within these, both sides fit
        w = min(max(math.sqrt(area * aspect), area / height), width)
        w = math.floor(w + 0.5)
        h = min(height, math.floor(area / w + 0.5)) if w else 0
        if not w or not h:
            return content
        x, y = math.floor(left * (width - w + 1)), math.floor(top * (height - h + 1))
        covered = content.copy()
        covered[y : y + h, x : x + w] = GREY
        return covered
