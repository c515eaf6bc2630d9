"""A policy: the left half of the image, mirrored or not. As pipeline/modalities/images/policies/left_half.py
it is chosen by `views.recipe: {name: left_half, flip: 0.5}`.
"""

from typing import ClassVar

from stillroom.draw import uniforms
from stillroom.modalities.images.fields import Policy, View
from stillroom.modalities.images.samples import Sample
from stillroom.params import Fraction


class LeftHalf(Policy):
    """The file's name in CamelCase. Its parameters are fields, checked like every key of params.yaml."""

    KEEPS: ClassVar[tuple[str, ...]] = ("box", "flip")  # what it draws, and a cache keeps

    flip: Fraction = 0.5  # share of views that are mirrored

    def draw(self, seed: int, sample: Sample, view: int) -> View:
        """A pure function of its arguments: all random numbers come from `uniforms`."""
        width, height = sample.size
        flip = uniforms(seed, sample.key, view, 1)[0] < self.flip
        return View((0, 0, (width + 1) // 2, height), int(flip))
