"""The largest logits of a row, and one for all others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from stillroom.cache.encodings import Encoding, shown
from stillroom.cache.encodings.float16 import Float16
from stillroom.cache.format.layout import ArraySpec
from stillroom.errors import CacheError


@dataclass(frozen=True)
class TopK(Encoding):
    """The k largest logits of a row in float16, descending, their classes, and one logit for all others.

    Of equal logits the first class counts first. Decoded, the others share one value, with which they hold
    at T = 1 the probability that the teacher gave them, to one part in 100,000 for logits below 64; or a
    little less, where that value would pass the k-th. Storing the k largest alone, as TinyViT does (Wu et al.
    2022), and normalising them again is biased towards them (Anshumann et al. 2025, "Sparse logit sampling").
    What is lost is how the others differ among themselves; at T > 1 that matters more, as
    `divergence.measure` shows.
    """

    k: int

    @classmethod
    def of(cls, output: Mapping[str, Any]) -> Self:
        return cls(checked_k(output))

    def fields(self, output: str, shape: tuple[int, ...]) -> dict[str, ArraySpec]:
        if len(shape) != 1 or not 1 <= self.k <= shape[0]:
            raise ValueError(f"k = {self.k} does not fit an output of shape {list(shape)!r:.80}")
        index = "<u2" if shape[0] <= 2**16 else "<u4"
        return {
            output: ArraySpec("<f2", (self.k,)),
            f"{output}_index": ArraySpec(index, (self.k,)),
            f"{output}_rest": ArraySpec("<f4", ()),
        }

    def _encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        fields = self.fields(output, values.shape[1:])
        index = largest(values, self.k)
        kept = np.take_along_axis(values, index, axis=1)
        stored = Float16()._encode(output, kept)[output]
        return {
            output: stored,
            f"{output}_index": index.astype(fields[f"{output}_index"].dtype),
            f"{output}_rest": self._rest(values, index, kept, stored),
        }

    def _rest(
        self, values: np.ndarray, index: np.ndarray, kept: np.ndarray, stored: np.ndarray
    ) -> np.ndarray:
        """The logit that each class which is not kept decodes to: float32 [n]."""
        if values.shape[1] == self.k:
            return np.zeros(len(values), "<f4")
        top, mean = mean_of_others(values, index)
        first = kept[:, :1].astype(np.float64)
        rest = top + np.log(mean * drift(kept - first, stored - first))
        limited: np.ndarray = np.minimum(rest, stored[:, -1])
        return limited.astype("<f4")

    def decode(self, output: str, shape: tuple[int, ...], arrays: dict[str, np.ndarray]) -> np.ndarray:
        index = arrays[f"{output}_index"].astype(np.int64)
        if index.size and index.max() >= shape[0]:
            raise CacheError(f"{output} names class {index.max()} of {shape[0]}", "the cache is not sound")
        rest = arrays[f"{output}_rest"]
        values = np.empty((len(index), *shape), np.float32)
        values[:] = rest[:, None]
        np.put_along_axis(values, index, arrays[output].astype(np.float32), axis=1)
        return values


def checked_k(output: Mapping[str, Any]) -> int:
    """The `k` of an entry of `identity["outputs"]`.

    Raises:
        CacheError: it is no number of logits that a row of the output's `shape` has.
    """
    name, k = output.get("encoding"), output.get("k")
    if type(k) is not int or not 1 <= k < 2**31:
        why = "k, the logits that are kept a row, must be a whole number from 1 on"
        raise CacheError(f"the encoding {name} has k = {shown(k)}", why, "set cache.k, to 16 for example")
    shape = output.get("shape", [k])
    if not isinstance(shape, list | tuple) or len(shape) != 1 or type(shape[0]) is not int:
        why = "it keeps the largest of one row of logits"
        fix = "set cache.encoding to float16 or int8"
        raise CacheError(f"the encoding {name} has an output of shape {shown(shape)}", why, fix)
    if k > shape[0]:
        why = f"a row holds {shape[0]} logits"
        fix = f"set cache.k to {shape[0]} or less" if shape[0] > 0 else ""
        raise CacheError(f"the encoding {name} has k = {shown(k)}", why, fix)
    return k


def mean_of_others(values: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest logit that is not kept, float32 [n], and the mean of exp(logit - that) over all that are
    not, float64 [n]: relative to their own largest nothing underflows, however far below the kept they lie.

    Args:
        values: float32 [n, C].
        index: the classes that are kept, [n, k], k < C.
    """
    raised = values.copy()
    np.put_along_axis(raised, index, -np.inf, axis=1)
    top = raised.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):  # minus infinity, whose exponential is zero, is right
        raised -= top
    mass = np.exp(raised, out=raised).sum(axis=1, dtype=np.float64)
    return top[:, 0], mass / (values.shape[1] - index.shape[1])


def drift(kept: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """By what factor rounding changed the mass of the kept logits, float64 [n]; the share of the others
    follows it, or their probability would not be what it was.

    Args:
        kept, stored: before and after, less the largest before: [n, k], float64.
    """
    factor: np.ndarray = np.exp(stored).sum(axis=1) / np.exp(kept).sum(axis=1)
    return factor


def largest(values: np.ndarray, k: int) -> np.ndarray:
    """The positions of the k largest of each row, int64 [n, k], descending; of equal ones the first first."""
    rows, classes = values.shape
    # To find the k-th value and then what reaches it takes half the time of finding positions (argpartition).
    border = np.partition(values, -k, axis=1)[:, -k, None]
    reaching = values >= border
    if np.count_nonzero(reaching) > rows * k:  # more than one is equal to the k-th: those first in a row stay
        tied = np.flatnonzero(np.count_nonzero(reaching, axis=1) > k)
        above, equal = values[tied] > border[tied], values[tied] == border[tied]
        wanted = k - np.count_nonzero(above, axis=1)
        reaching[tied] = above | (equal & (np.cumsum(equal, axis=1) <= wanted[:, None]))
    index = np.flatnonzero(reaching).reshape(rows, k) % classes
    kept = np.take_along_axis(values, index, axis=1)
    return np.take_along_axis(index, np.argsort(-kept, axis=1, kind="stable"), axis=1)
