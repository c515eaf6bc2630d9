"""Pictures out of focus."""

from typing import Annotated, Any

import numpy as np
from PIL import Image, ImageFilter
from pydantic import Field

from stillroom.modalities.base import Corruption, uniforms


class Blur(Corruption):
    """Blurred by Pillow's Gaussian (three box filters, in fixed point) of a radius in pixels of a view of 224
    pixels: `radius`, or with `up_to` one that is drawn between 0 and it.
    """

    radius: Annotated[float, Field(ge=0, le=64)]
    up_to: bool = False

    def draw(self, seed: int, sample: Any, number: int) -> float:
        """The radius."""
        return self.radius * float(uniforms(seed, "blur", sample, number, 1)[0] if self.up_to else 1)

    def apply(self, content: np.ndarray, drawn: float) -> np.ndarray:
        if not drawn:
            return content
        blur = ImageFilter.GaussianBlur(drawn * len(content) / 224)
        return np.asarray(Image.fromarray(content).filter(blur))
