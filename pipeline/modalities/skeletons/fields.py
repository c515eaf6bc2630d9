"""What a view of a clip is made of, and what a policy is: plain numbers, and plain data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stillroom.modalities import base
from stillroom.modalities.skeletons.samples import Sample

# What may be kept of a view: name -> (dtype, shape). A policy keeps those that it draws (33 bytes for
# `move`).
FIELDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "start": ("float32", ()),  # of the crop, as a share of the clip, in [0, 1)
    "length": ("float32", ()),  # of the crop, as a share of the clip; start + length <= 1
    "mirror": ("uint8", ()),  # 1: mirrored left-right, left and right joints exchanged
    "angle": ("float32", (3,)),  # radians about x, y and z (the viewing axis); 2-D takes the third alone
    "scale": ("float32", ()),  # of what is normalised
    "shear": ("float32", (2,)),  # x by y, and y by x
}


@dataclass(frozen=True)
class View:
    """One view's parameters; units as in `FIELDS`, each number one that its dtype holds exactly."""

    start: float = 0.0
    length: float = 1.0
    mirror: int = 0
    angle: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    shear: tuple[float, float] = (0.0, 0.0)


class Policy(base.Policy):
    """A recipe of views of clips.

    A new policy subclasses this in `pipeline/modalities/skeletons/policies/NAME.py`: its parameters are its
    fields, `KEEPS` names what it draws of `FIELDS`, and nothing else needs to change.
    """

    FIELDS: ClassVar[base.Fields] = FIELDS
    KEEPS: ClassVar[tuple[str, ...]] = ("start", "length")

    def draw(self, seed: int, sample: Sample, view: int) -> View:
        """Draw a view of a sample.

        Args:
            seed: in [0, 2^63).
            sample: its frames and dimensions may be looked at, never its position.
            view: the view's number, in [0, 2^63).
        """
        raise NotImplementedError


def whole(sample: Sample) -> View:
    """The view for evaluation: the whole clip, nothing changed."""
    return View()


def pack(views: Sequence[View], fields: Iterable[str] = tuple(FIELDS)) -> dict[str, np.ndarray]:
    """Views to arrays, one row a view, dtypes and shapes as in `FIELDS`.

    Args:
        fields: which ones.
    """
    return base.packed(views, fields, FIELDS)


def unpack(arrays: Mapping[str, np.ndarray], row: int) -> View:
    """One row of `pack`'s arrays as a view; fields that are not there are neutral."""
    return View(**base.unpacked(arrays, row, FIELDS))
