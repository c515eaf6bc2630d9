"""Three-augment (Touvron et al. 2022, "DeiT III"): grey, solarised or blurred, after a crop."""

import math
from typing import ClassVar

from stillroom.draw import uniforms
from stillroom.modalities.images.fields import View
from stillroom.modalities.images.policies.crop import Crop
from stillroom.modalities.images.samples import Sample
from stillroom.params import Fraction, Range


class ThreeAugment(Crop):
    """One of greyscale, solarisation (values of 128 and more are inverted) and Gaussian blur, each as likely;
    then brightness, contrast and saturation, as the paper's recipe has them.

    The blur's radius (standard deviation) is uniform in `blur`, in pixels of a view of 224; at another size
    it is scaled with the side, so that a view shows the same at every size.
    """

    KEEPS: ClassVar[tuple[str, ...]] = (*Crop.KEEPS, "filter")

    three: Fraction = 1.0  # share of views that get one of the three
    blur: Range = (0.1, 2.0)  # pixels at 224, at most 3.98

    def draw(self, seed: int, sample: Sample, view: int) -> View:
        drawn = super().draw(seed, sample, view)
        chance, which, radius = uniforms(seed, sample.key, view, 11)[8:].tolist()
        if chance >= self.three:
            return drawn
        which = 1 + math.floor(3 * which)
        radius = self.blur[0] + radius * (self.blur[1] - self.blur[0])
        level = min(255, math.floor(64 * radius + 0.5)) if which == 3 else 0
        return View(drawn.box, drawn.flip, drawn.colour, (which, level))
