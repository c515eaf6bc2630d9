"""Random resized crop, flip, and brightness, contrast and saturation."""

import math
from typing import ClassVar

from stillroom.draw import uniforms
from stillroom.modalities.images.fields import Level, Policy, View
from stillroom.modalities.images.samples import Sample
from stillroom.params import Fraction, Range


class Crop(Policy):
    """The crop's area is uniform in `scale` times the image's, its aspect log-uniform in `ratio` (Szegedy et
    al. 2015, as in Inception). A side that would stand over the image is cut to the image's side: no
    rejection loop, so the number of random words is fixed. Sides are rounded half up, positions are uniform
    over all whole-pixel places.

    With `person`, at least that share of the annotated person's box lies inside the crop: a side too short
    for it is lengthened, and positions are uniform over the places that hold enough of the box. Samples
    without a box are cropped anywhere.
    """

    KEEPS: ClassVar[tuple[str, ...]] = ("box", "flip", "colour")
    LATER: ClassVar[tuple[str, ...]] = (*Policy.LATER, "person")

    scale: Range = (0.35, 1.0)  # area of the crop as a share of the image's
    ratio: Range = (0.75, 1.3333)  # width / height of the crop
    flip: Fraction = 0.5  # chance of a left-right flip
    # half-widths of the factors around 1
    brightness: Level = 0.3
    contrast: Level = 0.3
    saturation: Level = 0.3
    person: Fraction = 0.0  # least share of the person's box inside the crop

    def draw(self, seed: int, sample: Sample, view: int) -> View:
        width, height = sample.size
        area, aspect, left, top, flip, *colour = uniforms(seed, sample.key, view, 8).tolist()
        area = width * height * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = math.exp(low + aspect * (high - low))
        w = min(width, max(1, math.floor(math.sqrt(area * aspect) + 0.5)))
        h = min(height, max(1, math.floor(math.sqrt(area / aspect) + 0.5)))
        if self.person and sample.box is not None:
            x0, y0, x1, y1 = sample.box
            x, w = self._over(x0, x1, w, width, left)
            y, h = self._over(y0, y1, h, height, top)
        else:
            x = math.floor(left * (width - w + 1))
            y = math.floor(top * (height - h + 1))
        spans = (self.brightness, self.contrast, self.saturation)
        levels = [
            math.floor(128 * (1 + span * (2 * u - 1)) + 0.5) for span, u in zip(spans, colour, strict=True)
        ]
        return View((x, y, x + w, y + h), int(flip < self.flip), (levels[0], levels[1], levels[2]))

    def _over(self, start: int, stop: int, length: int, whole: int, u: float) -> tuple[int, int]:
        """Where a side of the crop begins, and how long it is, so that it holds enough of start..stop-1.

        Each side holds the square root of `person`, so that both together hold `person`.
        """
        start, stop = max(0, min(start, whole - 1)), min(stop, whole)
        need = math.ceil(math.sqrt(self.person) * max(1, stop - start))
        length = max(length, need)
        first = max(0, start + need - length)
        last = min(whole - length, stop - need)
        return first + math.floor(u * (last - first + 1)), length
