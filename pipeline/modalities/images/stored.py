"""The views of a plane of a cache, checked: no value may be one that no view of its image can have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stillroom.columns import MANY
from stillroom.errors import CacheError
from stillroom.modalities.base import ViewRequest
from stillroom.modalities.images.fields import CELLS, FIELDS, MIX, SHARES, unpack
from stillroom.samples import Samples

AGAIN = "fetch the cache again from where it came, or run `stillroom cache --replace`"


class StoredViews:
    """The views of a plane of a cache.

    Args:
        arrays: the plane's view parameters by field, whole: [N, ...] each; fields that are not there are
            neutral.
        samples: the cache's samples, row for row.

    Raises:
        CacheError: there is no box, a field is none of `FIELDS`, or a value cannot be of these samples; names
            the first one.
    """

    def __init__(self, arrays: dict[str, np.ndarray], samples: Samples) -> None:
        self._arrays, self._samples = arrays, samples
        unknown = [name for name in arrays if name not in FIELDS]
        if unknown or "box" not in arrays:
            raise CacheError(
                f"the cache keeps views/{unknown[0]}, which this version does not know"
                if unknown
                else "the cache keeps no views/box",
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
        if any(name in arrays for name in MIX):
            lacking = [name for name in MIX if name not in arrays]
            if lacking:
                raise CacheError(
                    f"the cache keeps no views/{lacking[0]}, though its views are mixed", fix=AGAIN
                )
        for start in range(0, count, MANY):
            self._check(start, min(start + MANY, count))

    def _check(self, start: int, stop: int) -> None:
        """Refuse values of some rows that no view has."""
        arrays, count = {name: one[start:stop] for name, one in self._arrays.items()}, len(self._samples)
        box = arrays["box"].astype(np.int64)
        width, height = self._samples.rows[start:stop].numbers("size").T
        outside = (
            (box[:, 0] >= box[:, 2]) | (box[:, 2] > width) | (box[:, 1] >= box[:, 3]) | (box[:, 3] > height)
        )
        self._refuse(outside, start, "box", box)
        if "mix_partner" in arrays:
            self._refuse(arrays["mix_partner"] >= count, start, "mix_partner", arrays["mix_partner"])
        for name in ("erase", "mix_cut"):
            if name in arrays:
                edges = arrays[name].astype(np.int64)
                most = {"erase": 255, "mix_cut": CELLS}[name]
                wrong = (edges[:, 0] > edges[:, 2]) | (edges[:, 1] > edges[:, 3]) | (edges > most).any(axis=1)
                self._refuse(wrong, start, name, edges)

    @property
    def mixes(self) -> bool:
        """Whether its views may be mixed."""
        return "mix_share" in self._arrays

    def mixture(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of what is mixed into these rows, uint [B], and its shares of them, float32 [B]."""
        shares = self._arrays["mix_share"][rows].astype(np.float32) / SHARES
        return self._arrays["mix_partner"][rows], shares

    def _refuse(self, wrong: np.ndarray, start: int, name: str, values: np.ndarray) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            sample = self._samples.rows[start + row]
            raise CacheError(
                f"views/{name} of {sample.key} in the cache is {values[row].tolist()}",
                f"no view of an image of {sample.size[0]} x {sample.size[1]} pixels has it",
                AGAIN,
            )

    def __getitem__(self, number: int) -> ViewRequest:
        """The view of the sample in a row."""
        return self.part(np.array([number])).requests(self._samples)[0]

    def part(self, rows: np.ndarray) -> "StoredPart":
        """Those of some rows, in their order."""
        own = {name: values[rows] for name, values in self._arrays.items()}
        partners = {}
        if self.mixes:  # what is mixed into a partner in turn plays no part
            seen = {name: values for name, values in self._arrays.items() if name not in MIX}
            partners = {name: values[own["mix_partner"]] for name, values in seen.items()}
        return StoredPart(rows, own, partners)


@dataclass(frozen=True)
class StoredPart:
    """Some views of a plane.

    Attributes:
        rows: of their samples, int [n].
        own: their parameters by field, [n, ...] each.
        partners: likewise, of what is mixed into them; empty where nothing is.
    """

    rows: np.ndarray
    own: dict[str, np.ndarray]
    partners: dict[str, np.ndarray]
    tell: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def requests(self, samples: Samples) -> list[ViewRequest]:
        """The views, given the table that the plane is of."""
        return [self._request(samples, place) for place in range(len(self))]

    def _request(self, samples: Samples, place: int) -> ViewRequest:
        own = unpack(self.own, place)
        partner = None
        if own.mix_share:
            partner = (samples.rows[own.mix_partner], unpack(self.partners, place))
        return ViewRequest(samples.rows[self.rows[place]], own, partner)
