"""Chance: numbers, choices and colours from the raw bits of a counter-based generator."""

import colorsys
import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Colour = tuple[int, int, int]
T = TypeVar("T")


class Dice:
    """Numbers from the raw bits of one Philox stream; the stream belongs to one picture."""

    def __init__(self, *names: object) -> None:
        digest = hashlib.sha256("\0".join(map(str, names)).encode()).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
        self._raw: list[int] = []

    def unit(self) -> float:
        """A number in [0, 1)."""
        if not self._raw:
            self._raw = self._bits.random_raw(256).tolist()
        return (self._raw.pop() >> 11) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def near(self, middle: float, spread: float) -> float:
        return middle + spread * (2 * self.unit() - 1)

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.unit() * len(options))]

    def colour(
        self, saturation: tuple[float, float] = (0.25, 0.95), value: tuple[float, float] = (0.3, 1.0)
    ) -> Colour:
        red, green, blue = colorsys.hsv_to_rgb(self.unit(), self.between(*saturation), self.between(*value))
        return round(red * 255), round(green * 255), round(blue * 255)

    def grain(self, height: int, width: int) -> np.ndarray:
        """Noise bytes, uint8 [height, width]."""
        words = self._bits.random_raw(-(-height * width // 8)).astype("<u8")
        return words.view(np.uint8)[: height * width].reshape(height, width)
