"""What the contact sheets of all kinds of data are drawn with: colours, words, and bars of probabilities."""

from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw, ImageFont

from stillroom.modalities.base import SHEET_CLASSES

# the report's colours
PAPER, RAISED, INK, MUTED, LINE, ACCENT = "#fbf8f3", "#f4eee4", "#231f1b", "#6d6359", "#e4dccf", "#b4622d"
# of views, one after the other
VIEWS = ("#b4622d", "#2f6f73", "#7a5195", "#8a8d2c", "#c0392b", "#2c5f9e", "#3f7d4e", "#a0568a")
MARGIN, GAP, PAD = 28, 16, 10
LINE_HEIGHT = 17


def bars(
    draw: ImageDraw.ImageDraw,
    x: int,
    y: int,
    width: int,
    probabilities: np.ndarray,
    classes: Sequence[str],
    label: int,
) -> None:
    """The likeliest classes of a view, a line each, with their shares in percent; the true one is ticked.

    Args:
        x, y: of the upper left corner, in pixels.
        width: of a share of 1, in pixels.
        probabilities: float [C].
        classes: names, in label order.
        label: of the sample, in [0, C); -1: it has none.
    """
    for position, index in enumerate(np.argsort(-probabilities, kind="stable")[:SHEET_CLASSES].tolist()):
        share = float(probabilities[index])
        at = y + position * LINE_HEIGHT
        true = index == label
        draw.rectangle((x, at + 1, x + max(1, round(share * width)), at + LINE_HEIGHT - 3), LINE)
        percent = f"{100 * share:.0f}" if share >= 0.005 else "<1"
        draw.text((x + width, at), percent, ACCENT if true else MUTED, font(12), anchor="ra")
        left = x + 4
        if true:  # a tick as well as a colour
            draw.line((left, at + 8, left + 3, at + 11, left + 9, at + 3), ACCENT, 2)
            left += 14
        name = cut(draw, classes[index].replace("_", " "), 12, x + width - 28 - left)
        draw.text((left, at), name, ACCENT if true else INK, font(12))


def colour(number: int) -> str:
    """Of a view, by its number."""
    return VIEWS[number % len(VIEWS)]


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, in pixels."""
    return ImageFont.load_default(size)


def cut(draw: ImageDraw.ImageDraw, text: str, size: int, width: float) -> str:
    """As much of a text as fits, with an ellipsis where it does not."""
    if draw.textlength(text, font(size)) <= width:
        return text
    while text and draw.textlength(text + "…", font(size)) > width:
        text = text[:-1]
    return text + "…"
