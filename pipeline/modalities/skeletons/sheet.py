"""A contact sheet: one clip, which part of it each view shows, and what the teacher made of each of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from stillroom.modalities.base import SHEET_CLASSES, SHEET_VIEWS, Reader, Spec, ViewRequest
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
from stillroom.modalities.skeletons.fields import View, whole
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.picture import (
    LEFT,
    MIDDLE,
    RIGHT,
    evenly,
    figure,
    window_of,
)
from stillroom.modalities.skeletons.render import layout_of, render

FIGURES, SIDE = 6, 104  # of a view, and how wide and high each is, in pixels
BARS = 200  # of a share of 1, in pixels
HEAD = 78  # of the title and the line below it
WIDE = FIGURES * SIDE + GAP + BARS + 2 * PAD  # of a view's card
TALL = PAD + max(LINE_HEIGHT + SIDE, SHEET_CLASSES * LINE_HEIGHT) + PAD
ALONE = 8  # views that stand below each other; more take two columns
ENTIRE = 8  # figures of the whole clip


def sheet(
    reader: Reader,
    requests: Sequence[ViewRequest],
    spec: Spec,
    probabilities: np.ndarray,
    classes: Sequence[str],
    title: str,
    subtitle: str,
) -> Image.Image:
    """Draw the sheet.

    Args:
        reader: of the clips.
        requests: the clip's V views, at most `SHEET_VIEWS` of which are drawn.
        spec: what the teacher sees.
        probabilities: float [V, C], the teacher's for each view.
        classes: names, in label order.
        title, subtitle: the lines on top.
    """
    requests = requests[:SHEET_VIEWS]
    sample: Any = requests[0].sample
    layout = layout_of(spec)
    clip = reader[sample]
    columns = 1 if len(requests) <= ALONE else 2
    wide = columns * (WIDE + GAP) - GAP
    rows = -(-len(requests) // columns)
    pitch = 8 if len(requests) <= 2 * ALONE else 4
    top = MARGIN + HEAD + SIDE + 10 + len(requests) * pitch + 56
    image = Image.new("RGB", (wide + 2 * MARGIN, top + rows * (TALL + GAP) - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN - 6), cut(draw, title, 26, wide), INK, font(26))
    draw.text((MARGIN, MARGIN + 30), cut(draw, subtitle, 14, wide), MUTED, font(14))
    entire = render(clip, whole(sample), {**spec, "frames": ENTIRE})
    _strip(image, MARGIN, MARGIN + HEAD, entire, layout, ENTIRE)
    views = [request.parameters for request in requests]
    _parts(draw, MARGIN, MARGIN + HEAD + SIDE + 10, ENTIRE * SIDE, pitch, views)
    _legend(draw, MARGIN, top - 38, layout)
    for number, request in enumerate(requests):
        x = MARGIN + number % columns * (WIDE + GAP)
        y = top + number // columns * (TALL + GAP)
        draw.rounded_rectangle((x, y, x + WIDE, y + TALL), 6, RAISED, LINE)
        shown = render(clip, request.parameters, spec, request.worse)
        draw.rectangle((x + PAD, y + PAD + 3, x + PAD + 9, y + PAD + 12), colour(number))
        draw.text((x + PAD + 16, y + PAD - 1), f"view {number}", INK, font(13))
        said = cut(draw, told(request.parameters, sample.frames, sample.dims), 12, FIGURES * SIDE - 80)
        draw.text((x + PAD + FIGURES * SIDE, y + PAD), said, MUTED, font(12), anchor="ra")
        _strip(image, x + PAD, y + PAD + LINE_HEIGHT, shown, layout, FIGURES)
        bars(
            draw,
            x + PAD + FIGURES * SIDE + GAP,
            y + PAD,
            BARS,
            probabilities[number],
            classes,
            sample.label,
        )
    return image


def told(view: View, frames: int, dims: int) -> str:
    """A view in words."""
    last = frames - 1
    first, end = round(view.start * last) + 1, round((view.start + view.length) * last) + 1
    words = [f"frames {first} to {end} of {frames}"]
    if view.mirror:
        words.append("mirrored")
    angles = view.angle if dims == 3 else view.angle[2:]
    if any(angles):
        words.append("turned " + ", ".join(f"{math.degrees(angle):.0f}°" for angle in angles))
    if view.scale != 1:
        words.append(f"scaled {view.scale:.2f}")
    if any(view.shear):
        words.append(f"sheared {view.shear[0]:.2f}, {view.shear[1]:.2f}")
    return " · ".join(words)


def _strip(image: Image.Image, x: int, y: int, shown: np.ndarray, layout: Layout, count: int) -> None:
    """A few figures side by side, from the first frame to the last."""
    window = window_of(shown)
    frames = shown.shape[1]
    for place, frame in enumerate(evenly(frames, min(count, frames))):
        drawn = figure(shown[:, frame], layout, window, SIDE)
        image.paste(drawn, (x + place * SIDE, y))


def _parts(draw: ImageDraw.ImageDraw, x: int, y: int, width: int, pitch: int, views: Sequence[View]) -> None:
    """A line for each view, from where it begins in the clip to where it ends."""
    for number, view in enumerate(views):
        left, right = x + view.start * width, x + (view.start + view.length) * width
        at = y + number * pitch
        draw.rectangle((left, at, max(left + 2, right), at + pitch // 2), colour(number))


def _legend(draw: ImageDraw.ImageDraw, x: int, y: int, layout: Layout) -> None:
    draw.text((x, y), "the whole clip, and the part of it that each view shows", MUTED, font(14))
    sides = (("left", LEFT), ("right", RIGHT), ("middle", MIDDLE)) if layout.pairs else ()
    at = x + 400
    for name, ink in sides:
        draw.line((at, y + 9, at + 18, y + 9), ink, 3)
        draw.text((at + 24, y), name, ink, font(14))
        at += 90
    draw.line((at, y + 9, at + 4, y + 13, at + 12, y + 3), ACCENT, 2)
    draw.text((at + 20, y), "is the label", ACCENT, font(14))
