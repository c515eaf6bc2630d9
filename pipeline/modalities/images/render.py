"""Pixels + parameters -> the square that a model sees, as uint8; equal parameters give equal bytes."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from stillroom.modalities.images.fields import NEUTRAL, View

# Rec. 601 luma in 1/256, summing to 256
LUMA = (77, 150, 29)


def render_of(reader: Any, sample: Any, view: View, size: int) -> np.ndarray:
    """A view of a sample, which is read as large as it is needed.

    Args:
        reader: of images, uint8 [H, W, 3]; with `reduced`, as `Pixels` has it, where a view is a draft.
        view, size: see `render`.
    """
    scale = reduction(view, size)
    if scale == 1:
        return render(reader[sample], view, size)
    image = reader.reduced(sample, scale)
    return render(image, onto(view, sample.size, image.shape[:2]), size)


def reduction(view: View, size: int) -> int:
    """By how much the sides of a view's image may be divided, so that its crop stays as large as the view: 1,
    2, 4 or 8; 1 where the view is no draft.
    """
    x0, y0, x1, y1 = view.box
    enough = min(x1 - x0, y1 - y0) // size if view.draft else 1
    return next(scale for scale in (8, 4, 2, 1) if scale <= max(1, enough))


def onto(view: View, whole: tuple[int, int], shape: tuple[int, ...]) -> View:
    """A view with its box on a reduced image, in whole pixels, rounded half up.

    Args:
        whole: (width, height) of the image.
        shape: (height, width) of the reduced one.
    """
    (width, height), (h, w) = whole, shape
    x0, y0, x1, y1 = view.box
    left, top = (2 * x0 * w + width) // (2 * width), (2 * y0 * h + height) // (2 * height)
    right, bottom = (2 * x1 * w + width) // (2 * width), (2 * y1 * h + height) // (2 * height)
    left, top = min(left, w - 1), min(top, h - 1)  # a box is never empty
    return replace(view, box=(left, top, max(left + 1, right), max(top + 1, bottom)))


def render(image: np.ndarray, view: View, size: int) -> np.ndarray:
    """Crop, resize, flip, filter, colour and erase, in this order.

    Args:
        image: uint8 [H, W, 3], RGB.
        view: its parameters; the box must lie in the image.
        size: side of the result in pixels. The same view at another size shows the same box.

    Returns:
        uint8 [size, size, 3].

    Raises:
        ValueError: the box is empty or leaves the image.
    """
    x0, y0, x1, y1 = view.box
    height, width = image.shape[:2]
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"the box {view.box} does not fit an image of {width} x {height} pixels")
    pixels = resize(image[y0:y1, x0:x1], size).numpy()
    if view.flip:
        pixels = cv2.flip(pixels, 1)
    if view.filter[0]:
        pixels = filtered(pixels, *view.filter)
    if view.colour != NEUTRAL:
        pixels = recolour(pixels, view.colour)
    if any(view.erase):
        x0, y0, x1, y1 = ((edge * size + 127) // 255 for edge in view.erase)
        pixels = pixels.copy()
        pixels[y0:y1, x0:x1] = view.paint
    return pixels


def resize(crop: np.ndarray, size: int) -> torch.Tensor:
    """Antialiased bicubic, in torch's 8-bit fixed point: whole numbers, the same with and without AVX.

    It is Pillow's algorithm with weights of fewer bits, up to three levels apart from it, and several times
    as fast.

    Args:
        crop: uint8 [H, W, 3].
        size: side of the result.

    Returns:
        uint8 [size, size, 3].
    """
    # A copy, since torch takes no read-only memory. Only with these strides of a batch of one does it take
    # its path for interleaved channels.
    batch = torch.from_numpy(np.array(crop))[None].permute(0, 3, 1, 2)
    resized = F.interpolate(batch, (size, size), mode="bicubic", antialias=True)
    return resized[0].permute(1, 2, 0)


def filtered(pixels: np.ndarray, which: int, level: int) -> np.ndarray:
    """One of three-augment's three.

    Args:
        pixels: uint8 [S, S, 3].
        which: 1: grey (Rec. 601 luma). 2: solarised, values of 128 and more inverted. 3: blurred by Pillow's
            Gaussian (three box filters, in fixed point).
        level: the blur's radius in 1/64 pixel of a view of 224 pixels.

    Raises:
        ValueError: there is no such filter.
    """
    if which == 1:
        return recolour(pixels, (128, 128, 0))
    if which == 2:
        return np.where(pixels < 128, pixels, 255 - pixels)
    if which == 3:
        blur = ImageFilter.GaussianBlur(level / 64 * len(pixels) / 224)
        return np.asarray(Image.fromarray(pixels).filter(blur))
    raise ValueError(f"there is no filter {which}")


def recolour(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Brightness, then contrast about mid-grey 128, then saturation, rounded half up and clipped.

    The three are one 3 x 3 matrix and an offset. The matrix is rounded to 1/1024, so each product and sum is
    exact, in OpenCV's fixed point of 10 bits as in float32. The offset is 1/4096 more: the former rounds half
    up with or without it, the latter half to even, and up with it.

    Args:
        pixels: uint8 [S, S, 3].
        colour: the factors in 1/128.
    """
    brightness, contrast, saturation = colour
    factor, offset = brightness * contrast, 128 - contrast + 1 / 4096
    # 2^29 -> 2^10, rounded half up
    grey = [factor * (128 - saturation) * weight for weight in LUMA]
    own = 256 * factor * saturation
    matrix = [
        [*((((grey[j] + (own if i == j else 0)) >> 18) + 1 >> 1) / 1024 for j in range(3)), offset]
        for i in range(3)
    ]
    return cv2.transform(pixels, np.array(matrix, np.float32))


def to_input(pixels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Rendered pixels to a model's input, on the device that holds them.

    Args:
        pixels: uint8 [B, S, S, 3].
        mean, std: of the model's data config, for values in [0, 1].

    Returns:
        float32 [B, 3, S, S].
    """
    scale = torch.tensor(std, device=pixels.device) * 255
    shift = torch.tensor(mean, device=pixels.device) * 255
    # Channel by channel from the first step on, and in place: a third of the time, and equal bit for bit
    values = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return values.sub_(shift[:, None, None]).div_(scale[:, None, None])
