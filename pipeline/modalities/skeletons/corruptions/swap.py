"""Left and right taken for each other, as pose estimators do where somebody turns round."""

import math
from typing import Any

import numpy as np

from stillroom.errors import ParamsError
from stillroom.modalities.base import Spec
from stillroom.modalities.skeletons.corrupted import Corruption
from stillroom.modalities.skeletons.layouts import Layout, read
from stillroom.params import Fraction


class Swap(Corruption):
    """In a run of frames that is `share` of the view long, each left joint changes places with its right one
    with probability `p`, for the whole of the run. Each person has a run, and chances, of its own.
    """

    share: Fraction
    p: Fraction = 1.0

    def check(self, spec: Spec) -> None:
        self._check(read(spec["layout"]))

    def _check(self, layout: Layout | None) -> None:
        if layout is None or not layout.pairs:
            raise ParamsError(
                "student.corruption.name = swap: this joint layout has no left and right",
                fix="name its pairs in left_right, or take another corruption",
            )

    def apply(self, content: np.ndarray, drawn: Any, layout: Layout | None = None) -> np.ndarray:
        """See `Corruption`.

        Raises:
            ParamsError: the joints have no left and right.
        """
        persons, frames = content.shape[:2]
        run = math.floor(self.share * frames + 0.5)
        if not run or not self.p:
            return content
        self._check(layout)
        assert layout is not None
        numbers = drawn.uniforms(persons * (1 + len(layout.pairs))).reshape(persons, -1)
        swapped = content.copy()
        for person, (place, *chances) in enumerate(numbers.tolist()):
            start = math.floor(place * (frames - run + 1))
            order = np.arange(content.shape[2])
            for (left, right), chance in zip(layout.pairs, chances, strict=True):
                if chance < self.p:
                    order[left], order[right] = right, left
            part = slice(start, start + run)
            swapped[person, part] = content[person, part][:, order]
        return content if np.array_equal(swapped, content, equal_nan=True) else swapped
