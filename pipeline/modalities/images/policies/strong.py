"""Three-augment and random erasing: what long schedules want."""

import math
from dataclasses import replace
from typing import ClassVar

from stillroom.draw import uniforms
from stillroom.modalities.images.fields import View
from stillroom.modalities.images.policies.three_augment import ThreeAugment
from stillroom.modalities.images.samples import Sample
from stillroom.params import Fraction, Range


class Strong(ThreeAugment):
    """Adds random erasing (Zhong et al. 2020): a rectangle of one random colour, its area uniform in
    `erase_area` of the view's and its aspect log-uniform in `erase_ratio`. A side longer than the view is
    cut.
    """

    KEEPS: ClassVar[tuple[str, ...]] = (*ThreeAugment.KEEPS, "erase", "paint")

    erase: Fraction = 0.25  # share of views
    erase_area: Range = (0.02, 0.3333)
    erase_ratio: Range = (0.3, 3.3)

    def draw(self, seed: int, sample: Sample, view: int) -> View:
        drawn = super().draw(seed, sample, view)
        chance, area, aspect, left, top, *colour = uniforms(seed, sample.key, view, 20)[12:].tolist()
        if chance >= self.erase:
            return drawn
        area = self.erase_area[0] + area * (self.erase_area[1] - self.erase_area[0])
        low, high = math.log(self.erase_ratio[0]), math.log(self.erase_ratio[1])
        aspect = math.exp(low + aspect * (high - low))
        w = min(255, max(1, math.floor(255 * math.sqrt(area * aspect) + 0.5)))
        h = min(255, max(1, math.floor(255 * math.sqrt(area / aspect) + 0.5)))
        x, y = math.floor(left * (256 - w)), math.floor(top * (256 - h))
        red, green, blue = (math.floor(256 * value) for value in colour)
        return replace(drawn, erase=(x, y, x + w, y + h), paint=(red, green, blue))
