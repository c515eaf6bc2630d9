"""What a corruption of skeletons is, and where its random numbers come from."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stillroom.modalities import base
from stillroom.modalities.skeletons.layouts import Layout


@dataclass(frozen=True)
class Draw:
    """Where the random numbers of one draw lie. They are drawn where the view's shape is known.

    Attributes:
        seed, name, key, number: see `base.uniforms`.
    """

    seed: int
    name: str
    key: str
    number: int

    def uniforms(self, count: int) -> np.ndarray:
        """float64 [count] in [0, 1); the first are the same whatever `count` is."""
        return base.uniforms(self.seed, self.name, self, self.number, count)


class Corruption(base.Corruption):
    """A corruption of skeletons.

    A new one subclasses this in `pipeline/modalities/skeletons/corruptions/NAME.py`: its parameters are its
    fields, and it says what `apply` does; nothing else needs to change.
    """

    def draw(self, seed: int, sample: Any, number: int) -> Any:
        """Where its random numbers lie; see `base.Corruption`."""
        return Draw(seed, type(self).__module__.rpartition(".")[2], sample.key, number)

    def apply(self, content: np.ndarray, drawn: Any, layout: Layout | None = None) -> np.ndarray:
        """A view made worse; `content` itself where nothing is.

        Args:
            content: float32 [M, T, J, D + 1], not normalised, which is not to be changed; a joint that is not
                there has NaN for its coordinates, and a score of 0.
            drawn: of `draw`.
            layout: the joints'.
        """
        raise NotImplementedError


def without(content: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """A view without some joints; the view itself where none of them was there.

    Args:
        content: float32 [M, T, J, D + 1].
        lost: bool, of a shape that becomes [M, T, J].
    """
    lost = np.broadcast_to(lost, content.shape[:-1])
    if not (lost & (content[..., -1] > 0)).any():
        return content
    left = content.copy()
    left[lost, :-1] = np.nan
    left[lost, -1] = 0
    return left
