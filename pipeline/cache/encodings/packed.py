"""The largest logits of a row in a few bits each, and one for all others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from stillroom.cache.encodings import Encoding, shown
from stillroom.cache.encodings._ascending import Ascending, ascending
from stillroom.cache.encodings._bits import Reader, pack, row_bytes
from stillroom.cache.encodings.topk import checked_k, drift, largest, mean_of_others
from stillroom.cache.format.layout import ArraySpec
from stillroom.errors import CacheError

_SCALE = (4, 2)  # bits of a scale's exponent and of its mantissa
_REST = (4, 6)
_UNIT = 1 / 128  # nats
_DEEP = 64.0  # nats below the largest, where a scale need reach no further: e^-64 is no probability
_BEND = (0.5, -0.5)  # finer steps far below the largest logit, or near it
_VALUES = 2**20  # decoded at a time: 4 MiB of float32


def _floats(exponent: int, mantissa: int) -> np.ndarray:
    """All unsigned numbers of so many bits, ascending: float64 [2^(exponent + mantissa)], each exact.

    As IEEE 754 has them: evenly spaced from zero on, then of the same relative precision.
    """
    powers, parts = np.divmod(np.arange(2 ** (exponent + mantissa)), 2**mantissa)
    whole = np.where(powers == 0, parts, (2**mantissa + parts) << np.maximum(powers - 1, 0))
    return whole * _UNIT


_SCALES = _floats(*_SCALE)
_RESTS = _floats(*_REST)


@dataclass(frozen=True)
class Packed(Encoding):
    """The k largest logits of a row in `bits` bits each, their classes, and one logit for all others.

    A row is one run of bytes, as many for every row: 24 for k = 17 and bits = 3 of 1,000 classes. In order:

        scale   6 bits  the step between two levels, nats
        bend    1 bit   where levels lie closer: far below the largest logit, or near it
        rest    10 bits how far the others lie below the lowest kept level, nats
        classes         ascending (`Ascending`), less than one bit a class more than any code needs
        levels          of the classes in that order, `bits` each; 0 is the largest logit's

    Of equal logits the first class counts first. Scale and bend are those, of a few, that leave the kept
    logits' probabilities at T = 1 with the least divergence. The others share one value, and together the
    probability that the teacher gave them at T = 1, but for the rounding of that value, which is off by
    1/256, or by 1/128 of its distance from the lowest kept where that is more; or less, where it would pass
    the lowest kept (see `TopK`). Classes that are close may become equal; none passes the largest.

    What comes back is less the row's largest logit, which becomes 0: no temperature's probabilities depend
    on that, but the loss `mse` does. Logits may be of any size; one that is kept and lies further than 64
    below the largest may come back nearer, though not within 40.

    What is decoded takes additions, multiplications and divisions of float64 alone: the same everywhere.

    Attributes:
        k: logits kept a row.
        bits: of a kept logit, 2 to 8.
    """

    k: int
    bits: int = 4

    shifts: ClassVar[bool] = True
    tried: ClassVar[range] = range(-2, 2)  # scales, by their distance from the one that just reaches all

    @classmethod
    def of(cls, output: Mapping[str, Any]) -> Self:
        k, bits = checked_k(output), output.get("bits")
        if type(bits) is not int or not 2 <= bits <= 8:
            why = "bits, those of a kept logit, must be a whole number from 2 to 8"
            raise CacheError(f"the encoding packed has bits = {shown(bits)}", why)
        return cls(k, bits)

    def fields(self, output: str, shape: tuple[int, ...]) -> dict[str, ArraySpec]:
        if len(shape) != 1 or not 1 <= self.k <= shape[0]:
            raise ValueError(f"k = {self.k} does not fit an output of shape {list(shape)!r:.80}")
        bits = sum(_SCALE) + 1 + sum(_REST) + self._classes(shape[0]).bits + self.k * self.bits
        return {output: ArraySpec("|u1", (row_bytes(bits),))}

    def _classes(self, classes: int) -> Ascending:
        """Of k different ascending classes, each less its place: then they need not differ."""
        return ascending(self.k, classes - self.k)

    def _encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        self.fields(output, values.shape[1:])
        index = np.sort(largest(values, self.k), axis=1)
        kept = np.take_along_axis(values, index, axis=1).astype(np.float64)
        first = kept.max(axis=1, keepdims=True)
        scale, bend, levels, stored = self._fitted(first - kept)
        rest = self._rest(values, index, first[:, 0], kept - first, -stored)
        parts = [
            (scale[:, None], sum(_SCALE)),
            (bend[:, None], 1),
            (rest[:, None], sum(_REST)),
            *self._classes(values.shape[1]).parts(index - np.arange(self.k)),
            (levels, self.bits),
        ]
        return {output: pack(parts)}

    def _fitted(self, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Scale and bend of each row, int64 [n], the level of each logit, int64 [n, k], and what that
        comes to, float64 [n, k].

        Args:
            depth: how far each kept logit is below the row's largest, float64 [n, k].
        """
        top = _SCALES[1:] * (2**self.bits - 1)
        reaches = 1 + np.searchsorted(top, np.minimum(depth.max(axis=1), _DEEP))
        weight = np.exp(-depth)
        weight /= weight.sum(axis=1, keepdims=True)
        least = np.full(len(depth), np.inf)
        scale, bend = reaches.copy(), np.zeros(len(depth), np.int64)
        levels, stored = np.zeros(depth.shape, np.int64), np.zeros(depth.shape)
        for step in self.tried:
            tried = np.clip(reaches + step, 1, len(_SCALES) - 1)
            for shape, heights in enumerate(self._heights()):
                between = (heights[1:] + heights[:-1]) / 2
                level = np.searchsorted(between, depth / _SCALES[tried][:, None])
                found = heights[level] * _SCALES[tried][:, None]
                # KL of the kept among themselves, less what all choices share
                cost = np.log(np.exp(-found).sum(axis=1)) + (weight * (found - depth)).sum(axis=1)
                better = cost < least
                least[better], scale[better], bend[better] = cost[better], tried[better], shape
                levels[better], stored[better] = level[better], found[better]
        return scale, bend, levels, stored

    def _heights(self) -> list[np.ndarray]:
        """How far below the largest logit each level is, in steps, for each bend: float64 [2^bits]."""
        last = 2**self.bits - 1
        place = np.arange(last + 1) / last
        return [last * (place + bend * place * (1 - place)) for bend in _BEND]

    def _rest(
        self, values: np.ndarray, index: np.ndarray, first: np.ndarray, kept: np.ndarray, stored: np.ndarray
    ) -> np.ndarray:
        """How far the others lie below the lowest kept level, as its place in `_RESTS`: int64 [n]."""
        if values.shape[1] == self.k:
            return np.zeros(len(values), np.int64)
        top, mean = mean_of_others(values, index)
        rest = top - first + np.log(mean * drift(kept, stored))
        below = stored.min(axis=1) - rest
        places: np.ndarray = np.searchsorted((_RESTS[1:] + _RESTS[:-1]) / 2, below)
        return places

    def decode(self, output: str, shape: tuple[int, ...], arrays: dict[str, np.ndarray]) -> np.ndarray:
        rows = arrays[output]
        values = np.empty((len(rows), *shape), np.float32)
        step = max(1, _VALUES // shape[0])
        for start in range(0, len(rows), step):
            try:
                self._decode(rows[start : start + step], values[start : start + step])
            except ValueError as error:
                why = "the cache is not sound"
                raise CacheError(f"{output} is not packed as it must be: {error}", why) from None
        return values

    def _decode(self, rows: np.ndarray, into: np.ndarray) -> None:
        reader = Reader(rows)
        scale, bend, rest = (reader.take(1, width)[:, 0] for width in (sum(_SCALE), 1, sum(_REST)))
        index = self._classes(into.shape[1]).read(reader) + np.arange(self.k)
        levels = reader.take(self.k, self.bits)
        reader.finish()
        heights = np.stack(self._heights())
        stored = -heights[bend[:, None], levels] * _SCALES[scale][:, None]
        into[:] = (stored.min(axis=1) - _RESTS[rest])[:, None]
        np.put_along_axis(into, index, stored.astype(np.float32), axis=1)
