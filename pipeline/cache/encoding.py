"""How a teacher's float32 outputs are stored: a table of encodings, each turns rows into arrays and back."""

from abc import ABC, abstractmethod

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


ENCODINGS: dict[str, Encoding] = {"float16": Float16()}


def encoding(name: str) -> Encoding:
    """An encoding by its name.

    Raises:
        CacheError: this version knows none of that name.
    """
    try:
        return ENCODINGS[name]
    except KeyError:
        known = ", ".join(sorted(ENCODINGS))
        raise CacheError(f"the encoding {name!r} is unknown", f"this version reads {known}") from None


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
