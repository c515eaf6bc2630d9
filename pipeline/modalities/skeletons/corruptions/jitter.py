"""Joints that tremble."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from stillroom.draw import normals
from stillroom.modalities.skeletons.corrupted import Corruption
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.measures import present, spread


class Jitter(Corruption):
    """Each joint of each frame is moved by a Gaussian of its own on each axis, whose standard deviation is
    `size` times the size of the bodies (`measures.spread`).
    """

    size: Annotated[float, Field(ge=0, le=100)]

    def apply(self, content: np.ndarray, drawn: Any, layout: Layout | None = None) -> np.ndarray:
        if not self.size:
            return content
        there = present(content)
        points = np.where(there[..., None], content[..., :-1], np.float32(0))
        size = self.size * spread(points, there)
        if not size:
            return content
        moved = content.copy()
        noise = normals(drawn.uniforms(points.size + points.size % 2))[: points.size]
        moved[..., :-1] += (size * noise).astype(np.float32).reshape(points.shape)
        return moved
