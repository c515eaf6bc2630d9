"""Drawing: colours and a pen that draws lines and shapes in the figure's own measures."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from PIL import ImageDraw

from stillroom.modalities.images.datasets.sketch40.dice import Colour

Point = tuple[float, float]

INK: Colour = (38, 32, 40)
WHITE: Colour = (248, 248, 244)
STEEL: Colour = (172, 178, 186)
WOOD: Colour = (150, 102, 60)


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """`one` moved towards `other` by `share` in [0, 1]."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


@dataclass
class Box:
    """The smallest box around what was drawn while it was watched, in pixels of the drawing."""

    points: list[tuple[float, float, float, float]] = field(default_factory=list)
    watching: bool = False

    def bounds(self) -> tuple[float, float, float, float]:
        lefts, tops, rights, bottoms = zip(*self.points, strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)


class Pen:
    """Draws in a plane: x to where the figure faces, y down, ground at y = 0, a standing figure 1 high."""

    def __init__(self, canvas: ImageDraw.ImageDraw, matrix: tuple[float, ...], box: Box) -> None:
        self.canvas = canvas
        self.matrix = matrix
        self.box = box
        a, b, _, d, e, _ = matrix
        self.scale = math.sqrt(abs(a * e - b * d))

    def at(self, x: float, y: float, angle: float = 0.0, scale: float = 1.0, flip: bool = False) -> "Pen":
        """A pen whose origin lies at (x, y), turned by `angle` degrees, clockwise if unmirrored."""
        a, b, c, d, e, f = self.matrix
        cos, sin = math.cos(math.radians(angle)) * scale, math.sin(math.radians(angle)) * scale
        p, q, r, s = (-cos if flip else cos), -sin, (-sin if flip else sin), cos
        turned = (
            a * p + b * r,
            a * q + b * s,
            a * x + b * y + c,
            d * p + e * r,
            d * q + e * s,
            d * x + e * y + f,
        )
        return Pen(self.canvas, turned, self.box)

    def pixel(self, x: float, y: float) -> tuple[int, int]:
        a, b, c, d, e, f = self.matrix
        return round(a * x + b * y + c), round(d * x + e * y + f)

    def width(self, width: float) -> int:
        return max(1, round(width * self.scale))

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        pixels = [self.pixel(*point) for point in points]
        wide = self.width(width)
        self.canvas.line(pixels, fill=colour, width=wide, joint="curve")
        if wide > 3:
            for x, y in (pixels[0], pixels[-1]):
                self._oval(x, y, wide / 2, colour)
        self._watch(pixels, wide / 2)

    def shape(self, points: Iterable[Point], colour: Colour, edge: float = 0.012, ink: Colour = INK) -> None:
        pixels = [self.pixel(*point) for point in points]
        self.canvas.polygon(pixels, fill=colour)
        if edge:
            self.canvas.line([*pixels, pixels[0]], fill=ink, width=self.width(edge), joint="curve")
        self._watch(pixels, 0)

    def rect(
        self, left: float, top: float, right: float, bottom: float, colour: Colour, edge: float = 0.012
    ) -> None:
        self.shape(((left, top), (right, top), (right, bottom), (left, bottom)), colour, edge)

    def disc(self, x: float, y: float, radius: float, colour: Colour, edge: float = 0.012) -> None:
        middle = self.pixel(x, y)
        if edge:
            self._oval(*middle, (radius + edge) * self.scale, INK)
        self._oval(*middle, radius * self.scale, colour)
        self._watch([middle], radius * self.scale)

    def ring(self, x: float, y: float, radius: float, width: float, colour: Colour) -> None:
        middle_x, middle_y = self.pixel(x, y)
        reach = radius * self.scale
        corners = (middle_x - reach, middle_y - reach, middle_x + reach, middle_y + reach)
        self.canvas.ellipse(corners, outline=colour, width=self.width(width))

    def oval(self, x: float, y: float, wide: float, high: float, colour: Colour, edge: float = 0.012) -> None:
        """An ellipse of half axes `wide` and `high`."""
        turns = [math.tau * step / 20 for step in range(20)]
        self.shape([(x + wide * math.cos(turn), y + high * math.sin(turn)) for turn in turns], colour, edge)

    def limb(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """A thick line with a dark edge."""
        self.line(points, width + 0.022, mixed(colour, INK, 0.75))
        self.line(points, width, colour)

    def _oval(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def _watch(self, pixels: Sequence[tuple[int, int]], margin: float) -> None:
        if self.box.watching:
            self.box.points.extend((x - margin, y - margin, x + margin, y + margin) for x, y in pixels)


def path(text: str) -> list[Point]:
    """Points written as "x y, x y, ..."."""
    return [(float(x), float(y)) for x, y in (point.split() for point in text.split(","))]
