"""Shots: a view of a sample with all that it takes to render it, drawn from a recipe or read from a cache."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stillroom.errors import CacheError
from stillroom.modalities.images.fields import CELLS, FIELDS, MIX, Policy, View, unpack
from stillroom.modalities.images.mix import blend, mixed
from stillroom.modalities.images.pixels import Pixels
from stillroom.modalities.images.render import render
from stillroom.samples import Sample, Samples

AGAIN = "fetch the cache again from where it came, or run `stillroom cache --replace`"


@dataclass(frozen=True)
class Shot:
    """A sample, its view's parameters and, where another sample is mixed in, that one with its own."""

    row: Sample
    view: View
    partner: tuple[Sample, View] | None = None

    def rows(self) -> list[Sample]:
        """The samples whose pixels it takes."""
        return [self.row] if self.partner is None else [self.row, self.partner[0]]


def drawn(recipe: Policy, seed: int, samples: Samples, rows: Sequence[Sample], view: int) -> list[Shot]:
    """One view of some rows of a table, drawn.

    Args:
        samples: the training samples: partners come from all of them.
        rows: the rows wanted, in any order.
        view: the view's number.
    """
    found = []
    for row in rows:
        own = mixed(recipe, seed, samples, row, view, recipe.draw(seed, row, view))
        partner = None
        if own.mix_share:
            other = samples.rows[own.mix_partner]
            partner = (other, recipe.draw(seed, other, view))
        found.append(Shot(row, own, partner))
    return found


class Stored:
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
        box = arrays["box"].astype(np.int64)
        width, height = np.array([row.size for row in samples.rows], np.int64).reshape(-1, 2).T
        outside = (
            (box[:, 0] >= box[:, 2]) | (box[:, 2] > width) | (box[:, 1] >= box[:, 3]) | (box[:, 3] > height)
        )
        self._refuse(outside, "box", box)
        if any(name in arrays for name in MIX):
            lacking = [name for name in MIX if name not in arrays]
            if lacking:
                raise CacheError(
                    f"the cache keeps no views/{lacking[0]}, though its views are mixed", fix=AGAIN
                )
            self._refuse(arrays["mix_partner"] >= count, "mix_partner", arrays["mix_partner"])
        for name in ("erase", "mix_cut"):
            if name in arrays:
                edges = arrays[name].astype(np.int64)
                most = {"erase": 255, "mix_cut": CELLS}[name]
                wrong = (edges[:, 0] > edges[:, 2]) | (edges[:, 1] > edges[:, 3]) | (edges > most).any(axis=1)
                self._refuse(wrong, name, edges)

    @property
    def mixes(self) -> bool:
        """Whether its views may be mixed."""
        return "mix_share" in self._arrays

    def mixture(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of what is mixed into these rows, and their shares in 1/65536, uint [B] each."""
        return self._arrays["mix_partner"][rows], self._arrays["mix_share"][rows]

    def _refuse(self, wrong: np.ndarray, name: str, values: np.ndarray) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            sample = self._samples.rows[row]
            raise CacheError(
                f"views/{name} of {sample.key} in the cache is {values[row].tolist()}",
                f"no view of an image of {sample.size[0]} x {sample.size[1]} pixels has it",
                AGAIN,
            )

    def __getitem__(self, number: int) -> Shot:
        """The view of the sample in a row."""
        rows = self._samples.rows
        own = unpack(self._arrays, number)
        partner = None
        if own.mix_share:
            other = unpack(self._arrays, own.mix_partner)  # what is mixed into it in turn plays no part
            partner = (
                rows[own.mix_partner],
                replace(other, mix_partner=0, mix_share=0, mix_cut=(0, 0, 0, 0)),
            )
        return Shot(rows[number], own, partner)


def square(pixels: Pixels, shot: Shot, size: int) -> np.ndarray:
    """What a model sees of a shot, uint8 [size, size, 3].

    Raises:
        DataError: an image is missing, unreadable, or not the one that `prepare` saw.
    """
    own = render(pixels[shot.row], shot.view, size)
    if shot.partner is None:
        return own
    row, view = shot.partner
    return blend(own, render(pixels[row], view, size), shot.view)
