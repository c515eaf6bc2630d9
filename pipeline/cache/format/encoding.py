"""How a teacher's float32 outputs are stored: each encoding turns rows into arrays and back."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillroom.cache.format.layout import ArraySpec
from stillroom.errors import CacheError

_VALUES = 2**20  # encoded at a time: 4 MiB of float32


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
        """The arrays that store an output of `shape` a row: dtype and shape a row, by array name.

        Raises:
            ValueError: the encoding holds no output of this shape.
        """

    def encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of an output, float32 [n, *shape], as the arrays of `fields`, each [n, ...].

        What a row becomes does not depend on the other rows. Beside the result this takes a few megabytes.

        Raises:
            UnstorableError: a value is NaN, infinite, or beyond what the encoding holds; names the first row.
            ValueError: the encoding holds no output of this shape.
        """
        rows = max(1, _VALUES // math.prod(values.shape[1:]))
        parts = []
        for start in range(0, len(values), rows):
            part = np.ascontiguousarray(values[start : start + rows], np.float32)
            try:
                refuse_not_finite(part)
                parts.append(self._encode(output, part))
            except UnstorableError as error:
                raise UnstorableError(start + error.row, error.value, error.reason) from None
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @abstractmethod
    def _encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """`encode` for a few rows, all finite, float32 in C order."""

    @abstractmethod
    def decode(self, output: str, shape: tuple[int, ...], arrays: dict[str, np.ndarray]) -> np.ndarray:
        """The inverse of `encode`: float32 [n, *shape]."""


class Float16(Encoding):
    """IEEE 754 binary16, rounded to nearest even: a relative error of at most 2^-11 from 2^-14 on."""

    largest = 65504.0

    def fields(self, output: str, shape: tuple[int, ...]) -> dict[str, ArraySpec]:
        return {output: ArraySpec("<f2", tuple(shape))}

    def _encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
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

    The error of a value is at most half the scale; rows of less than about 1e-36 become zero. The plain scale
    is the row's largest magnitude / 127; an output of more than one dimension has it. Of logits, one
    dimension, probabilities depend on the few largest only: among scales up to half as large again, that one
    is taken on whose grid those fall best, with the least variance, under softmax(row), of their rounding
    errors. The divergence that small errors cause is half of that variance, KL(p || q) = Var_p(error) / 2 to
    second order; it comes out about three times smaller than with the plain scale. Order is kept, but close
    logits may become equal.
    """

    candidates = 64
    widest = 1.5  # the largest scale tried, in plain ones
    top = 16  # logits of a row that are looked at
    huge = 3.3e38  # rows beyond it have the plain scale: with a larger one, byte * scale may leave float32

    def fields(self, output: str, shape: tuple[int, ...]) -> dict[str, ArraySpec]:
        return {output: ArraySpec("|i1", tuple(shape)), f"{output}_scale": ArraySpec("<f4", ())}

    def _encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        rows = values.reshape(len(values), -1)
        largest = np.abs(rows).max(axis=1)
        plain = largest / np.float32(127)
        scale = self._fitted(rows, plain) if values.ndim == 2 else plain
        scale = np.where(largest > self.huge, np.nextafter(plain, np.float32(0)), scale)
        # a row of zeros, or of values so small that 1 / scale is infinite: with any scale it gives zeros
        scale = np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale).astype("<f4")
        stored = np.clip(np.rint(rows / scale[:, None]), -127, 127).astype("|i1")
        return {output: stored.reshape(values.shape), f"{output}_scale": scale}

    def _fitted(self, rows: np.ndarray, plain: np.ndarray) -> np.ndarray:
        """The scale of each row of logits: float32 [n]."""
        top = min(self.top, rows.shape[1])
        # sorted, since the sums below must not depend on how a partition orders them
        largest = np.sort(np.partition(rows, -top, axis=1)[:, -top:], axis=1)[:, ::-1].astype(np.float64)
        weight = np.exp(largest - largest[:, :1])
        weight /= weight.sum(axis=1, keepdims=True)
        best, scale = np.full(len(rows), np.inf), plain.copy()
        for step in np.linspace(1, self.widest, self.candidates, endpoint=False):
            tried = np.minimum(plain * np.float64(step), self.huge).astype(np.float32)
            grid = np.where(tried > 0, tried, 1).astype(np.float64)[:, None]
            error = np.rint(largest / grid) * grid - largest
            weighted = weight * error
            spread = (weighted * error).sum(axis=1) - weighted.sum(axis=1) ** 2
            better = spread < best
            best[better], scale[better] = spread[better], tried[better]
        return scale

    def decode(self, output: str, shape: tuple[int, ...], arrays: dict[str, np.ndarray]) -> np.ndarray:
        scale = arrays[f"{output}_scale"].reshape(-1, *[1] * len(shape))
        return arrays[output].astype(np.float32) * scale


@dataclass(frozen=True)
class TopK(Encoding):
    """The k largest logits of a row in float16, descending, their classes, and one logit for all others.

    Of equal logits the first class counts first. Decoded, the others share one value, with which they hold
    at T = 1 the probability that the teacher gave them, to one part in 100,000 for logits below 64; or a
    little less, where that value would pass the k-th. Storing the k largest alone, as TinyViT does (Wu et al.
    2022), and normalising them again is biased towards them (Anshumann et al. 2025, "Sparse logit sampling").
    What is lost is how the others differ among themselves; at T > 1 that matters more, as
    `divergence.measure` tells.
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

    def _encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        fields = self.fields(output, values.shape[1:])
        index = _largest(values, self.k)
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
        others = values.shape[1] - self.k
        if not others:
            return np.zeros(len(values), "<f4")
        raised = values.copy()
        np.put_along_axis(raised, index, -np.inf, axis=1)
        largest = raised.max(
            axis=1, keepdims=True
        )  # their own: nothing underflows, however far below they lie
        raised -= largest
        mass = np.exp(raised, out=raised).sum(axis=1, dtype=np.float64)
        # Rounding to float16 changed the mass of the kept ones; the share of the others must not follow.
        first = kept[:, :1].astype(np.float64)
        drift = np.exp(stored - first).sum(axis=1) / np.exp(kept - first).sum(axis=1)
        rest = largest[:, 0] + np.log(mass / others * drift)
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
    """The places of the k largest of each row, int64 [n, k], descending; of equal ones the first first."""
    rows, classes = values.shape
    # To find the k-th value and then what reaches it takes half the time of finding places (argpartition).
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


NAMES = ("float16", "int8", "topk")
KINDS = ("logits", "features")


def kind_of(output: Mapping[str, Any]) -> str:
    """What an output is, an entry of `identity["outputs"]`: `logits`, or `features` of a layer."""
    return str(output.get("kind", "logits"))


def source_of(output: Mapping[str, Any]) -> str:
    """What its teacher's model calls an output: `logits`, or the name of the layer."""
    return str(output.get("take", "logits"))


def layers(outputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The layers that outputs of one teacher are the features of."""
    return sorted({source_of(output) for output in outputs.values()} - {"logits"})


def encoding_for(output: Mapping[str, Any]) -> Encoding:
    """The encoding of an output, an entry of `identity["outputs"]`: its `encoding`, and for `topk` its `k`.

    Raises:
        CacheError: this version knows no such encoding, or `k` does not fit it or the output's `shape`.
    """
    if not isinstance(output, Mapping):
        raise CacheError(f"an output is described by {_shown(output)}", "it must be a table")
    name, k = output.get("encoding"), output.get("k")
    if not isinstance(name, str) or name not in NAMES:
        fix = "set cache.encoding to one of them, or read the cache with the version that wrote it"
        raise CacheError(
            f"the encoding {_shown(name)} is unknown", f"this version reads {', '.join(NAMES)}", fix
        )
    if name == "topk":
        if type(k) is not int or not 1 <= k < 2**31:
            why = "k, the logits that are kept a row, must be a whole number from 1 on"
            raise CacheError(f"the encoding topk has k = {_shown(k)}", why, "set cache.k, to 16 for example")
        shape = output.get("shape", [k])
        if not isinstance(shape, list | tuple) or len(shape) != 1 or type(shape[0]) is not int:
            why = "it keeps the largest of one row of logits"
            fix = "set cache.encoding to float16 or int8"
            raise CacheError(f"the encoding topk has an output of shape {_shown(shape)}", why, fix)
        if k > shape[0]:
            why = f"a row holds {shape[0]} logits"
            fix = f"set cache.k to {shape[0]} or less" if shape[0] > 0 else ""
            raise CacheError(f"the encoding topk has k = {_shown(k)}", why, fix)
        return TopK(k)
    if "k" in output:
        fix = "leave k out, or set cache.encoding to topk"
        raise CacheError(f"the encoding {name} has k = {_shown(k)}", "only topk keeps k logits", fix)
    return Float16() if name == "float16" else Int8()


def _shown(value: Any) -> str:
    """A value of unknown origin for a message. One that is deeply nested may have no `repr`."""
    nested = isinstance(value, Mapping | list | tuple) and any(
        isinstance(item, Mapping | list | tuple) for item in value
    )
    return f"a nested {type(value).__name__}" if nested else f"{value!r:.80}"


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
