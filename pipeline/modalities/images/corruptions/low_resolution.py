"""Pictures of few pixels."""

from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import Field

from stillroom.modalities.base import Corruption


class LowResolution(Corruption):
    """A view made `side` pixels wide and high, and as large as before again, both by Pillow's bicubic filter.
    One that has no more pixels stays as it is.
    """

    side: Annotated[int, Field(ge=1, le=4096)]

    def draw(self, seed: int, sample: Any, number: int) -> None:
        """Nothing is drawn."""

    def apply(self, content: np.ndarray, drawn: None) -> np.ndarray:
        size = content.shape[1], content.shape[0]
        if self.side >= max(size):
            return content
        small = Image.fromarray(content).resize((self.side, self.side), Image.Resampling.BICUBIC)
        return np.asarray(small.resize(size, Image.Resampling.BICUBIC))
