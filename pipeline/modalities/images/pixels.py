"""Decoded images: read once, checked against the samples table, kept in memory up to a budget."""

import math
from functools import partial
from typing import ClassVar

import numpy as np

from stillroom.errors import DataError
from stillroom.modalities.images.decode import UnreadableError, decode
from stillroom.modalities.images.samples import Sample
from stillroom.modalities.kept import Kept


class Pixels(Kept):
    """The decoded images of a samples table, uint8 [H, W, 3] each; see `Kept`."""

    ONE: ClassVar[str] = "image"
    MANY: ClassVar[str] = "images"

    @staticmethod
    def kept_bytes(row: Sample) -> int:
        return 3 * math.prod(row.size)

    def reduced(self, row: Sample, scale: int) -> np.ndarray:
        """A row's pixels, its sides divided by 2, 4 or 8 and rounded up where its file is a JPEG.

        Raises:
            DataError, AccessError: see `Kept`.
        """
        return self._keep((row.key, scale), row, partial(self.decoded, scale=scale))

    def decoded(self, content: bytes, row: Sample, file: str, scale: int = 1) -> np.ndarray:
        try:
            return decode(content, scale)
        except UnreadableError as error:
            raise DataError(
                f"{file}: the image of {row.key} cannot be decoded",
                str(error),
                "this Pillow reads less than the one of `stillroom prepare`: install that one's version",
            ) from None
