"""The views of a plane of a cache, checked: no value may be one that no view of a clip can have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stillroom.columns import MANY
from stillroom.errors import CacheError
from stillroom.modalities.base import ViewRequest
from stillroom.modalities.skeletons.fields import FIELDS, unpack
from stillroom.samples import Samples

AGAIN = "fetch the cache again from where it came, or run `stillroom cache --replace`"
NEEDED = ("start", "length")


class StoredViews:
    """The views of a plane of a cache.

    Args:
        arrays: the plane's view parameters by field, whole: [N, ...] each; fields that are not there are
            neutral.
        samples: the cache's samples, row for row.

    Raises:
        CacheError: a field is none of `FIELDS`, or start or length is lacking, or a value is one that no view
            has; names the first one.
    """

    mixes = False

    def __init__(self, arrays: dict[str, np.ndarray], samples: Samples) -> None:
        self._arrays, self._samples = arrays, samples
        unknown = [name for name in arrays if name not in FIELDS]
        lacking = [name for name in NEEDED if name not in arrays]
        if unknown or lacking:
            raise CacheError(
                f"the cache keeps views/{unknown[0]}, which this version does not know"
                if unknown
                else f"the cache keeps no views/{lacking[0]}",
                "its views cannot be rendered as the teacher saw them",
                "install the version that wrote it",
            )
        count = len(samples)
        for name, values in arrays.items():
            dtype, shape = FIELDS[name]
            if values.dtype != np.dtype(dtype) or values.shape != (count, *shape):
                raise CacheError(
                    f"views/{name} of the cache is {values.dtype} {list(values.shape)}",
                    f"expected {dtype} {[count, *shape]}",
                    AGAIN,
                )
        for first in range(0, count, MANY):
            self._check(first, min(first + MANY, count))

    def _check(self, first: int, last: int) -> None:
        """Refuse values of some rows that no view has."""
        arrays = {name: one[first:last] for name, one in self._arrays.items()}
        start, length = (arrays[name].astype(np.float64) for name in NEEDED)
        sound = {
            "start": (start >= 0) & (start < 1),
            "length": (length > 0) & (start + length <= 1),
        }
        if "mirror" in arrays:
            sound["mirror"] = arrays["mirror"] <= 1
        if "angle" in arrays:
            sound["angle"] = (np.abs(arrays["angle"]) <= np.float32(math.pi)).all(axis=1)
        if "scale" in arrays:
            sound["scale"] = (arrays["scale"] > 0) & np.isfinite(arrays["scale"])
        if "shear" in arrays:
            sound["shear"] = (np.abs(arrays["shear"]) <= 1).all(axis=1)
        for name, fine in sound.items():  # comparisons are false where a number is none
            self._refuse(~fine, first, name, arrays[name])

    def mixture(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views of clips are not mixed."""
        raise NotImplementedError

    def _refuse(self, wrong: np.ndarray, first: int, name: str, values: np.ndarray) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            raise CacheError(
                f"views/{name} of {self._samples.rows[first + row].key} in the cache is "
                f"{values[row].tolist()}",
                "no view of a clip has it",
                AGAIN,
            )

    def __getitem__(self, number: int) -> ViewRequest:
        """The view of the sample in a row."""
        return self.part(np.array([number])).requests(self._samples)[0]

    def part(self, rows: np.ndarray) -> "StoredPart":
        """Those of some rows, in their order."""
        return StoredPart(rows, {name: values[rows] for name, values in self._arrays.items()})


@dataclass(frozen=True)
class StoredPart:
    """Some views of a plane.

    Attributes:
        rows: of their samples, int [n].
        arrays: their parameters by field, [n, ...] each.
    """

    rows: np.ndarray
    arrays: dict[str, np.ndarray]
    tell: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def requests(self, samples: Samples) -> list[ViewRequest]:
        """The views, given the table that the plane is of."""
        return [
            ViewRequest(samples.rows[row], unpack(self.arrays, place)) for place, row in enumerate(self.rows)
        ]
