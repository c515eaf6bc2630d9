"""Recipes: which parameters a view draws, and how. A view's parameters are plain numbers."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pipeline.views.draw import uniforms

# What is kept of a view: name -> (dtype, shape). 12 bytes a view.
FIELDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "box": ("uint16", (4,)),  # x0, y0, x1, y1 of the crop, in whole pixels of the image, the ends exclusive
    "flip": ("uint8", ()),  # 1: mirrored left-right after the crop
    "colour": ("uint8", (3,)),  # brightness, contrast, saturation in 1/128 (128: unchanged)
}
NEUTRAL = (128, 128, 128)


@dataclass(frozen=True)
class View:
    """One view's parameters; units as in `FIELDS`."""

    box: tuple[int, int, int, int]
    flip: int = 0
    colour: tuple[int, int, int] = NEUTRAL


class Recipe(Protocol):
    """A policy: one method, a pure function of its arguments and the recipe's own numbers."""

    def draw(self, seed: int, key: str, view: int, size: tuple[int, int]) -> View: ...


@dataclass(frozen=True)
class Crop:
    """Random resized crop, flip, and brightness, contrast and saturation.

    The crop's area is uniform in `scale` times the image's, its aspect log-uniform in `ratio` (Szegedy et
    al. 2015, as in Inception). A side that would stand over the image is cut to the image's side: no
    rejection loop, so the number of random words is fixed. Sides are rounded half up, positions are uniform
    over all whole-pixel places.
    """

    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: float
    brightness: float
    contrast: float
    saturation: float

    def draw(self, seed: int, key: str, view: int, size: tuple[int, int]) -> View:
        """Draw one view of an image of `size` (width, height) pixels, each in [1, 65535]."""
        width, height = size
        area, aspect, left, top, flip, *colour = uniforms(seed, key, view, 8).tolist()
        area = width * height * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = math.exp(low + aspect * (high - low))
        w = min(width, max(1, math.floor(math.sqrt(area * aspect) + 0.5)))
        h = min(height, max(1, math.floor(math.sqrt(area / aspect) + 0.5)))
        x = math.floor(left * (width - w + 1))
        y = math.floor(top * (height - h + 1))
        spans = (self.brightness, self.contrast, self.saturation)
        levels = [
            math.floor(128 * (1 + span * (2 * u - 1)) + 0.5) for span, u in zip(spans, colour, strict=True)
        ]
        return View((x, y, x + w, y + h), int(flip < self.flip), (levels[0], levels[1], levels[2]))


def make_recipe(config: dict[str, Any]) -> Recipe:
    """The recipe that plain data describes: `{"name": "crop", "scale": [0.35, 1.0], ...}`."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    return RECIPES[str(values.pop("name"))](**values)


RECIPES: dict[str, type] = {"crop": Crop}


def centre(size: tuple[int, int], share: float = 1.0) -> View:
    """The view for evaluation: the centred square with `share` of the short side, nothing else changed."""
    width, height = size
    side = max(1, math.floor(min(width, height) * share + 0.5))
    x, y = (width - side) // 2, (height - side) // 2
    return View((x, y, x + side, y + side))


def pack(views: list[View]) -> dict[str, np.ndarray]:
    """Views to arrays, one row a view, dtypes and shapes as in `FIELDS`."""
    return {
        name: np.array([getattr(view, name) for view in views], dtype).reshape(len(views), *shape)
        for name, (dtype, shape) in FIELDS.items()
    }


def unpack(arrays: dict[str, np.ndarray], row: int) -> View:
    """One row of `pack`'s arrays as a view."""
    box, colour = arrays["box"][row].tolist(), arrays["colour"][row].tolist()
    return View((box[0], box[1], box[2], box[3]), int(arrays["flip"][row]), (colour[0], colour[1], colour[2]))
