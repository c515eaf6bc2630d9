"""Half precision."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stillroom.cache.encodings import Encoding, UnstorableError, first_row, worst
from stillroom.cache.format.layout import ArraySpec


@dataclass(frozen=True)
class Float16(Encoding):
    """IEEE 754 binary16, rounded to nearest even: a relative error of at most 2^-11 from 2^-14 on."""

    largest: ClassVar[float] = 65504.0

    def fields(self, output: str, shape: tuple[int, ...]) -> dict[str, ArraySpec]:
        return {output: ArraySpec("<f2", tuple(shape))}

    def _encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(over="ignore"):  # it is looked for right below, and named
            stored = values.astype("<f2")
        first = first_row(~np.isfinite(stored))
        if first is not None:
            raise UnstorableError(*worst(values, first), f"float16 ends at {self.largest:.0f}")
        return {output: stored}

    def decode(self, output: str, shape: tuple[int, ...], arrays: dict[str, np.ndarray]) -> np.ndarray:
        return arrays[output].astype(np.float32)
