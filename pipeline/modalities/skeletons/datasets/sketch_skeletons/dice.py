"""Chance: numbers and choices from the stream of one clip."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from stillroom.draw import uniforms

MOST = 256  # numbers that a clip's motion may ask for
T = TypeVar("T")


class Dice:
    """Numbers from `stillroom.draw.uniforms(seed, key, 0, MOST)`, one after the other."""

    def __init__(self, seed: int, key: str) -> None:
        self._numbers: Iterator[float] = iter(uniforms(seed, key, 0, MOST).tolist())

    def unit(self) -> float:
        """A number in [0, 1)."""
        return next(self._numbers)

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def near(self, middle: float, spread: float) -> float:
        """A number up to `spread` away from `middle`."""
        return middle + spread * (2 * self.unit() - 1)

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.unit() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of these, all alike."""
        return options[int(self.unit() * len(options))]
