"""Ascending whole numbers, such as sorted class ids, in as many bits a row as almost any row needs."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stillroom.cache.encodings._bits import Part, Reader

_MOST = 64  # numbers a row whose upper parts are ranked: each takes a step of its own to read
_WAYS = 2**62  # so many choices at most, so that a rank and all sums on the way to it fit int64
_LARGEST = 2**16  # upper parts that are ranked: a table of them is kept


@dataclass(frozen=True)
class Ascending:
    """How `count` numbers 0 <= v_0 <= v_1 <= ... <= top are coded, every row in the same number of bits.

    Each number is cut in two. The lower bits stand as they are. The upper parts ascend too, from 0 to
    top >> low: they are one choice of `count` places among count + (top >> low), where the i-th number takes
    place (v_i >> low) + i. That choice is stored as a bitmap (Elias 1974, "Efficient storage and retrieval by
    content and address of static files"; Fano 1971) or, where so few are possible that its number fits, as
    its rank among them (the combinatorial number system: Knuth, The Art of Computer Programming 4A,
    section 7.2.1.3). 16 of 1,000 classes take 118 bits so; log2 of the number of such sets is 115.2.

    Attributes:
        count: numbers a row, at least 1.
        top: the largest that a number may be, at least 0.
        low: bits of the lower part.
        ways: how many choices of places there are, where they are ranked; 0: they are stored as a bitmap.
    """

    count: int
    top: int
    low: int
    ways: int

    @property
    def bits(self) -> int:
        """Bits a row."""
        return self.count * self.low + self._upper_bits

    @property
    def _upper_bits(self) -> int:
        return (self.ways - 1).bit_length() if self.ways else self.count + (self.top >> self.low)

    def parts(self, values: np.ndarray) -> list[Part]:
        """Rows of numbers, int64 [n, count], as `_bits.pack` takes them."""
        lower, upper = values & ((1 << self.low) - 1), values >> self.low
        if self.ways:
            places = np.arange(self.count)
            return [(lower, self.low), (self._ranks[places, upper].sum(axis=1)[:, None], self._upper_bits)]
        bitmap = np.zeros((len(values), self._upper_bits), np.uint8)
        np.put_along_axis(bitmap, upper + np.arange(self.count), 1, axis=1)
        return [(lower, self.low), (bitmap, 1)]

    def read(self, reader: Reader) -> np.ndarray:
        """The numbers again: int64 [n, count], ascending, none above `top`.

        Raises:
            ValueError: these bits are no such numbers.
        """
        lower = reader.take(self.count, self.low)
        upper = self._unranked(reader) if self.ways else self._from_bitmap(reader)
        values: np.ndarray = upper << self.low | lower
        if (values > self.top).any() or (values[:, 1:] < values[:, :-1]).any():
            raise ValueError(f"a row's numbers do not ascend to {self.top} at most")
        return values

    def _from_bitmap(self, reader: Reader) -> np.ndarray:
        bitmap = reader.take(self._upper_bits, 1)
        if (np.count_nonzero(bitmap, axis=1) != self.count).any():
            raise ValueError(f"a row's bitmap does not hold {self.count} numbers")
        places = np.flatnonzero(bitmap).reshape(len(bitmap), self.count) % self._upper_bits
        return places - np.arange(self.count)

    def _unranked(self, reader: Reader) -> np.ndarray:
        left = reader.take(1, self._upper_bits)[:, 0]
        if (left >= self.ways).any():
            raise ValueError(f"a row has rank {left.max()} of {self.ways}")
        upper = np.zeros((len(left), self.count), np.int64)
        if self.ways > 1:
            for place in reversed(range(self.count)):
                ranks = self._ranks[place]
                upper[:, place] = np.searchsorted(ranks, left, side="right") - 1
                left = left - ranks[upper[:, place]]
        return upper

    @property
    def _ranks(self) -> np.ndarray:
        return _ranks(self.count, self.top >> self.low)


@lru_cache(maxsize=16)
def ascending(count: int, top: int) -> Ascending:
    """The cut that takes the fewest bits; of equal ones that with the longest lower part."""
    cuts = (Ascending(count, top, low, _ways(count, top >> low)) for low in range(top.bit_length() + 1))
    return min(cuts, key=lambda cut: (cut.bits, -cut.low))


def _ways(count: int, top: int) -> int:
    """In how many ways `count` numbers may ascend from 0 to `top`; 0: in too many."""
    if top == 0:
        return 1
    if count > _MOST or top > _LARGEST:
        return 0
    ways, least = 1, min(count, top)
    for step in range(least):  # the product of the first factors of a binomial, which only grows
        ways = ways * (count + top - step) // (step + 1)
        if ways > _WAYS:
            return 0
    return ways


@lru_cache(maxsize=16)
def _ranks(count: int, top: int) -> np.ndarray:
    """What each upper part at each place adds to the rank: int64 [count, top + 1], rows ascending."""
    table = [[math.comb(place + upper, place + 1) for upper in range(top + 1)] for place in range(count)]
    return np.array(table, np.int64)
