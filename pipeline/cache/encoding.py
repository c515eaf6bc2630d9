"""How a teacher's float32 outputs are stored: each encoding turns rows into arrays and back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.cache.layout import ArraySpec
from pipeline.errors import CacheError


class UnstorableError(ValueError):
    """An output holds a value that no cache may keep.

    Attributes:
        row: its row in the values given to `encode`, in [0, n).
        value: the value.
    """

    def __init__(self, row: int, value: float, reason: str) -> None:
        super().__init__(f"row {row} holds {value}: {reason}")
        self.row = row
        self.value = value
        self.reason = reason


class Encoding(ABC):
    """A way to store an output. The output `logits` owns the array `logits`, and more named `logits_...`."""

    @abstractmethod
    def fields(self, output: str, shape: tuple[int, ...]) -> dict[str, ArraySpec]:
        """The arrays that store an output of `shape` a row: dtype and shape a row, by array name."""

    @abstractmethod
    def encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of an output, float32 [n, *shape], as the arrays of `fields`, each [n, ...].

        Raises:
            UnstorableError: a value is NaN, infinite, or beyond what the encoding holds; names the first row.
        """

    @abstractmethod
    def decode(self, output: str, shape: tuple[int, ...], arrays: dict[str, np.ndarray]) -> np.ndarray:
        """The inverse of `encode`: float32 [n, *shape]."""


class Float16(Encoding):
    """IEEE 754 binary16, rounded to nearest even: a relative error of at most 2^-11 from 2^-14 on."""

    largest = 65504.0

    def fields(self, output: str, shape: tuple[int, ...]) -> dict[str, ArraySpec]:
        return {output: ArraySpec("<f2", tuple(shape))}

    def encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        refuse_not_finite(values)
        with np.errstate(over="ignore"):  # it is looked for right below, and named
            stored = values.astype("<f2")
        first = _first_row(~np.isfinite(stored))
        if first is not None:
            raise UnstorableError(*_worst(values, first), f"float16 ends at {self.largest:.0f}")
        return {output: stored}

    def decode(self, output: str, shape: tuple[int, ...], arrays: dict[str, np.ndarray]) -> np.ndarray:
        return arrays[output].astype(np.float32)


class Int8(Encoding):
    """One signed byte a value and one float32 scale a row: value = byte * scale.

    The plain scale, largest magnitude / 127, is off by up to half a step everywhere. Probabilities depend on
    the few largest logits only, so among slightly larger scales the one is taken on whose grid those fall best:
    the one with the least variance, under softmax(row), of their rounding errors (which is twice the divergence
    of small errors). It costs the others at most half of a step that is half as large again.
    """

    candidates = 64
    widest = 1.5  # the largest scale tried, in plain ones
    top = 16  # logits of a row that are looked at

    def fields(self, output: str, shape: tuple[int, ...]) -> dict[str, ArraySpec]:
        return {output: ArraySpec("|i1", tuple(shape)), f"{output}_scale": ArraySpec("<f4", ())}

    def encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        refuse_not_finite(values)
        rows = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
        plain = np.abs(rows).max(axis=1).astype(np.float64) / 127
        scale = self._fitted(rows, plain) if values.ndim == 2 else plain
        # a row of zeros, or of values so small that the scale is none: any scale gives zeros
        scale = np.where(scale < 2.0**-126, 1.0, np.minimum(scale, np.finfo(np.float32).max)).astype("<f4")
        stored = np.clip(np.rint(rows / scale[:, None]), -127, 127).astype("|i1")
        return {output: stored.reshape(values.shape), f"{output}_scale": scale}

    def _fitted(self, rows: np.ndarray, plain: np.ndarray) -> np.ndarray:
        top = min(self.top, rows.shape[1])
        largest = -np.partition(-rows, top - 1, axis=1)[:, :top].astype(np.float64)
        largest = -np.sort(-largest, axis=1)  # the sums below must not depend on how a partition orders them
        weight = np.exp(largest - largest[:, :1])
        weight /= weight.sum(axis=1, keepdims=True)
        best, scale = np.full(len(rows), np.inf), plain.copy()
        for step in np.linspace(1, self.widest, self.candidates, endpoint=False):
            tried = (plain * step).astype(np.float32).astype(np.float64)
            safe = np.where(tried > 0, tried, 1)[:, None]
            error = np.rint(largest / safe) * safe - largest
            mean = (weight * error).sum(axis=1)
            spread = (weight * error**2).sum(axis=1) - mean**2
            better = (spread < best) & np.isfinite(tried)
            best[better], scale[better] = spread[better], tried[better]
        return scale

    def decode(self, output: str, shape: tuple[int, ...], arrays: dict[str, np.ndarray]) -> np.ndarray:
        scale = arrays[f"{output}_scale"].reshape(-1, *[1] * len(shape))
        return arrays[output].astype(np.float32) * scale


@dataclass(frozen=True)
class TopK(Encoding):
    """The k largest logits of a row in float16, their classes, and the mass of all others.

    Decoded, the others share one value, with which they hold at T = 1 the probability that they held before: to
    drop it and normalise the rest again is biased (Anshumann et al. 2025, "Sparse logit sampling"). At another
    temperature their mass is off, as `divergence.measure` tells. Of equal logits the first class counts first.
    """

    k: int

    def fields(self, output: str, shape: tuple[int, ...]) -> dict[str, ArraySpec]:
        if len(shape) != 1 or not 1 <= self.k <= shape[0]:
            raise ValueError(f"k = {self.k} does not fit an output of shape {list(shape)!r:.80}")
        index = "<u2" if shape[0] <= 2**16 else "<u4"
        return {
            output: ArraySpec("<f2", (self.k,)),
            f"{output}_index": ArraySpec(index, (self.k,)),
            f"{output}_rest": ArraySpec("<f4", ()),
        }

    def encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        fields = self.fields(output, values.shape[1:])
        index = _largest(values, self.k)
        kept = np.take_along_axis(values, index, axis=1)
        stored = Float16().encode(output, kept)[output]
        refuse_not_finite(values)  # NaN sorts as largest, an infinity below the others does not
        return {
            output: stored,
            f"{output}_index": index.astype(fields[f"{output}_index"].dtype),
            f"{output}_rest": self._rest(values, index, stored),
        }

    def _rest(self, values: np.ndarray, index: np.ndarray, stored: np.ndarray) -> np.ndarray:
        """The one logit of every class that is not kept: log(mean(exp)) of theirs; at most the k-th as stored."""
        others = values.shape[1] - self.k
        if not others:
            return np.zeros(len(values), "<f4")
        largest = values.max(axis=1, keepdims=True)
        raised = np.exp((values - largest).astype(np.float32))
        np.put_along_axis(raised, index, 0, axis=1)
        mass = raised.sum(axis=1, dtype=np.float64)
        lowest = np.finfo(
            np.float32
        ).tiny  # all of it may be too small for float32: then it is as good as none
        rest = largest[:, 0] + np.log(np.maximum(mass, lowest) / others)
        return np.minimum(rest, stored[:, -1]).astype("<f4")

    def decode(self, output: str, shape: tuple[int, ...], arrays: dict[str, np.ndarray]) -> np.ndarray:
        index = arrays[f"{output}_index"].astype(np.int64)
        if index.size and index.max() >= shape[0]:
            raise CacheError(f"{output} names class {index.max()} of {shape[0]}", "the cache is not sound")
        rest = arrays[f"{output}_rest"]
        values = np.empty((len(index), *shape), np.float32)
        values[:] = rest[:, None]
        np.put_along_axis(values, index, arrays[output].astype(np.float32), axis=1)
        return values


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest of each row, int64 [n, k], descending; of equal ones the first counts first."""
    if k == values.shape[1]:
        return np.argsort(-values, axis=1, kind="stable")
    index = np.sort(np.argpartition(-values, k - 1, axis=1)[:, :k], axis=1)
    kept = np.take_along_axis(values, index, axis=1)
    # Which of several logits equal to the k-th a partition keeps is anybody's guess: those rows are sorted whole.
    border = kept.min(axis=1, keepdims=True)
    tied = np.flatnonzero((values == border).sum(axis=1) > (kept == border).sum(axis=1))
    index = np.take_along_axis(index, np.argsort(-kept, axis=1, kind="stable"), axis=1)
    if len(tied):
        index[tied] = np.argsort(-values[tied], axis=1, kind="stable")[:, :k]
    return index


NAMES = ("float16", "int8", "topk")


def of(output: Mapping[str, Any]) -> Encoding:
    """The encoding of an output, an entry of `identity["outputs"]`: `encoding`, and for `topk` its `k`.

    Raises:
        CacheError: this version knows no such encoding, or `k` does not fit it.
    """
    name, k = output.get("encoding"), output.get("k")
    if name not in NAMES:
        raise CacheError(f"the encoding {name!r:.80} is unknown", f"this version reads {', '.join(NAMES)}")
    if name == "topk":
        if type(k) is not int or not 1 <= k < 2**31:
            raise CacheError(f"the encoding topk has k = {k!r:.80}", "it must be a whole number of logits")
        return TopK(k)
    if k is not None:
        raise CacheError(f"the encoding {name} has k = {k!r:.80}", "only topk keeps k logits")
    return Float16() if name == "float16" else Int8()


def refuse_not_finite(values: np.ndarray) -> None:
    """Raise `UnstorableError` for the first row of [n, ...] that holds NaN or an infinity."""
    first = _first_row(~np.isfinite(values))
    if first is not None:
        bad = values[first][~np.isfinite(values[first])]
        raise UnstorableError(first, float(bad.flat[0]), "outputs must be finite")


def _first_row(bad: np.ndarray) -> int | None:
    rows = bad.reshape(len(bad), -1).any(axis=1)
    return int(rows.argmax()) if rows.any() else None


def _worst(values: np.ndarray, row: int) -> tuple[int, float]:
    flat = values[row].reshape(-1)
    return row, float(flat[np.abs(flat).argmax()])
