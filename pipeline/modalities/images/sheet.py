"""A contact sheet: one sample, where its views were cut, and what the teacher made of each of them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from stillroom.modalities.base import SHEET_CLASSES, SHEET_VIEWS
from stillroom.modalities.cards import (
    ACCENT,
    GAP,
    INK,
    LINE,
    LINE_HEIGHT,
    MARGIN,
    MUTED,
    PAD,
    PAPER,
    RAISED,
    bars,
    colour,
    cut,
    font,
)
from stillroom.modalities.images.fields import View

SIDE = 192  # of a view on the sheet


def contact_sheet(
    image: np.ndarray,
    views: Sequence[View],
    rendered: Sequence[np.ndarray],
    probabilities: np.ndarray,
    classes: Sequence[str],
    label: int,
    title: str,
    subtitle: str,
) -> Image.Image:
    """Draw the sheet.

    Args:
        image: uint8 [H, W, 3], the sample's image.
        views: its V views, at most `SHEET_VIEWS` of which are drawn.
        rendered: uint8 [S, S, 3] each, as the teacher saw them.
        probabilities: float [V, C], the teacher's for each view.
        classes: names, in label order.
        label: of the sample, in [0, C); -1: it has none.
        title, subtitle: the lines on top.
    """
    views = views[:SHEET_VIEWS]
    columns = {5: 3, 6: 3}.get(len(views), min(len(views), 4))
    card = SIDE + 2 * PAD
    tall = PAD + SIDE + 8 + LINE_HEIGHT + 6 + min(SHEET_CLASSES, len(classes)) * LINE_HEIGHT + PAD
    rows = -(-len(views) // columns)
    wide = max(columns, 3) * (card + GAP) - GAP
    original = _boxed(image, views, (wide * 3 // 5, 360))
    head = 78
    height = MARGIN + head + original.height + 28 + rows * (tall + GAP) - GAP + MARGIN
    sheet = Image.new("RGB", (wide + 2 * MARGIN, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 6), cut(draw, title, 26, wide), INK, font(26))
    draw.text((MARGIN, MARGIN + 30), cut(draw, subtitle, 14, wide), MUTED, font(14))
    top = MARGIN + head
    sheet.paste(original, (MARGIN, top))
    _legend(
        draw,
        MARGIN + original.width + 24,
        top,
        wide - original.width - 24,
        views,
        classes[label] if label >= 0 else "",
    )
    top += original.height + 28
    for number, view in enumerate(views):
        x = MARGIN + number % columns * (card + GAP)
        y = top + number // columns * (tall + GAP)
        draw.rounded_rectangle((x, y, x + card, y + tall), 6, RAISED, LINE)
        pixels = Image.fromarray(rendered[number])
        sheet.paste(pixels.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x + PAD, y + PAD))
        at = y + PAD + SIDE + 8
        draw.rectangle((x + PAD, at + 3, x + PAD + 9, at + 12), colour(number))
        draw.text((x + PAD + 16, at - 1), f"view {number}", INK, font(13))
        if view.flip:
            draw.text((x + card - PAD, at - 1), "mirrored", MUTED, font(12), anchor="ra")
        bars(draw, x + PAD, at + LINE_HEIGHT + 6, SIDE, probabilities[number], classes, label)
    return sheet


def _legend(draw: ImageDraw.ImageDraw, x: int, y: int, width: int, views: Sequence[View], true: str) -> None:
    lines = [
        ("the picture", INK),
        ("with the box that each view was cut from", MUTED),
        ("", MUTED),
        ("below: each view as the teacher saw it", MUTED),
        (f"and its {SHEET_CLASSES} likeliest classes, in percent", MUTED),
        ("", MUTED),
    ]
    for number, (text, ink) in enumerate(lines):
        draw.text((x, y + number * 20), cut(draw, text, 14, width), ink, font(14))
    at = y + len(lines) * 20
    if true:
        draw.line((x, at + 9, x + 4, at + 13, x + 12, at + 3), ACCENT, 2)
        draw.text((x + 20, at), cut(draw, true.replace("_", " "), 14, width - 20), ACCENT, font(14))
        draw.text((x + 20, at + 20), "is the label", MUTED, font(14))
    else:
        draw.text((x, at), "without a label", MUTED, font(14))
    mirrored = sum(view.flip for view in views)
    draw.text((x, at + 52), f"{len(views)} views, {mirrored} mirrored", MUTED, font(14))


def _boxed(image: np.ndarray, views: Sequence[View], room: tuple[int, int]) -> Image.Image:
    """The whole picture, made to fit, with each view's box and number."""
    height, width = image.shape[:2]
    scale = min(room[0] / width, room[1] / height)
    shown = Image.fromarray(image).resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS
    )
    draw = ImageDraw.Draw(shown)
    for number, view in reversed(list(enumerate(views))):
        x0, y0, x1, y1 = (round(value * scale) for value in view.box)
        box = (x0, y0, max(x0 + 1, x1 - 1), max(y0 + 1, y1 - 1))
        draw.rectangle(box, outline="white", width=4)
        draw.rectangle(tuple(_within(box)), outline=colour(number), width=2)
    for number, view in enumerate(views):
        # numbers in the boxes' corners, each a little lower, for boxes that share a corner
        x = round(view.box[0] * scale) + 5
        y = round(view.box[1] * scale) + 5 + number % 8 * 17
        y = min(y, shown.height - 16)
        wide = draw.textlength(str(number), font(12)) + 8
        draw.rectangle((x, y, x + wide, y + 14), colour(number))
        draw.text((x + 4, y), str(number), "white", font(12))
    return shown


def _within(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = box
    return (x0 + 1, y0 + 1, x1 - 1, y1 - 1) if x1 - x0 > 2 and y1 - y0 > 2 else box
