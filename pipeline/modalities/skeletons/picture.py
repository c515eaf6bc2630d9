"""Skeletons drawn: one frame as a stick figure, and a clip as a picture that moves without a script."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from stillroom.modalities.base import Spec
from stillroom.modalities.cards import PAPER
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.render import layout_of

LEFT, RIGHT, MIDDLE = "#2c5f9e", "#b4622d", "#6d6359"
SIDE = 160  # of a moving picture, in pixels
MOST_FRAMES = 32  # of a moving picture: a longer clip is shown in steps
SECONDS = 2.4  # that it takes
FINE = 3  # drawn so many times as large, then made smaller: smooth lines
EDGE = 0.08  # of a picture's side, left free
APART = 0.35  # how much paler each further person is


@dataclass(frozen=True)
class Window:
    """What part of the plane is shown, the same for all frames: its middle, and its half side."""

    x: float
    y: float
    half: float


def picture(rendered: np.ndarray, spec: Spec) -> bytes:
    """A rendered view as a moving picture: a PNG file of several frames (APNG), which pages play as it is;
    what knows only still pictures shows the first frame.

    Args:
        rendered: float32 [M, T, J, D + 1].
        spec: of what it was rendered for.
    """
    frames = evenly(rendered.shape[1], min(rendered.shape[1], MOST_FRAMES))
    layout, window = layout_of(spec), window_of(rendered)
    drawn = [figure(rendered[:, frame], layout, window, SIDE) for frame in frames]
    # one palette for all: few colours make small files, and nothing flickers
    palette = drawn[len(drawn) // 2].quantize(32, dither=Image.Dither.NONE)
    images = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in drawn]
    stream = io.BytesIO()
    images[0].save(
        stream,
        "PNG",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 * SECONDS / len(images)),
        loop=0,
        optimize=True,
    )
    return stream.getvalue()


def evenly(count: int, shown: int) -> list[int]:
    """The numbers of some of `count` frames, the first and the last among them; the middle one alone."""
    if shown == 1:
        return [count // 2]
    return [(2 * i * (count - 1) + shown - 1) // (2 * (shown - 1)) for i in range(shown)]


def window_of(rendered: np.ndarray) -> Window:
    """A square that holds all joints that are there.

    Args:
        rendered: float32 [..., D + 1]; 3-D is seen from the front.
    """
    points = _flat(rendered)[rendered[..., -1] > 0]
    if not len(points):
        return Window(0.0, 0.0, 1.0)
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2
    x, y = ((low + high) / 2).tolist()
    return Window(x, y, half or 1.0)


def figure(joints: np.ndarray, layout: Layout, window: Window, side: int) -> Image.Image:
    """One frame, RGB, `side` pixels wide and high: left, right and middle each in a colour of their own; a
    joint that is not there is not drawn, and no bone that ends in it.

    Args:
        joints: float32 [M, J, D + 1], 0 in the last channel where no joint is.
    """
    large = side * FINE
    image = Image.new("RGB", (large, large), PAPER)
    draw = ImageDraw.Draw(image)
    scale = large * (0.5 - EDGE) / window.half
    places = (_flat(joints) - (window.x, window.y)) * scale + large / 2
    colours = _colours(layout)
    thick = max(FINE, round(large / 60))
    for person in reversed(range(len(joints))):
        there = joints[person, :, -1] > 0
        points = [tuple(place) for place in places[person].tolist()]
        for child, parent in layout.edges():
            if there[child] and there[parent]:
                ink = _pale(_of_bone(colours, child, parent), person)
                draw.line((points[child], points[parent]), ink, thick)
        for joint in np.flatnonzero(there).tolist():
            _dot(draw, points[joint], thick, _pale(colours[joint], person))
    return image.resize((side, side), Image.Resampling.LANCZOS)


def _flat(joints: np.ndarray) -> np.ndarray:
    """x and y as they are drawn, downwards: [..., 2]. In three dimensions y goes up."""
    plane = joints[..., :2].astype(np.float64)
    return plane * (1, -1) if joints.shape[-1] == 4 else plane


def _dot(draw: ImageDraw.ImageDraw, at: Sequence[float], radius: float, ink: str) -> None:
    x, y = at
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), ink)


def _colours(layout: Layout) -> list[str]:
    """Of each joint, by its side."""
    colours = [MIDDLE] * len(layout.joints)
    for left, right in layout.pairs:
        colours[left], colours[right] = LEFT, RIGHT
    return colours


def _of_bone(colours: Sequence[str], child: int, parent: int) -> str:
    """A bone between the sides is in the middle; one that begins in the middle has the colour of its end."""
    sides = {colours[child], colours[parent]} - {MIDDLE}
    return sides.pop() if len(sides) == 1 else MIDDLE


def _pale(ink: str, person: int) -> str:
    share = (1 - APART) ** person
    parts = ((int(ink[i : i + 2], 16), int(PAPER[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(share * own + (1 - share) * paper):02x}" for own, paper in parts)
