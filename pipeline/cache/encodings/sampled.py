"""Classes drawn from the teacher's probabilities, and how often each was."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from stillroom.cache.encodings import Encoding, shown
from stillroom.cache.encodings._ascending import Ascending, ascending
from stillroom.cache.encodings._bits import Reader, pack, row_bytes
from stillroom.cache.format.layout import ArraySpec
from stillroom.draw import uniforms
from stillroom.errors import CacheError

_VALUES = 2**20  # decoded at a time: 4 MiB of float32


@dataclass(frozen=True)
class Sampled(Encoding):
    """`draws` classes drawn from softmax(logits), for the loss `kd` at T = 1.

    Random sampling distillation (Anshumann et al. 2025, "Sparse Logit Sampling: Accelerating Knowledge
    Distillation in LLMs", arXiv 2503.16870): counts / draws is an unbiased estimate of the teacher's
    probabilities, where the k largest are a biased one. The gradient of cross-entropy, softmax(student) -
    target, is linear in the target: over the draws its mean is that of all logits, at any size of a row. At
    T > 1, and for a loss that is not linear in the target, nothing of the kind holds.

    Draw j takes a uniform number from [j / draws, (j + 1) / draws) through the inverse of the cumulated
    probabilities. So a class comes draws * p times on average, as with independent draws, and never two more
    or less often (stratified sampling; Kitagawa 1996).

    The numbers are a pure function of (seed, row): `stillroom.draw`, at a digest of the row's float32 bytes
    (-0 as 0). An encoding knows no keys, and the place of a row in its block must play no part; and equal
    draws for all rows would err alike, which the mean over a batch would not even out. A row that differs
    by rounding has other draws, as good as these; that is why `stillroom store audit` cannot compare them.

    A row is `Ascending`: the drawn classes in order, each as often as it was drawn. 32 draws of 1,000 classes
    take 28 bytes. What comes back is log(count), and `floor` for classes that never came: together these
    have at most C / draws * 2.1e-9 of the probability (6.5e-8 for 32 draws of 1,000 classes), which is
    what the estimate is off by. The KL divergence that a manifest keeps is large: a class that the
    teacher gives p and that is not drawn adds about 20 p nats. It says how few are there, not what
    students lose: the mean over views and epochs is what they learn from.

    The paper also draws in proportion to p^t and weighs each class by p / q. That stays unbiased only as long
    as nobody normalises the weights, and a row of logits always is; it would also need p of each class.
    Here t is 1, where the weights are equal.

    Attributes:
        draws: classes drawn a row, from 1 to 65536.
        seed: of the draws, in [0, 2^63).
    """

    draws: int = 32
    seed: int = 0

    draws_rows: ClassVar[bool] = True
    floor: ClassVar[float] = -20.0  # of a class that is drawn once, e^-20 is left

    @classmethod
    def of(cls, output: Mapping[str, Any]) -> Self:
        draws, seed, shape = output.get("draws"), output.get("seed"), output.get("shape", [1])
        if type(draws) is not int or not 1 <= draws <= 65536:
            why = "draws, the classes drawn a row, must be a whole number from 1 to 65536"
            raise CacheError(f"the encoding sampled has draws = {shown(draws)}", why)
        if type(seed) is not int or not 0 <= seed < 2**63:
            why = "seed must be a whole number from 0 to 2^63 - 1"
            raise CacheError(f"the encoding sampled has seed = {shown(seed)}", why)
        sound = isinstance(shape, list | tuple) and len(shape) == 1 and type(shape[0]) is int
        if not sound or shape[0] < 1:
            why, fix = "it draws from one row of logits", "set cache.encoding to float16 or int8"
            raise CacheError(f"the encoding sampled has an output of shape {shown(shape)}", why, fix)
        return cls(draws, seed)

    def fields(self, output: str, shape: tuple[int, ...]) -> dict[str, ArraySpec]:
        if len(shape) != 1 or shape[0] < 1:
            raise ValueError(f"no classes are drawn from an output of shape {list(shape)!r:.80}")
        return {output: ArraySpec("|u1", (row_bytes(self._classes(shape[0]).bits),))}

    def _classes(self, classes: int) -> Ascending:
        return ascending(self.draws, classes - 1)

    def _encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        self.fields(output, values.shape[1:])
        drawn = np.stack([self._drawn(row) for row in values])
        return {output: pack(self._classes(values.shape[1]).parts(drawn))}

    def _drawn(self, row: np.ndarray) -> np.ndarray:
        """The classes drawn from one row, float32 [C]: int64 [draws], ascending."""
        content = hashlib.blake2b((row + np.float32(0)).astype("<f4").tobytes(), digest_size=16).hexdigest()
        strata = (np.arange(self.draws) + uniforms(self.seed, content, 0, self.draws)) / self.draws
        wide = row.astype(np.float64)
        sums = np.cumsum(np.exp(wide - wide.max()))
        # the last class with any probability, where rounding takes a number to the end of all
        last = np.searchsorted(sums, sums[-1])
        drawn: np.ndarray = np.minimum(np.searchsorted(sums, strata * sums[-1], side="right"), last)
        return drawn

    def decode(self, output: str, shape: tuple[int, ...], arrays: dict[str, np.ndarray]) -> np.ndarray:
        rows = arrays[output]
        values = np.empty((len(rows), *shape), np.float32)
        logs = np.array([self.floor, *(math.log(count) for count in range(1, self.draws + 1))], np.float32)
        step = max(1, _VALUES // shape[0])
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            reader = Reader(part)
            try:
                drawn = self._classes(shape[0]).read(reader)
                reader.finish()
            except ValueError as error:
                why = "the cache is not sound"
                raise CacheError(f"{output} holds no draws as it must: {error}", why) from None
            places = (drawn + np.arange(len(part))[:, None] * shape[0]).reshape(-1)
            counts = np.bincount(places, minlength=len(part) * shape[0]).reshape(len(part), shape[0])
            values[start : start + step] = logs[counts]
        return values
