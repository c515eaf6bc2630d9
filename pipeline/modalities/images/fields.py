"""What a view is made of, and what a policy is: plain numbers, and plain data."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from stillroom.modalities import base
from stillroom.modalities.images.samples import Sample
from stillroom.params import Fraction, NonNegative
from stillroom.samples import Samples

# What may be kept of a view: name -> (dtype, shape). A policy keeps those that it draws (12 bytes for
# `crop`).
FIELDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "box": ("uint16", (4,)),  # x0, y0, x1, y1 of the crop, in whole pixels of the image, the ends exclusive
    "flip": ("uint8", ()),  # 1: mirrored left-right after the crop
    "colour": ("uint8", (3,)),  # brightness, contrast, saturation in 1/128 (128: unchanged)
    # 0 none, 1 grey, 2 solarised, 3 blurred; and the blur's radius in 1/64 pixel of a view of 224 pixels
    "filter": ("uint8", (2,)),
    "erase": ("uint8", (4,)),  # x0, y0, x1, y1 of what is painted over, in 1/255 of the view's side
    "paint": ("uint8", (3,)),  # and its colour, RGB
    "mix_partner": ("uint32", ()),  # the sample that is mixed in: its row in the cache's `keys`
    "mix_share": ("uint16", ()),  # the partner's share of the view and of the label, in 1/65536; 0: not mixed
    # x0, y0, x1, y1 of the partner's rectangle in 1/32 of the side (cutmix); all 0: blended everywhere
    # (mixup)
    "mix_cut": ("uint8", (4,)),
    "draft": ("uint8", ()),  # 1: a JPEG is decoded at 1/2, 1/4 or 1/8, where the crop is large enough for it
}
MIX = ("mix_partner", "mix_share", "mix_cut")
NEUTRAL = (128, 128, 128)
CELLS = 32  # every family's input is a multiple of so many pixels, or of a power of two below: whole pixels
SHARES = 65536
Level = Annotated[float, Field(ge=0, le=0.99)]  # half-width of a factor around 1


@dataclass(frozen=True)
class View:
    """One view's parameters; units as in `FIELDS`."""

    box: tuple[int, int, int, int]
    flip: int = 0
    colour: tuple[int, int, int] = NEUTRAL
    filter: tuple[int, int] = (0, 0)
    erase: tuple[int, int, int, int] = (0, 0, 0, 0)
    paint: tuple[int, int, int] = (0, 0, 0)
    mix_partner: int = 0
    mix_share: int = 0
    mix_cut: tuple[int, int, int, int] = (0, 0, 0, 0)
    draft: int = 0


class Policy(base.Policy):
    """A recipe of views of images.

    A new policy subclasses this in `pipeline/modalities/images/policies/NAME.py`, as the class whose name
    is NAME in CamelCase: its parameters are its fields, `KEEPS` names what it draws of `FIELDS`, and nothing
    else needs to change.

    Mixing is the same for all policies: a view may be mixed with the same view of another training sample.
    """

    FIELDS: ClassVar[base.Fields] = FIELDS
    KEEPS: ClassVar[tuple[str, ...]] = ("box",)
    LATER: ClassVar[tuple[str, ...]] = ("mixup", "cutmix", "mixup_prob", "mixup_switch_prob", "draft")

    mixup: NonNegative = 0.0  # alpha of the weight's Beta(alpha, alpha) (Zhang et al. 2018); 0: none
    cutmix: NonNegative = 0.0  # alpha of the area's Beta(alpha, alpha) (Yun et al. 2019); 0: none
    mixup_prob: Fraction = 1.0  # share of views that are mixed at all, where mixup or cutmix is on
    mixup_switch_prob: Fraction = 0.5  # share of cutmix among them, where both are on
    # Whether a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, the smallest at which a crop is still as large
    # as the view: large pictures are decoded faster and take less memory, to somewhat other pixels
    draft: bool = False

    def draw(self, seed: int, sample: Sample, view: int) -> View:
        """Draw a view of a sample, unmixed.

        Args:
            seed: in [0, 2^63).
            sample: its size and its person's box may be looked at, never its position.
            view: the view's number, in [0, 2^63).
        """
        raise NotImplementedError

    @property
    def mixes(self) -> bool:
        """Whether views may be mixed."""
        return self.mixup_prob > 0 and (self.mixup > 0 or self.cutmix > 0)

    def request(self, seed: int, samples: Samples, sample: Sample, view: int) -> base.ViewRequest:
        """The view of one of the training samples, with the same view of what is mixed into it."""
        from stillroom.modalities.images.mix import mixed

        own = mixed(self, seed, samples, sample, view, self._drawn(seed, sample, view))
        if not own.mix_share:
            return base.ViewRequest(sample, own)
        other = samples.rows[own.mix_partner]
        return base.ViewRequest(sample, own, (other, self._drawn(seed, other, view)))

    def _drawn(self, seed: int, sample: Sample, view: int) -> View:
        drawn = self.draw(seed, sample, view)
        return replace(drawn, draft=1) if self.draft else drawn

    @property
    def reduces(self) -> bool:
        return self.draft

    def mixture(self, requests: Sequence[base.ViewRequest]) -> tuple[np.ndarray, np.ndarray]:
        """The rows of what is mixed into these views, int [B], and its shares of them, float32 [B]."""
        views = [request.parameters for request in requests]
        shares = np.array([view.mix_share for view in views], np.float32) / SHARES
        return np.array([view.mix_partner for view in views]), shares

    def fields(self) -> base.Fields:
        """What a cache keeps of its views: the part of `FIELDS` that is drawn."""
        kept = (*self.KEEPS, *(MIX if self.mixes else ()), *(("draft",) if self.draft else ()))
        return {name: kind for name, kind in FIELDS.items() if name in kept}


def centre(size: tuple[int, int], share: float = 1.0) -> View:
    """The view for evaluation: the centred square with `share` of the short side, nothing else changed."""
    width, height = size
    side = max(1, math.floor(min(width, height) * share + 0.5))
    x, y = (width - side) // 2, (height - side) // 2
    return View((x, y, x + side, y + side))


def pack(views: Sequence[View], fields: Iterable[str] = tuple(FIELDS)) -> dict[str, np.ndarray]:
    """Views to arrays, one row a view, dtypes and shapes as in `FIELDS`.

    Args:
        fields: which ones.
    """
    return base.packed(views, fields, FIELDS)


def unpack(arrays: Mapping[str, np.ndarray], row: int) -> View:
    """One row of `pack`'s arrays as a view; fields that are not there are neutral."""
    return View(**base.unpacked(arrays, row, FIELDS))
