"""A byte a value, scaled row by row."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stillroom.cache.encodings import Encoding
from stillroom.cache.format.layout import ArraySpec


@dataclass(frozen=True)
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

    candidates: ClassVar[int] = 64
    widest: ClassVar[float] = 1.5  # the largest scale tried, in plain ones
    top: ClassVar[int] = 16  # logits of a row that are looked at
    huge: ClassVar[float] = (
        3.3e38  # rows beyond it have the plain scale: with a larger one, byte * scale may leave float32
    )

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
        values: np.ndarray = arrays[output].astype(np.float32) * scale
        return values
