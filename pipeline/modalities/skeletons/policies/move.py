"""A part of the clip, mirrored, turned, scaled and sheared."""

import math
from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from stillroom.draw import uniforms
from stillroom.modalities.skeletons.fields import FIELDS, Policy, View
from stillroom.modalities.skeletons.samples import Sample
from stillroom.params import Fraction, Range, Share

STEPS = 2**16  # start and length are whole numbers of these: exact in float32, and so is their sum


def _part(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] > 1:
        raise ValueError("must be [low, high] with high <= 1: a share of the clip")
    return value


Degrees = Annotated[float, Field(ge=0, le=180)]


class Move(Policy):
    """The crop's length is uniform in `crop` times the clip's, its place uniform over those that fit. Angles
    and shears are uniform around 0, the scale uniform in its range.

    Clips in two dimensions turn about the viewing axis by `rotate`; those in three about the vertical axis by
    `rotate`, and about the other two by `tilt`.
    """

    KEEPS: ClassVar[tuple[str, ...]] = tuple(FIELDS)

    crop: Annotated[Range, AfterValidator(_part)] = (0.6, 1.0)  # share of the clip's frames
    flip: Fraction = 0.5  # chance of a left-right mirror
    # most degrees, to either side
    rotate: Degrees = 15.0
    tilt: Degrees = 5.0
    scale: Range = (0.9, 1.1)  # of a skeleton whose size is 1
    shear: Share = 0.1  # most, to either side

    def draw(self, seed: int, sample: Sample, view: int) -> View:
        kept, place, mirror, *turn, size, first, second = uniforms(seed, sample.key, view, 9).tolist()
        low, high = self.crop
        length = max(1, math.floor(STEPS * (low + kept * (high - low)) + 0.5))
        start = math.floor(place * (STEPS - length + 1))
        most = (0, 0, self.rotate) if sample.dims == 2 else (self.tilt, self.rotate, self.tilt)
        x, y, z = (_exact(math.radians(one) * (2 * u - 1)) for one, u in zip(most, turn, strict=True))
        return View(
            start / STEPS,
            length / STEPS,
            int(mirror < self.flip),
            (x, y, z),
            _exact(self.scale[0] + size * (self.scale[1] - self.scale[0])),
            (_exact(self.shear * (2 * first - 1)), _exact(self.shear * (2 * second - 1))),
        )


def _exact(value: float) -> float:
    """The nearest number that float32 holds."""
    return float(np.float32(value))
