"""Stretched by a little, and moved by a little."""

from typing import Any, ClassVar

import numpy as np

from stillroom.draw import uniforms
from stillroom.modalities.vectors.fields import Policy, View
from stillroom.params import Fraction


class Jitter(Policy):
    """Gain and shift, uniform around none."""

    KEEPS: ClassVar[tuple[str, ...]] = ("gain", "shift")

    spread: Fraction = 0.2

    def draw(self, seed: int, sample: Any, view: int) -> View:
        away = [self.spread * (2 * u - 1) for u in uniforms(seed, sample.key, view, 3).tolist()]
        gain, *shift = (float(np.float32(one)) for one in (1 + away[0], *away[1:]))
        return View(gain, (shift[0], shift[1]))
