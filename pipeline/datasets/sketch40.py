"""sketch40: an embedded data set of drawn people doing the forty actions of Stanford 40, in its layout.

A picture is a jointed figure in a pose, with a thing, in a scene. Poses, things and scenes are shared between
classes (riding and fixing a bike, riding and feeding a horse, phoning and texting), and colours, scale,
place, mirroring and clutter are drawn for every picture, so that no single one of them gives the class away.

Every picture is a pure function of (seed, class, number, size): a counter-based generator gives raw bits and
the code here turns them into numbers. The bytes of the JPEG files depend on Pillow and its libjpeg besides.

    draw(Path("sketch40"), seed=0, train_per_class=15, test_per_class=10, size=96, progress=Progress())
"""

import colorsys
import hashlib
import math
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

from pipeline.datasets.stanford40 import CLASSES
from pipeline.progress import Progress

Colour = tuple[int, int, int]
Point = tuple[float, float]
Frame = tuple[float, float, float, float]
T = TypeVar("T")

# Width to height of the pictures, as mixed as photographs are.
SHAPES = ((1, 1), (4, 3), (3, 4), (5, 4), (4, 5))
SUPERSAMPLING = 2  # drawn this much larger, then reduced: Pillow's lines have no smooth edges of their own
INK: Colour = (38, 32, 40)
WHITE: Colour = (248, 248, 244)
STEEL: Colour = (172, 178, 186)
WOOD: Colour = (150, 102, 60)


# --- chance -------------------------------------------------------------------------------------------------


class Dice:
    """Numbers from the raw bits of one Philox stream; the stream belongs to one picture."""

    def __init__(self, *names: object) -> None:
        digest = hashlib.sha256("\0".join(map(str, names)).encode()).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
        self._raw: list[int] = []

    def unit(self) -> float:
        """A number in [0, 1)."""
        if not self._raw:
            self._raw = self._bits.random_raw(256).tolist()
        return (self._raw.pop() >> 11) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def near(self, middle: float, spread: float) -> float:
        return middle + spread * (2 * self.unit() - 1)

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.unit() * len(options))]

    def colour(
        self, saturation: tuple[float, float] = (0.25, 0.95), value: tuple[float, float] = (0.3, 1.0)
    ) -> Colour:
        red, green, blue = colorsys.hsv_to_rgb(self.unit(), self.between(*saturation), self.between(*value))
        return round(red * 255), round(green * 255), round(blue * 255)

    def grain(self, height: int, width: int) -> np.ndarray:
        """Noise bytes, uint8 [height, width]."""
        words = self._bits.random_raw(-(-height * width // 8)).astype("<u8")
        return words.view(np.uint8)[: height * width].reshape(height, width)


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """`one` moved towards `other` by `share` in [0, 1]."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


# --- drawing ------------------------------------------------------------------------------------------------


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


# --- the figure ---------------------------------------------------------------------------------------------

TORSO, UPPER_ARM, FOREARM, THIGH, SHIN, HEAD = 0.29, 0.17, 0.17, 0.24, 0.24, 0.105


@dataclass(frozen=True)
class Body:
    """Where hip and feet are, and how far the trunk leans forward (degrees)."""

    hip: Point
    feet: tuple[Point, Point]
    lean: float = 0.0
    knees: int = 1  # which way knees bend: 1 forward, -1 backward
    seat: str = ""


BODIES = {
    "stand": Body((0, -0.47), ((0.08, 0), (-0.08, 0))),
    "walk": Body((0, -0.45), ((0.17, 0), (-0.19, -0.02)), 6),
    "lunge": Body((0, -0.40), ((0.25, 0), (-0.24, 0)), 4),
    "run": Body((0, -0.47), ((0.28, -0.10), (-0.34, -0.20)), 18),
    "jump": Body((0, -0.72), ((0.17, -0.38), (-0.16, -0.42)), 2),
    "sit": Body((-0.02, -0.28), ((0.25, 0), (0.20, 0)), 2, seat="chair"),
    "lounge": Body((-0.02, -0.25), ((0.36, 0), (0.30, 0)), -14, seat="sofa"),
    "squat": Body((-0.05, -0.20), ((0.12, 0), (0.0, 0)), 24),
    "bend": Body((-0.12, -0.46), ((0.02, 0), (-0.16, 0)), 50),
    "stoop": Body((-0.04, -0.46), ((0.07, 0), (-0.12, 0)), 22),
    "cycle": Body((-0.10, -0.47), ((0.06, -0.09), (-0.02, -0.22)), 24),
    "astride": Body((-0.04, -0.55), ((0.10, -0.24), (0.06, -0.26)), 4),
    "row": Body((-0.02, -0.13), ((0.38, -0.08), (0.36, -0.08)), 6),
    "climb": Body((0, -0.50), ((0.13, -0.22), (-0.08, 0)), 4),
}


@dataclass(frozen=True)
class Figure:
    """Joints in the pen's plane; index 0 of a pair is the near side. `face`: `side`, `front` or `back`."""

    hip: Point
    shoulder: Point
    head: Point
    elbows: tuple[Point, Point]
    hands: tuple[Point, Point]
    knees: tuple[Point, Point]
    feet: tuple[Point, Point]
    face: str

    def by_head(self, x: float, y: float) -> Point:
        return self.head[0] + x, self.head[1] + y

    @property
    def mouth(self) -> Point:
        return self.by_head(0.075, 0.045) if self.face == "side" else self.by_head(0.01, 0.05)

    @property
    def eye(self) -> Point:
        return self.by_head(0.065, -0.02)


def bent(start: Point, end: Point, first: float, second: float, side: int) -> tuple[Point, Point]:
    """The joint between two bones from `start` towards `end`, and the end that they reach."""
    x, y = end[0] - start[0], end[1] - start[1]
    far = max(math.hypot(x, y), 1e-6)
    length = min(max(far, abs(first - second) + 0.01), (first + second) * 0.995)
    x, y = x / far, y / far
    along = (first**2 - second**2 + length**2) / (2 * length)
    off = math.sqrt(max(first**2 - along**2, 0.0)) * side
    joint = (start[0] + x * along + y * off, start[1] + y * along - x * off)
    return joint, (start[0] + x * length, start[1] + y * length)


def posed(body: Body, hands: tuple[Point, Point], face: str, dice: Dice) -> Figure:
    """The figure with its hands at these offsets from the shoulder, every joint a little off."""

    def off(point: Point, spread: float) -> Point:
        return dice.near(point[0], spread), dice.near(point[1], spread)

    hip = off(body.hip, 0.012)
    lean = math.radians(dice.near(body.lean, 3))
    neck = (hip[0] + TORSO * math.sin(lean), hip[1] - TORSO * math.cos(lean))
    shoulder = (neck[0], neck[1] + 0.025)
    head = (
        neck[0] + 0.115 * math.sin(lean * 0.7) + dice.near(0.01, 0.012),
        neck[1] - 0.115 * math.cos(lean * 0.7),
    )
    # A figure seen from the side bends its elbows down and back; one seen from the front bends them outwards.
    arms = [
        bent(shoulder, off((shoulder[0] + x, shoulder[1] + y), 0.02), UPPER_ARM, FOREARM, _elbow(x, face))
        for x, y in hands
    ]
    legs = [bent(hip, off(foot, 0.015), THIGH, SHIN, body.knees) for foot in body.feet]
    return Figure(
        hip,
        shoulder,
        head,
        (arms[0][0], arms[1][0]),
        (arms[0][1], arms[1][1]),
        (legs[0][0], legs[1][0]),
        (legs[0][1], legs[1][1]),
        face,
    )


def _elbow(x: float, face: str) -> int:
    return 1 if face != "side" and x < 0 else -1


@dataclass(frozen=True)
class Clothes:
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    sleeves: bool
    shorts: bool
    style: str
    build: float


def dressed(dice: Dice) -> Clothes:
    skin = mixed((246, 214, 186), (96, 62, 44), dice.unit())
    hair = dice.pick(
        ((36, 28, 26), (92, 58, 34), (206, 164, 92), (150, 70, 36), (180, 180, 182), (58, 44, 40))
    )
    return Clothes(
        skin,
        hair,
        dice.colour((0.2, 0.95), (0.35, 1.0)),
        dice.colour((0.1, 0.8), (0.2, 0.9)),
        dice.colour((0.0, 0.7), (0.15, 0.8)),
        dice.chance(0.55),
        dice.chance(0.3),
        dice.pick(("short", "long", "bun", "cap", "bald")),
        dice.between(0.85, 1.2),
    )


def draw_arm(pen: Pen, figure: Figure, clothes: Clothes, near: bool) -> None:
    side = 0 if near else 1
    shirt = clothes.shirt if near else mixed(clothes.shirt, INK, 0.2)
    skin = clothes.skin if near else mixed(clothes.skin, INK, 0.15)
    thick = 0.055 * clothes.build
    elbow, hand = figure.elbows[side], figure.hands[side]
    start = (
        figure.shoulder
        if figure.face == "side"
        else (figure.shoulder[0] + (0.07, -0.07)[side], figure.shoulder[1])
    )
    pen.limb((start, elbow, hand), thick, shirt if clothes.sleeves else skin)
    if not clothes.sleeves:
        pen.line((start, ((start[0] + elbow[0]) / 2, (start[1] + elbow[1]) / 2)), thick + 0.008, shirt)
    pen.disc(*hand, 0.032, skin, 0.008)


def draw_leg(pen: Pen, figure: Figure, clothes: Clothes, near: bool) -> None:
    side = 0 if near else 1
    trousers = clothes.trousers if near else mixed(clothes.trousers, INK, 0.22)
    thick = 0.072 * clothes.build
    hip, knee, foot = figure.hip, figure.knees[side], figure.feet[side]
    if clothes.shorts:
        pen.limb((hip, knee, foot), thick * 0.8, clothes.skin if near else mixed(clothes.skin, INK, 0.15))
        pen.limb((hip, knee), thick, trousers)
    else:
        pen.limb((hip, knee, foot), thick, trousers)
    toe = 0.06 if figure.face == "side" else 0.03 * (1 if near else -1)
    pen.limb((foot, (foot[0] + toe, foot[1] + 0.004)), 0.045, clothes.shoes)


def draw_trunk(pen: Pen, figure: Figure, clothes: Clothes) -> None:
    wide = 0.085 * clothes.build if figure.face == "side" else 0.10 * clothes.build
    (x, y), (hip_x, hip_y) = figure.shoulder, figure.hip
    far = math.hypot(hip_x - x, hip_y - y)
    across = ((hip_y - y) / far * wide, -(hip_x - x) / far * wide)
    slim = 0.78
    pen.limb(((x, y), figure.head), 0.05, clothes.skin)
    pen.shape(
        (
            (x - across[0], y - across[1]),
            (x - across[0] * 0.5, y - across[1] * 0.5 - 0.035),
            (x + across[0] * 0.5, y + across[1] * 0.5 - 0.035),
            (x + across[0], y + across[1]),
            (hip_x + across[0] * slim, hip_y + across[1] * slim + 0.03),
            (hip_x - across[0] * slim, hip_y - across[1] * slim + 0.03),
        ),
        clothes.shirt,
        0.014,
        mixed(clothes.shirt, INK, 0.75),
    )


def draw_head(pen: Pen, figure: Figure, clothes: Clothes) -> None:
    x, y = figure.head
    hair, skin = clothes.hair, clothes.skin
    back = figure.face == "back"
    side = 0.03 if figure.face == "side" else 0.0
    if clothes.style == "long":
        pen.oval(x - side, y + 0.05, 0.11, 0.14, hair, 0.01)
    if clothes.style == "bun":
        pen.disc(x - side * 2.4, y - 0.10, 0.05, hair)
    pen.disc(x, y, HEAD, hair if back and clothes.style != "bald" else skin, 0.012)
    if clothes.style == "cap":
        pen.shape(_cap(x, y, 0.0, HEAD + 0.012), clothes.shoes)
        pen.limb(((x, y - 0.035), (x + (0.15 if side else 0.06), y - 0.035)), 0.02, clothes.shoes)
    elif clothes.style != "bald" and not back:
        pen.shape(_cap(x, y, side, HEAD + 0.012), hair, 0.0)
        if side:
            pen.shape(
                [(x - 0.115, y - 0.03), (x - 0.02, y - 0.03), (x - 0.05, y + 0.05), (x - 0.095, y + 0.05)],
                hair,
                0,
            )
    if back:
        return
    if side:
        pen.disc(x + 0.055, y - 0.005, 0.014, INK, 0)
        pen.disc(x + 0.105, y + 0.015, 0.018, skin, 0.006)
        pen.line(((x + 0.05, y + 0.052), (x + 0.085, y + 0.048)), 0.014, mixed(skin, (120, 20, 20), 0.6))
    else:
        for offset in (-0.04, 0.04):
            pen.disc(x + offset, y + 0.0, 0.014, INK, 0)
        pen.line(
            ((x - 0.03, y + 0.05), (x, y + 0.062), (x + 0.03, y + 0.05)),
            0.014,
            mixed(skin, (120, 20, 20), 0.6),
        )


def _cap(x: float, y: float, side: float, radius: float) -> list[Point]:
    """The upper part of a head of this radius, tipped to the back where the head is seen from the side."""
    tip = math.radians(-22 if side else 0)
    turns = [math.pi + tip + math.pi * step / 10 for step in range(11)]
    return [(x + radius * math.cos(turn), y - 0.03 + radius * 0.8 * math.sin(turn)) for turn in turns]


# --- things -------------------------------------------------------------------------------------------------
# Each draws one thing (or one group of things) where the figure's joints say. The figure stands at x = 0.

Thing = Callable[[Pen, Dice, Figure], None]


def table(
    pen: Pen, dice: Dice, figure: Figure, left: float = 0.08, right: float = 0.75, top: float = -0.40
) -> None:
    wood = mixed(dice.colour((0.2, 0.6), (0.35, 0.9)), WOOD, 0.4)
    for x in (left + 0.05, right - 0.05):
        pen.limb(((x, top), (x, 0)), 0.04, mixed(wood, INK, 0.3))
    pen.rect(left, top, right, top + 0.055, wood)


def counter(pen: Pen, dice: Dice, figure: Figure) -> None:
    wood = dice.colour((0.05, 0.5), (0.45, 0.95))
    pen.rect(0.07, -0.40, 0.85, 0.02, wood)
    for x in (0.27, 0.52):
        pen.line(((x, -0.34), (x, 0)), 0.012, mixed(wood, INK, 0.5))
        pen.disc(x - 0.05, -0.24, 0.014, INK, 0)
    pen.rect(0.05, -0.42, 0.87, -0.375, mixed(wood, WHITE, 0.5))


def worktop(pen: Pen, dice: Dice, figure: Figure) -> None:
    dice.pick((table, counter))(pen, dice, figure)


def desk(pen: Pen, dice: Dice, figure: Figure) -> None:
    table(pen, dice, figure, 0.14, 0.78, -0.36)


def chair(pen: Pen, dice: Dice, figure: Figure) -> None:
    wood = dice.colour((0.2, 0.8), (0.3, 0.8))
    x, y = figure.hip
    for leg in (x - 0.12, x + 0.12):
        pen.limb(((leg, y + 0.06), (leg, 0)), 0.03, wood)
    if dice.chance(0.7):
        pen.limb(((x - 0.13, y + 0.06), (x - 0.16, y - 0.30)), 0.035, wood)
    pen.rect(x - 0.15, y + 0.03, x + 0.15, y + 0.08, wood)


def sofa(pen: Pen, dice: Dice, figure: Figure) -> None:
    cloth = dice.colour((0.2, 0.8), (0.35, 0.9))
    x, y = figure.hip
    pen.shape(((x - 0.30, -0.03), (x - 0.32, y - 0.26), (x - 0.16, y - 0.26), (x - 0.10, -0.03)), cloth)
    pen.rect(x - 0.22, y + 0.03, x + 0.22, -0.03, mixed(cloth, WHITE, 0.15))


def umbrella(pen: Pen, dice: Dice, figure: Figure) -> None:
    one, other = dice.colour(), dice.colour()
    top = pen.at(*figure.hands[0], dice.near(4, 9))
    top.limb(((0, 0.05), (0, -0.50)), 0.02, mixed(one, INK, 0.6))
    reach = dice.between(0.32, 0.40)
    for part in range(4):
        left, right = -reach + part * reach / 2, -reach + (part + 1) * reach / 2
        curve = [
            (left + (right - left) * t / 4, -0.30 - 0.24 * math.sqrt(1 - ((part + t / 4 - 2) / 2) ** 2))
            for t in range(5)
        ]
        top.shape([*curve, ((left + right) / 2, -0.34)], (one, other)[part % 2])
    top.line(((0, -0.54), (0, -0.58)), 0.02, INK)


def phone_in(pen: Pen, dice: Dice, spot: Point, angle: float) -> None:
    phone = pen.at(*spot, angle)
    phone.rect(-0.04, -0.085, 0.04, 0.085, mixed(dice.colour(), INK, 0.6))
    phone.rect(-0.027, -0.065, 0.027, 0.05, (190, 226, 240), 0)


def phone_at_ear(pen: Pen, dice: Dice, figure: Figure) -> None:
    phone_in(pen, dice, figure.by_head(0.01, 0.01), dice.near(12, 12))


def phone_in_hands(pen: Pen, dice: Dice, figure: Figure) -> None:
    phone_in(pen, dice, (figure.hands[0][0] + 0.03, figure.hands[0][1] - 0.05), dice.near(25, 12))


def camera(pen: Pen, dice: Dice, figure: Figure) -> None:
    case = dice.pick((INK, (90, 90, 96), dice.colour()))
    box = pen.at(figure.hands[0][0], figure.hands[0][1] - 0.035, dice.near(0, 5))
    box.rect(-0.05, -0.06, 0.045, 0.055, case)
    box.rect(-0.03, -0.085, 0.01, -0.06, case)
    box.rect(0.045, -0.04, 0.13, 0.04, mixed(case, STEEL, 0.5))
    box.disc(0.13, 0, 0.04, (150, 200, 232))
    if dice.chance(0.3):
        box.shape(path("0.15 -0.09, 0.3 -0.16, 0.2 -0.06, 0.32 -0.02"), (255, 250, 190), 0)


def guitar(pen: Pen, dice: Dice, figure: Figure) -> None:
    wood = mixed(dice.colour((0.4, 0.95), (0.35, 0.9)), WOOD, 0.3)
    (x, y), (end_x, end_y) = figure.hands
    neck = pen.at(x, y + 0.01, math.degrees(math.atan2(end_y - y, end_x - x)))
    neck.limb(((0, 0), (0.46, 0)), 0.028, mixed(wood, INK, 0.55))
    neck.rect(0.44, -0.035, 0.52, 0.035, mixed(wood, INK, 0.4))
    neck.disc(-0.07, 0, 0.135, wood)
    neck.disc(0.09, 0, 0.10, wood)
    neck.disc(-0.05, 0, 0.10, wood, 0)
    neck.disc(0.04, 0, 0.042, INK, 0)
    neck.line(((-0.12, 0), (0.44, 0)), 0.010, WHITE)


def violin(pen: Pen, dice: Dice, figure: Figure) -> None:
    wood = mixed(dice.colour((0.5, 0.95), (0.35, 0.85)), (150, 70, 30), 0.5)
    (x, y), (end_x, end_y) = figure.by_head(0.05, 0.105), figure.hands[1]
    neck = pen.at(x, y, math.degrees(math.atan2(end_y - y, end_x - x)))
    neck.limb(((0, 0), (0.30, 0)), 0.022, mixed(wood, INK, 0.55))
    neck.oval(0.035, 0, 0.06, 0.058, wood)
    neck.oval(0.12, 0, 0.05, 0.045, wood)
    neck.line(((0.0, 0), (0.28, 0)), 0.01, INK)
    bow = pen.at(*figure.hands[0], dice.near(-58, 12))
    bow.line(((-0.04, 0), (0.40, 0)), 0.018, INK)
    bow.line(((-0.02, 0.02), (0.39, 0.014)), 0.008, WHITE)


def open_book(pen: Pen, dice: Dice, x: float, y: float, angle: float) -> None:
    cover = dice.colour()
    book = pen.at(x, y, angle)
    book.shape(path("-0.15 -0.09, 0 -0.06, 0.15 -0.09, 0.15 0.075, 0 0.1, -0.15 0.075"), cover)
    for side in (-1, 1):
        book.shape(((0, -0.05), (side * 0.13, -0.08), (side * 0.13, 0.055), (0, 0.08)), WHITE, 0.008)
        for step in range(3):
            book.line(
                ((side * 0.03, -0.025 + step * 0.035), (side * 0.11, -0.04 + step * 0.035)),
                0.008,
                (120, 120, 130),
            )


def book_in_hands(pen: Pen, dice: Dice, figure: Figure) -> None:
    (x, y), (other_x, other_y) = figure.hands
    open_book(pen, dice, (x + other_x) / 2 + 0.05, (y + other_y) / 2 - 0.05, dice.near(14, 10))


def book_and_pen(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, y = figure.hands[0]
    flat = pen.at(0, 0)
    open_book(flat, dice, x + 0.06, y + 0.035, dice.near(2, 4))
    flat.line(((x + 0.045, y + 0.04), (x - 0.01, y - 0.12)), 0.024, dice.colour())


def cup(pen: Pen, dice: Dice, x: float, y: float, angle: float, filled: bool = True) -> None:
    glass = dice.pick((dice.colour(), WHITE, (190, 220, 232)))
    mug = pen.at(x, y, angle)
    if dice.chance(0.6):
        mug.ring(0.06, 0.0, 0.045, 0.018, mixed(glass, INK, 0.5))
    mug.shape(path("-0.06 -0.075, 0.06 -0.075, 0.048 0.075, -0.048 0.075"), glass)
    if filled:
        mug.rect(-0.056, -0.075, 0.056, -0.05, dice.colour(), 0)


def cup_at_mouth(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, y = figure.mouth
    if dice.chance(0.5):
        cup(pen, dice, x + 0.065, y - 0.015, dice.near(-58, 14), filled=False)
        return
    glass = dice.pick(((190, 220, 232), (80, 130, 90), dice.colour()))
    bottle = pen.at(x, y, dice.near(68, 14))
    bottle.shape(
        path("-0.02 0, 0.02 0, 0.022 -0.07, 0.05 -0.11, 0.05 -0.24, -0.05 -0.24, -0.05 -0.11, -0.022 -0.07"),
        glass,
    )
    bottle.rect(-0.05, -0.19, 0.05, -0.13, dice.colour(), 0)


def cigarette(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, y = figure.mouth
    lit = pen.at(x, y, dice.near(-4, 12))
    lit.line(((0, 0), (0.12, 0)), 0.034, INK)
    lit.line(((0.0, 0), (0.11, 0)), 0.022, WHITE)
    lit.disc(0.125, 0, 0.018, (240, 80, 30), 0)
    grey = mixed((216, 216, 222), INK, dice.unit() * 0.35)
    drift = dice.near(0.03, 0.05)
    puffs = [(x + 0.13 + drift * step + dice.near(0, 0.03), y - 0.05 - 0.055 * step) for step in range(6)]
    for step, puff in enumerate(puffs):
        pen.disc(*puff, 0.018 + 0.008 * step, grey, 0)


def toothbrush(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, y = figure.mouth
    hand = figure.hands[0]
    pen.line(
        ((x - 0.02, y), hand, (hand[0] * 1.25 - x * 0.25, hand[1] * 1.25 - y * 0.25)),
        0.026,
        dice.colour((0.7, 1), (0.6, 1)),
    )
    pen.rect(x - 0.03, y - 0.035, x + 0.03, y - 0.005, WHITE, 0.006)
    for _ in range(4):
        pen.disc(dice.near(x, 0.04), dice.near(y + 0.025, 0.025), dice.between(0.012, 0.022), WHITE, 0)


def bubbles(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, y = figure.mouth
    tint = dice.pick(((230, 245, 255), (255, 235, 250), (235, 255, 240)))
    pen.line((figure.hands[0], (x + 0.07, y)), 0.018, dice.colour())
    pen.ring(x + 0.07, y - 0.01, 0.045, 0.016, dice.colour())
    for _ in range(dice.pick((6, 7, 8, 9))):
        away = dice.between(0.16, 0.55)
        spot = (x + away, y + dice.near(-0.06, 0.10 + 0.4 * away))
        size = dice.between(0.025, 0.065)
        pen.ring(*spot, size, 0.012, tint)
        pen.disc(spot[0] - size * 0.35, spot[1] - size * 0.35, size * 0.22, WHITE, 0)


def stick(pen: Pen, dice: Dice, figure: Figure, beyond: float, width: float = 0.024) -> Pen:
    """A stick through both hands, `beyond` past the lower one; returns a pen at its end, x along it."""
    (x, y), (other_x, other_y) = figure.hands
    turn = math.atan2(y - other_y, x - other_x)
    end = (x + beyond * math.cos(turn), y + beyond * math.sin(turn))
    start = (other_x - 0.12 * math.cos(turn), other_y - 0.12 * math.sin(turn))
    pen.limb((start, end), width, mixed(dice.colour(), WOOD, 0.5))
    return pen.at(*end, math.degrees(turn))


def to_floor(figure: Figure) -> float:
    """How far past the lower hand a stick through both hands meets the floor."""
    (x, y), (other_x, other_y) = figure.hands
    return -y / max((y - other_y) / max(math.hypot(x - other_x, y - other_y), 1e-6), 0.3)


def mop(pen: Pen, dice: Dice, figure: Figure) -> None:
    end = stick(pen, dice, figure, to_floor(figure) - 0.07)
    colour = dice.colour()
    if dice.chance(0.5):
        end.shape(path("0 -0.04, 0.1 -0.12, 0.1 0.12, 0 0.04"), colour)
        for step in range(5):
            end.line(
                ((0.01, -0.03 + 0.015 * step), (0.10, -0.10 + 0.05 * step)), 0.01, mixed(colour, INK, 0.5)
            )
    else:
        for step in range(6):
            end.limb(((0, 0), (0.09, -0.12 + 0.048 * step)), 0.022, mixed(WHITE, colour, 0.3))
    if dice.chance(0.6):
        bucket(pen, dice, -0.36, 0.02)


def bucket(pen: Pen, dice: Dice, x: float, y: float) -> None:
    colour = dice.colour()
    pen.ring(x, y - 0.18, 0.08, 0.012, INK)
    pen.shape(((x - 0.10, y - 0.18), (x + 0.10, y - 0.18), (x + 0.075, y), (x - 0.075, y)), colour)


def rake(pen: Pen, dice: Dice, figure: Figure) -> None:
    end = stick(pen, dice, figure, to_floor(figure) - 0.03)
    end.line(((0, -0.10), (0, 0.10)), 0.03, STEEL)
    for step in range(5):
        end.line(((0, -0.10 + 0.05 * step), (0.06, -0.10 + 0.05 * step)), 0.014, INK)


def plants(pen: Pen, dice: Dice, figure: Figure) -> None:
    soil = mixed((104, 72, 48), dice.colour(), 0.15)
    pen.oval(0.38, 0.02, 0.34, 0.05, soil, 0)
    for step in range(4):
        x = 0.14 + 0.15 * step + dice.near(0, 0.03)
        leaf = mixed((70, 150, 60), dice.colour(), 0.25)
        height = dice.between(0.10, 0.24)
        pen.line(((x, 0.02), (x, 0.02 - height)), 0.016, mixed(leaf, INK, 0.3))
        for side in (-1, 1):
            pen.at(x, 0.02 - height * 0.5, side * -35).oval(side * 0.045, 0, 0.05, 0.02, leaf, 0.006)
        if dice.chance(0.7):
            pen.disc(x, -height, 0.035, dice.colour((0.6, 1), (0.7, 1)), 0.006)


def trowel(pen: Pen, dice: Dice, figure: Figure) -> None:
    tool = pen.at(*figure.hands[0], dice.near(60, 15))
    tool.limb(((-0.03, 0), (0.06, 0)), 0.024, dice.colour())
    tool.shape(path("0.06 -0.035, 0.13 -0.03, 0.17 0, 0.13 0.03, 0.06 0.035"), STEEL)


def garden_tool(pen: Pen, dice: Dice, figure: Figure) -> None:
    trowel(pen, dice, figure) if figure.hip[1] > -0.35 else rake(pen, dice, figure)


def rod(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, y = figure.hands[0]
    tip = (x + dice.between(0.48, 0.62), y - dice.between(0.22, 0.46))
    pen.line(((x - 0.14, y + 0.07), (x, y)), 0.03, WOOD)
    pen.line(((x, y), ((x + tip[0]) / 2, (y + tip[1]) / 2 - 0.03), tip), 0.018, INK)
    float_at = (tip[0] + dice.near(0.05, 0.04), dice.near(0.0, 0.04))
    pen.line((tip, float_at), 0.009, WHITE)
    pen.disc(*float_at, 0.024, (226, 60, 50))
    if dice.chance(0.3):
        pen.at(*float_at, -80).oval(0.10, 0, 0.08, 0.035, STEEL)


def axe(pen: Pen, dice: Dice, figure: Figure) -> None:
    if dice.chance(0.6):
        end = stick(pen, dice, figure, 0.28, 0.028)
        end.shape(path("-0.05 -0.02, 0.03 -0.02, 0.05 0.1, -0.07 0.1"), STEEL)
        return
    x, y = figure.hands[0]
    saw = pen.at(x, y, dice.near(5, 10))
    saw.rect(0.02, -0.03, 0.38, 0.03, STEEL)
    for step in range(6):
        saw.line(((0.06 + 0.055 * step, 0.03), (0.075 + 0.055 * step, 0.05)), 0.02, INK)
    saw.rect(-0.14, -0.07, 0.05, 0.06, dice.colour((0.7, 1), (0.6, 1)))


def tree(pen: Pen, dice: Dice, x: float, y: float, height: float) -> None:
    bark = mixed(WOOD, INK, dice.between(0.0, 0.5))
    wide = height * dice.between(0.06, 0.09)
    leaf = mixed((60, 130, 60), dice.colour(), dice.between(0.1, 0.5))
    pen.shape(
        (
            (x - wide, y),
            (x - wide * 0.7, y - height * 0.7),
            (x + wide * 0.7, y - height * 0.7),
            (x + wide, y),
        ),
        bark,
    )
    if dice.chance(0.35):
        for step in range(3):
            low, half = y - height * (0.30 + 0.22 * step), height * (0.30 - 0.07 * step)
            pen.shape(((x - half, low), (x + half, low), (x, low - height * 0.34)), leaf, height * 0.01)
        return
    for offset_x, offset_y in ((-0.18, -0.68), (0.18, -0.70), (0.0, -0.86), (0.0, -0.66)):
        pen.disc(
            x + height * offset_x,
            y + height * offset_y,
            height * 0.2,
            mixed(leaf, WHITE, dice.unit() * 0.15),
            0,
        )


def felled_tree(pen: Pen, dice: Dice, figure: Figure) -> None:
    if dice.chance(0.55):
        tree(pen, dice, dice.near(0.56, 0.04), 0.03, dice.between(1.1, 1.6))
        pen.shape(path("0.42 -0.36, 0.58 -0.31, 0.42 -0.26"), (236, 206, 150))
        return
    bark = mixed(WOOD, INK, dice.between(0.1, 0.5))
    pen.limb(((0.25, -0.12), (1.0, -0.16)), 0.19, bark)
    pen.disc(0.22, -0.12, 0.095, (236, 206, 150))
    pen.ring(0.22, -0.12, 0.05, 0.012, bark)


def bow(pen: Pen, dice: Dice, figure: Figure) -> None:
    (near_x, near_y), (x, y) = figure.hands
    wood = mixed(dice.colour(), WOOD, 0.5)
    curve = [(x - 0.16 * (t / 5) ** 2 + 0.03, y + 0.32 * t / 5) for t in range(-5, 6)]
    pen.line(curve, 0.034, INK)
    pen.line(curve, 0.022, wood)
    pen.line((curve[0], (near_x + 0.02, near_y), curve[-1]), 0.009, WHITE)
    pen.line(((near_x, near_y), (x + 0.16, y - 0.01)), 0.016, INK)
    pen.shape(((x + 0.14, y - 0.04), (x + 0.22, y - 0.01), (x + 0.14, y + 0.025)), STEEL)


def target(pen: Pen, dice: Dice, figure: Figure) -> None:
    if dice.chance(0.45):
        for radius, colour in (
            (0.16, WHITE),
            (0.12, (70, 110, 200)),
            (0.08, (220, 60, 50)),
            (0.04, (250, 210, 60)),
        ):
            pen.disc(0.86, -0.66, radius, colour, 0.006)


def wheel(pen: Pen, x: float, y: float, radius: float, rim: Colour) -> None:
    pen.ring(x, y, radius, 0.036, INK)
    pen.ring(x, y, radius - 0.03, 0.012, rim)
    for step in range(4):
        turn = math.pi * step / 4
        reach = (radius - 0.03) * math.cos(turn), (radius - 0.03) * math.sin(turn)
        pen.line(((x - reach[0], y - reach[1]), (x + reach[0], y + reach[1])), 0.006, STEEL)


def draw_bike(pen: Pen, dice: Dice) -> None:
    frame = dice.colour((0.5, 1), (0.4, 0.95))
    wheel(pen, -0.28, -0.17, 0.17, STEEL)
    wheel(pen, 0.32, -0.17, 0.17, STEEL)
    pedal, seat, front = (0.0, -0.16), (-0.11, -0.37), (0.22, -0.40)
    for points in (
        ((-0.28, -0.17), seat, pedal, (-0.28, -0.17)),
        (seat, front, pedal),
        (front, (0.32, -0.17)),
    ):
        pen.line(points, 0.034, frame)
    pen.line((seat, (-0.12, -0.43)), 0.022, INK)
    pen.limb(((-0.18, -0.44), (-0.05, -0.43)), 0.034, INK)
    pen.line((front, (0.20, -0.48), (0.28, -0.50)), 0.026, INK)
    pen.ring(*pedal, 0.045, 0.016, INK)


def bike(pen: Pen, dice: Dice, figure: Figure) -> None:
    draw_bike(pen, dice)


def broken_bike(pen: Pen, dice: Dice, figure: Figure) -> None:
    if dice.chance(0.5):
        draw_bike(pen.at(0.42, -0.50, 180, 1.0, flip=dice.chance(0.5)), dice)
    else:
        draw_bike(pen.at(0.42, 0, dice.near(0, 6), 1.0, flip=dice.chance(0.5)), dice)


def wrench(pen: Pen, dice: Dice, figure: Figure) -> None:
    tool = pen.at(*figure.hands[0], dice.near(-20, 30))
    tool.line(((-0.02, 0), (0.14, 0)), 0.034, INK)
    tool.line(((-0.02, 0), (0.14, 0)), 0.022, STEEL)
    tool.ring(0.16, 0, 0.035, 0.016, STEEL)


def draw_horse(pen: Pen, dice: Dice) -> None:
    coat = mixed(
        dice.pick(((128, 84, 52), (60, 46, 42), (206, 180, 150), (232, 228, 222), (160, 104, 62))),
        dice.colour(),
        0.12,
    )
    dark = mixed(coat, INK, 0.55)
    for x, bend in ((-0.24, 0.03), (0.22, 0.06), (-0.29, -0.02), (0.27, 0.0)):
        bend += dice.near(0, 0.04)
        pen.limb(
            ((x, -0.34), (x + bend, -0.16), (x + bend * 0.5, 0)),
            0.055,
            mixed(coat, INK, 0.1 if bend > 0 else 0.0),
        )
    pen.line(path("-0.32 -0.46, -0.42 -0.38, -0.41 -0.2"), 0.06, dark)
    pen.oval(0, -0.41, 0.36, 0.135, coat)
    pen.shape(path("0.18 -0.48, 0.36 -0.78, 0.47 -0.72, 0.35 -0.36"), coat)
    pen.oval(0.2, -0.41, 0.14, 0.11, coat, 0)
    head = pen.at(0.43, -0.75, 42)
    head.oval(0.08, 0, 0.14, 0.062, coat)
    head.disc(0.05, -0.02, 0.014, INK, 0)
    head.shape(path("-0.05 -0.05, -0.04 -0.13, 0 -0.05"), coat)
    pen.line(path("0.37 -0.82, 0.24 -0.64, 0.15 -0.5"), 0.055, dark)


def horse(pen: Pen, dice: Dice, figure: Figure) -> None:
    draw_horse(pen, dice)
    pen.shape(path("-0.15 -0.54, 0.09 -0.54, 0.06 -0.38, -0.12 -0.38"), dice.colour())


def reins(pen: Pen, dice: Dice, figure: Figure) -> None:
    pen.line((figure.hands[0], (0.50, -0.67)), 0.014, INK)


def hungry_horse(pen: Pen, dice: Dice, figure: Figure) -> None:
    draw_horse(pen.at(dice.near(0.92, 0.04), 0, 0, dice.between(0.95, 1.08), flip=True), dice)


def fodder(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, y = figure.hands[0]
    if dice.chance(0.4):
        pen.shape(((x, y - 0.03), (x + 0.13, y - 0.01), (x, y + 0.03)), (240, 130, 40))
    else:
        for step in range(5):
            pen.line(((x, y), (x + 0.10, y - 0.08 + 0.04 * step)), 0.014, (206, 190, 90))


def draw_dog(pen: Pen, dice: Dice) -> None:
    coat = mixed(
        dice.pick(((150, 100, 60), (50, 44, 44), (226, 214, 196), (200, 150, 90))), dice.colour(), 0.12
    )
    for x in (-0.11, -0.07, 0.08, 0.12):
        pen.limb(((x, -0.13), (x + dice.near(0, 0.03), 0)), 0.03, coat)
    pen.limb(((-0.13, -0.19), (-0.21, -0.28)), 0.026, coat)
    pen.limb(((-0.11, -0.17), (0.11, -0.17)), 0.10, coat)
    pen.limb(((0.12, -0.19), (0.17, -0.26)), 0.07, coat)
    pen.limb(((0.17, -0.28), (0.25, -0.26)), 0.06, coat)
    pen.disc(0.17, -0.285, 0.055, coat)
    pen.shape(path("0.11 -0.33, 0.15 -0.33, 0.11 -0.22"), mixed(coat, INK, 0.5))
    pen.disc(0.28, -0.265, 0.018, INK, 0)


def dog_on_lead(pen: Pen, dice: Dice, figure: Figure) -> None:
    x = dice.near(0.50, 0.06)
    draw_dog(pen.at(x, 0.01, 0, dice.between(0.95, 1.25)), dice)
    hand = figure.hands[0]
    pen.line((hand, ((hand[0] + x) / 2, -0.24), (x + 0.13, -0.24)), 0.016, dice.colour((0.5, 1), (0.3, 0.9)))


def car(pen: Pen, dice: Dice, figure: Figure) -> None:
    paint = dice.colour((0.4, 1), (0.4, 0.95))
    pen.line(((0.26, -0.34), (0.52, -0.72)), 0.03, STEEL)
    pen.shape(path("0.52 -0.36, 0.14 -0.66, 0.16 -0.7, 0.56 -0.4"), paint)
    pen.shape(path("0.52 -0.36, 0.64 -0.6, 1.3 -0.62, 1.4 -0.36"), mixed(paint, INK, 0.15))
    pen.shape(path("0.6 -0.37, 0.68 -0.56, 0.9 -0.57, 0.9 -0.37"), (180, 214, 230))
    pen.shape(path("0.16 -0.36, 1.4 -0.38, 1.4 -0.1, 0.14 -0.1"), paint)
    pen.disc(0.20, -0.25, 0.04, (255, 240, 170))
    pen.disc(0.40, -0.10, 0.12, INK)
    pen.disc(0.40, -0.10, 0.06, STEEL)
    pen.disc(1.15, -0.10, 0.12, INK)


def cart(pen: Pen, dice: Dice, figure: Figure) -> None:
    metal = dice.pick((STEEL, dice.colour()))
    x, y = figure.hands[0]
    left, right, top = x + 0.06, x + 0.50, -0.50
    if dice.chance(0.6):
        for _ in range(3):
            item = dice.between(left + 0.08, right - 0.08)
            pen.disc(item, top - 0.02, dice.between(0.05, 0.08), dice.colour())
    pen.line(((x, y), (left, top), (left + 0.08, -0.12), (right - 0.02, -0.12)), 0.03, mixed(metal, INK, 0.4))
    basket = ((left, top), (right, top + 0.03), (right - 0.06, -0.24), (left + 0.06, -0.24))
    if dice.chance(0.5):
        pen.shape(basket, metal)
    else:
        pen.shape(basket, mixed(metal, WHITE, 0.45))
        for step in range(1, 5):
            share = step / 5
            pen.line(
                ((left + share * 0.44, top + 0.03 * share), (left + 0.06 + share * 0.32, -0.24)),
                0.012,
                mixed(metal, INK, 0.4),
            )
        pen.line(((left + 0.03, -0.37), (right - 0.03, -0.36)), 0.012, mixed(metal, INK, 0.4))
    for wheel_x in (left + 0.10, right - 0.08):
        pen.disc(wheel_x, -0.05, 0.05, INK)
        pen.disc(wheel_x, -0.05, 0.02, STEEL, 0)


def boat(pen: Pen, dice: Dice, figure: Figure) -> None:
    paint = dice.colour((0.3, 0.95), (0.35, 0.95))
    pen.shape(path("-0.52 -0.16, 0.66 -0.18, 0.5 0.06, -0.42 0.06"), paint)
    pen.line(((-0.53, -0.16), (0.67, -0.18)), 0.035, mixed(paint, WHITE, 0.5))
    x, y = figure.hands[0]
    end = (dice.near(-0.36, 0.12), 0.12)
    pen.limb(((x + 0.06, y - 0.03), end), 0.024, WOOD)
    pen.at(*end, math.degrees(math.atan2(end[1] - y, end[0] - x))).oval(0.03, 0, 0.10, 0.035, WOOD)
    for _ in range(5):
        wave = dice.near(0.0, 0.6)
        pen.line(((wave - 0.08, 0.10), (wave, 0.08), (wave + 0.08, 0.10)), 0.014, WHITE)


def laptop(pen: Pen, dice: Dice, figure: Figure) -> None:
    case = dice.pick((STEEL, INK, dice.colour((0, 0.4))))
    glow = dice.colour((0.1, 0.5), (0.85, 1.0))
    top = -0.36
    if dice.chance(0.5):
        pen.limb(((0.24, top - 0.012), (0.46, top - 0.012)), 0.022, case)
        pen.shape(((0.46, top - 0.01), (0.57, top - 0.27), (0.53, top - 0.28), (0.42, top - 0.02)), case)
        pen.shape(((0.45, top - 0.04), (0.53, top - 0.26), (0.50, top - 0.265), (0.42, top - 0.05)), glow, 0)
        return
    pen.limb(((0.56, top), (0.56, top - 0.1)), 0.03, case)
    pen.shape(((0.44, top - 0.07), (0.48, top - 0.36), (0.68, top - 0.38), (0.66, top - 0.06)), case)
    pen.shape(((0.47, top - 0.10), (0.505, top - 0.33), (0.65, top - 0.345), (0.635, top - 0.09)), glow, 0)
    pen.limb(((0.24, top - 0.01), (0.40, top - 0.01)), 0.022, WHITE)


def television(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, low = dice.near(0.72, 0.04), dice.near(-0.28, 0.03)
    pen.rect(x - 0.22, low + 0.03, x + 0.24, 0.0, mixed(WOOD, dice.colour(), 0.4))
    glow = dice.colour((0.3, 0.8), (0.75, 1.0))
    pen.shape(((x - 0.20, low), (x - 0.20, low - 0.36), (x + 0.22, low - 0.40), (x + 0.22, low)), INK)
    pen.shape(
        ((x - 0.17, low - 0.03), (x - 0.17, low - 0.33), (x + 0.19, low - 0.365), (x + 0.19, low - 0.03)),
        glow,
        0,
    )
    pen.disc(x + dice.near(0, 0.08), low - 0.18, 0.06, dice.colour(), 0)
    pen.shape(((x - 0.15, low - 0.03), (x + 0.02, low - 0.13), (x + 0.17, low - 0.03)), dice.colour(), 0)


def board(pen: Pen, dice: Dice, figure: Figure) -> None:
    dark = dice.chance(0.6)
    face = dice.pick(((44, 84, 66), (40, 44, 52), (52, 70, 92))) if dark else WHITE
    chalk = WHITE if dark else dice.colour((0.6, 1), (0.2, 0.7))
    left, right, top, low = dice.near(-0.1, 0.1), dice.near(0.85, 0.1), -1.12, -0.46
    pen.rect(left, top, right, low, face, 0.03)
    for line in range(4):
        x, y = left + 0.12, top + 0.12 + 0.12 * line
        end = dice.between(left + 0.3, right - 0.08)
        points = []
        while x < end:
            points.append((x, y + dice.near(0, 0.022)))
            x += 0.035
        pen.line(points, 0.012, chalk)


def chalk(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, y = figure.hands[0]
    pen.line(((x, y), (x + 0.06, y - 0.05)), 0.024, WHITE)


def telescope(pen: Pen, dice: Dice, figure: Figure) -> None:
    tube = dice.pick((WHITE, INK, dice.colour()))
    x, y = figure.eye
    angle = dice.near(-20, 14)
    scope = pen.at(x + 0.05, y, angle)
    middle = (x + 0.05 + 0.28 * math.cos(math.radians(angle)), y + 0.28 * math.sin(math.radians(angle)))
    for foot in (-0.16, 0.02, 0.18):
        pen.line((middle, (middle[0] + foot, 0)), 0.024, mixed(WOOD, INK, 0.4))
    scope.rect(0, -0.025, 0.12, 0.025, STEEL)
    scope.shape(path("0.1 -0.04, 0.52 -0.065, 0.52 0.065, 0.1 0.04"), tube)
    scope.rect(0.50, -0.08, 0.56, 0.08, mixed(tube, STEEL, 0.5))


def microscope(pen: Pen, dice: Dice, figure: Figure) -> None:
    body = dice.pick((WHITE, INK, dice.colour((0.1, 0.6))))
    x, y = figure.by_head(0.10, 0.02)
    base = -0.40
    pen.limb(((x + 0.05, base - 0.02), (x + 0.24, base - 0.02)), 0.04, body)
    pen.limb(
        ((x + 0.22, base - 0.03), (x + 0.25, base - 0.15), (x + 0.16, (y + base) / 2 - 0.05)), 0.035, body
    )
    pen.limb(((x + 0.02, y), (x + 0.12, base - 0.14)), 0.05, mixed(body, STEEL, 0.3))
    pen.line(((x + 0.12, base - 0.14), (x + 0.135, base - 0.09)), 0.03, INK)
    pen.line(((x + 0.06, base - 0.075), (x + 0.20, base - 0.075)), 0.022, INK)


def stove(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, y = 0.42, -0.42
    metal = dice.pick((STEEL, (70, 70, 76), dice.colour()))
    if dice.chance(0.5):
        pen.shape(((x - 0.16, y - 0.06), (x + 0.16, y - 0.06), (x + 0.12, y), (x - 0.12, y)), metal)
        pen.limb((figure.hands[0], (x - 0.15, y - 0.05)), 0.02, INK)
    else:
        pen.rect(x - 0.14, y - 0.15, x + 0.14, y, metal)
        pen.line(((x - 0.18, y - 0.12), (x + 0.18, y - 0.12)), 0.024, INK)
        pen.line((figure.hands[0], (x, y - 0.15)), 0.022, WOOD)
    for step in range(3):
        column = x - 0.08 + 0.08 * step + dice.near(0, 0.02)
        points = [
            (column + 0.025 * math.sin(turn * 1.4 + step), y - 0.20 - 0.045 * turn) for turn in range(6)
        ]
        pen.line(points, 0.022, mixed(WHITE, STEEL, 0.3))
    for flame in (-0.06, 0.0, 0.06):
        pen.shape(
            ((x + flame - 0.02, y + 0.03), (x + flame, y - 0.015), (x + flame + 0.02, y + 0.03)),
            (250, 140, 40),
            0,
        )


def chopping(pen: Pen, dice: Dice, figure: Figure) -> None:
    y = -0.42
    pen.limb(((0.20, y - 0.005), (0.62, y - 0.005)), 0.03, (222, 184, 130))
    for step in range(5):
        colour = dice.pick(((226, 70, 50), (240, 140, 40), (100, 170, 60), (240, 210, 70), (130, 60, 120)))
        pen.disc(0.34 + 0.065 * step, y - 0.04 - dice.unit() * 0.02, dice.between(0.03, 0.05), colour, 0.008)
    x, hand_y = figure.hands[0]
    knife = pen.at(x, hand_y, dice.near(18, 10))
    knife.shape(path("0.02 -0.02, 0.24 -0.02, 0.2 0.04, 0.02 0.04"), mixed(STEEL, WHITE, 0.5))
    knife.limb(((-0.05, 0), (0.03, 0)), 0.026, INK)


def sink(pen: Pen, dice: Dice, figure: Figure) -> None:
    y = -0.40
    pen.shape(
        ((0.14, y), (0.62, y), (0.56, y + 0.16), (0.20, y + 0.16)), mixed(STEEL, WHITE, dice.unit() * 0.7)
    )
    pen.line(((0.54, y), (0.54, y - 0.24), (0.46, y - 0.30), (0.38, y - 0.24)), 0.034, INK)
    pen.line(((0.54, y), (0.54, y - 0.24), (0.46, y - 0.30), (0.38, y - 0.24)), 0.020, STEEL)
    pen.line(((0.38, y - 0.23), (0.38, y)), 0.018, (150, 205, 240))
    for _ in range(7):
        pen.disc(dice.between(0.18, 0.58), y - dice.unit() * 0.04, dice.between(0.02, 0.04), WHITE, 0.004)
    for step in range(dice.pick((0, 2, 4))):
        pen.oval(0.72, y - 0.03 - 0.03 * step, 0.09, 0.016, WHITE)
    x, hand_y = figure.hands[0]
    pen.at(x + 0.06, hand_y - 0.03, dice.near(-40, 20)).oval(
        0, 0, 0.11, 0.075, mixed(WHITE, dice.colour(), 0.2)
    )


def pouring(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, y = figure.hands[0]
    liquid = dice.colour((0.4, 0.95), (0.4, 0.95))
    spout = (x + 0.17, y - 0.01)
    pen.line((spout, (spout[0] + 0.02, spout[1] + 0.03), (spout[0] + 0.02, -0.44)), 0.026, liquid)
    cup(pen, dice, spout[0] + 0.02, -0.47, 0)
    glass = dice.pick(((190, 220, 232), (90, 140, 90), dice.colour()))
    jug = pen.at(x, y, dice.near(100, 8))
    if dice.chance(0.5):
        jug.shape(
            path("-.06 .12, -.06 -.04, -.02 -.1, -.02 -.18, .03 -.18, .03 -.1, .06 -.04, .06 .12"),
            glass,
        )
        jug.rect(-0.06, 0.0, 0.06, 0.07, liquid, 0)
    else:
        jug.ring(0.08, 0.0, 0.06, 0.02, INK)
        jug.shape(path("-0.08 0.11, -0.06 -0.1, -0.09 -0.16, 0.06 -0.13, 0.08 0.11"), glass)


def frisbee(pen: Pen, dice: Dice, figure: Figure) -> None:
    x, y = figure.hands[0]
    if dice.chance(0.5):
        x, y = x + 0.06, y - 0.01
    else:
        x, y = x + dice.between(0.18, 0.40), y - dice.between(0.0, 0.15)
        for step in range(3):
            pen.line(((x - 0.28, y - 0.03 + 0.035 * step), (x - 0.16, y - 0.03 + 0.03 * step)), 0.010, WHITE)
    disc = pen.at(x, y, dice.near(-12, 16))
    colour = dice.colour((0.6, 1), (0.6, 1))
    disc.oval(0, 0, 0.13, 0.045, colour)
    disc.oval(0, -0.008, 0.07, 0.018, mixed(colour, WHITE, 0.4), 0)


def claps(pen: Pen, dice: Dice, figure: Figure) -> None:
    (x, y), (other_x, other_y) = figure.hands
    x, y = (x + other_x) / 2, (y + other_y) / 2
    for turn in (-150, -90, -30) if figure.face != "side" else (-80, -35, 10):
        mark = pen.at(x, y, turn + dice.near(0, 8))
        mark.line(((0.07, 0), (0.13, 0)), 0.016, WHITE)


def waves(pen: Pen, dice: Dice, figure: Figure) -> None:
    for x, y in figure.hands:
        if y < figure.shoulder[1]:
            for turn in (-60, -120) if figure.face != "side" else (-20, 160):
                mark = pen.at(x, y, turn)
                mark.line(path("0.065 -0.03, 0.085 0, 0.065 0.03"), 0.012, WHITE)


def rocks(pen: Pen, dice: Dice, figure: Figure) -> None:
    """The wall that is climbed: a rock face, a climbing wall, or a ladder."""
    kind = dice.pick(("rock", "wall", "ladder"))
    if kind == "ladder":
        wood = mixed(WOOD, dice.colour(), 0.3)
        for x in (0.05, 0.30):
            pen.limb(((x, 0.1), (x + 0.08, -1.4)), 0.034, wood)
        for step in range(10):
            pen.line(
                ((0.05 + 0.008 * step, -0.15 * step), (0.30 + 0.008 * step, -0.15 * step)),
                0.03,
                mixed(wood, INK, 0.3),
            )
        return
    stone = mixed(dice.colour((0.05, 0.4), (0.35, 0.8)), STEEL, 0.3)
    edge = [(0.16 + dice.near(0, 0.05), 0.15 - 0.2 * step) for step in range(9)]
    pen.shape([*edge, (1.6, -1.6), (1.6, 0.15)], stone)
    for _ in range(14):
        spot = (dice.between(0.22, 0.9), dice.between(-1.3, 0.1))
        if kind == "wall":
            pen.disc(*spot, dice.between(0.02, 0.045), dice.colour((0.7, 1), (0.6, 1)))
        else:
            pen.line((spot, (spot[0] + dice.near(0.05, 0.08), spot[1] + 0.08)), 0.014, mixed(stone, INK, 0.4))


def speed(pen: Pen, dice: Dice, figure: Figure) -> None:
    for _ in range(3):
        y = dice.between(-0.75, -0.2)
        pen.line(((-0.46, y), (-0.30 - dice.unit() * 0.05, y)), 0.012, WHITE)


def shadow(pen: Pen, dice: Dice, figure: Figure) -> None:
    pen.oval(figure.hip[0], 0.01, 0.20, 0.025, (70, 70, 70), 0)


# --- scenes -------------------------------------------------------------------------------------------------

INDOORS = ("room", "kitchen", "bathroom", "office")
OUTDOORS = ("street", "field", "forest", "beach", "lake")


def sheet(pen: Pen, top: float, colour: Colour) -> None:
    """Fill the picture from this height of the pen's plane downwards."""
    pen.shape(((-9, top), (9, top), (9, 9), (-9, 9)), colour, 0)


def indoors(pen: Pen, dice: Dice, kind: str) -> None:
    wall = dice.colour((0.05, 0.5), (0.5, 0.98))
    line = dice.between(-0.26, -0.06)
    pen.shape(path("-9 -9, 9 -9, 9 9, -9 9"), wall, 0)
    if kind in ("kitchen", "bathroom") or dice.chance(0.15):
        tile, grout = dice.between(0.12, 0.22), mixed(wall, WHITE if dice.chance(0.5) else INK, 0.25)
        for step in range(-10, 11):
            pen.line(((step * tile, -2), (step * tile, line)), 0.012, grout)
            pen.line(((-3, line - abs(step) * tile), (3, line - abs(step) * tile)), 0.012, grout)
    elif dice.chance(0.4):
        stripe, shade = dice.between(0.1, 0.3), mixed(wall, dice.colour(), 0.2)
        for step in range(-6, 7):
            pen.rect(step * stripe * 2, -3, step * stripe * 2 + stripe, line, shade, 0)
    floor = dice.colour((0.1, 0.6), (0.3, 0.85))
    sheet(pen, line, floor)
    pen.line(((-3, line), (3, line)), 0.03, mixed(wall, INK, 0.4))
    for step in range(1, 4):
        pen.line(
            ((-3, line + 0.06 * step * step), (3, line + 0.06 * step * step)), 0.010, mixed(floor, INK, 0.2)
        )
    for _ in range(dice.pick((1, 2, 3))):
        x, y = dice.near(0, 0.9), dice.between(-0.95, -0.55)
        dice.pick((window, painting, shelf, lamp, clock, potted_plant, cupboard))(pen.at(x, y), dice)


def window(pen: Pen, dice: Dice) -> None:
    pen.rect(-0.2, -0.24, 0.2, 0.18, mixed((170, 214, 240), dice.colour(), 0.3), 0.03)
    pen.line(((0, -0.24), (0, 0.18)), 0.024, WHITE)
    pen.line(((-0.2, -0.03), (0.2, -0.03)), 0.024, WHITE)


def painting(pen: Pen, dice: Dice) -> None:
    pen.rect(-0.16, -0.13, 0.16, 0.13, dice.colour(), 0.03)
    pen.shape(path("-0.13 0.11, -0.02 -0.06, 0.13 0.11"), dice.colour(), 0)
    pen.disc(0.07, -0.06, 0.035, dice.colour(), 0)


def shelf(pen: Pen, dice: Dice) -> None:
    pen.rect(-0.3, 0.0, 0.3, 0.04, mixed(WOOD, dice.colour(), 0.4))
    for step in range(6):
        if dice.chance(0.75):
            pen.rect(
                -0.27 + step * 0.09, -dice.between(0.1, 0.2), -0.20 + step * 0.09, 0.0, dice.colour(), 0.008
            )


def lamp(pen: Pen, dice: Dice) -> None:
    pen.line(((0, -0.6), (0, -0.12)), 0.012, INK)
    pen.shape(path("-0.06 -0.14, 0.06 -0.14, 0.14 0, -0.14 0"), dice.colour())
    pen.disc(0, 0.01, 0.04, (255, 246, 190), 0)


def clock(pen: Pen, dice: Dice) -> None:
    pen.disc(0, 0, 0.11, WHITE, 0.024)
    pen.line(path("0 -0.07, 0 0, 0.05 0.02"), 0.014, INK)


def potted_plant(pen: Pen, dice: Dice) -> None:
    pot = pen.at(0, 0.55)
    for turn in (-60, -30, 0, 30, 60):
        pot.at(0, -0.12, turn).oval(0, -0.12, 0.03, 0.13, mixed((60, 140, 70), dice.colour(), 0.2), 0.008)
    pot.shape(path("-0.09 -0.14, 0.09 -0.14, 0.07 0.04, -0.07 0.04"), dice.colour())


def cupboard(pen: Pen, dice: Dice) -> None:
    wood = dice.colour((0.1, 0.6), (0.4, 0.9))
    pen.rect(-0.2, -0.1, 0.2, 0.6, wood)
    pen.line(((0, -0.1), (0, 0.6)), 0.012, INK)
    for x in (-0.04, 0.04):
        pen.disc(x, 0.25, 0.016, INK, 0)


def outdoors(pen: Pen, dice: Dice, kind: str) -> None:
    sky = mixed(
        dice.pick(((150, 200, 240), (250, 200, 160), (200, 206, 214), (120, 150, 210))), dice.colour(), 0.25
    )
    line = dice.between(-0.5, -0.12)
    bands = 8
    for band in range(bands):
        shade = mixed(sky, WHITE, 0.55 * band / bands)
        pen.shape(
            (
                (-9, -9 if band == 0 else -1.4 + band * 0.16),
                (9, -9 if band == 0 else -1.4 + band * 0.16),
                (9, 9),
                (-9, 9),
            ),
            shade,
            0,
        )
    if dice.chance(0.5):
        pen.disc(dice.near(0, 0.8), dice.between(-1.2, -0.8), dice.between(0.06, 0.12), (255, 236, 150), 0)
    for _ in range(dice.pick((0, 1, 2, 3))):
        x, y = dice.near(0, 1.0), dice.between(-1.25, -0.75)
        for offset in (-0.1, 0.0, 0.1):
            pen.disc(x + offset, y - 0.02 * (offset == 0), dice.between(0.06, 0.09), WHITE, 0)
    if dice.chance(0.5):
        hill = mixed(mixed((90, 130, 110), dice.colour(), 0.3), sky, 0.3)
        for _ in range(3):
            pen.oval(dice.near(0, 1.3), line + 0.02, dice.between(0.4, 0.9), dice.between(0.1, 0.35), hill, 0)
    if kind == "street":
        for step in range(-4, 5):
            if dice.chance(0.6):
                house(pen.at(step * 0.42 + dice.near(0, 0.08), line, 0, dice.between(0.8, 1.3)), dice)
    if kind == "forest" or dice.chance(0.3):
        for _ in range(dice.pick((2, 3, 4, 5)) if kind == "forest" else 1):
            tree(pen, dice, dice.near(0, 1.1), line + 0.04, dice.between(0.5, 1.0))
    ground = {
        "street": (150, 150, 154),
        "field": (126, 176, 86),
        "forest": (112, 140, 80),
        "beach": (232, 208, 158),
        "lake": (96, 152, 196),
    }[kind]
    ground = mixed(ground, dice.colour(), dice.between(0.1, 0.4))
    sheet(pen, line, ground)
    if kind == "beach":
        pen.rect(-9, line, 9, line + 0.12, mixed((90, 160, 200), dice.colour(), 0.2), 0)
    if kind == "street" and dice.chance(0.6):
        pen.shape(
            ((-9, line + 0.16), (9, line + 0.16), (9, line + 0.20), (-9, line + 0.20)),
            mixed(ground, WHITE, 0.6),
            0,
        )
    for _ in range(12):
        x, y = dice.near(0, 1.2), dice.between(line + 0.04, 0.2)
        if kind == "lake":
            pen.line(((x - 0.07, y), (x, y - 0.015), (x + 0.07, y)), 0.012, mixed(ground, WHITE, 0.5))
        elif kind in ("field", "forest"):
            pen.line(((x - 0.02, y - 0.05), (x, y), (x + 0.02, y - 0.05)), 0.012, mixed(ground, INK, 0.25))
        else:
            pen.line(((x, y), (x + 0.04, y)), 0.012, mixed(ground, INK, 0.2))
    if kind != "lake" and dice.chance(0.3):
        for step in range(-8, 9):
            pen.rect(step * 0.16 - 0.02, line - 0.16, step * 0.16 + 0.03, line + 0.06, WHITE, 0.008)
        pen.line(((-2, line - 0.08), (2, line - 0.08)), 0.03, WHITE)


def house(pen: Pen, dice: Dice) -> None:
    wall = dice.colour((0.05, 0.5), (0.5, 0.95))
    tall = dice.between(0.35, 0.8)
    pen.rect(-0.18, -tall, 0.18, 0.05, wall, 0.008)
    pen.shape(
        ((-0.22, -tall), (0.22, -tall), (0, -tall - dice.between(0.02, 0.2))),
        dice.colour((0.3, 0.8), (0.3, 0.8)),
        0.008,
    )
    for row in range(int(tall / 0.2)):
        for x in (-0.10, 0.04):
            pen.rect(
                x, -tall + 0.06 + 0.18 * row, x + 0.07, -tall + 0.16 + 0.18 * row, (200, 224, 236), 0.006
            )


def bank(pen: Pen, dice: Dice) -> None:
    """Firm ground under the figure where the scene is water."""
    soil = dice.pick(((170, 140, 96), (120, 150, 80), (160, 160, 160)))
    if dice.chance(0.5):
        pen.oval(-0.45, 0.12, 0.80, 0.17, mixed(soil, dice.colour(), 0.15), 0.008)
        return
    pen.rect(-3, -0.02, 0.34, 0.05, WOOD)
    for x in (-0.5, -0.1, 0.26):
        pen.rect(x, 0.05, x + 0.06, 0.4, mixed(WOOD, INK, 0.3))


def clutter(pen: Pen, dice: Dice, kind: str) -> None:
    """Things that mean nothing here but are another class's own, small and behind the figure."""
    small = pen.at(
        dice.pick((-1, 1)) * dice.between(0.35, 0.9),
        dice.between(-0.14, -0.02),
        0,
        dice.between(0.45, 0.7),
        dice.chance(0.5),
    )
    nobody = posed(BODIES["stand"], ((0.05, 0.3), (-0.05, 0.3)), "front", dice)
    which = dice.pick(("bystander", "bike", "dog", "bucket", "ball", "horse", "cup", "book", "box"))
    if which == "bystander":
        body = BODIES[dice.pick(("stand", "walk", "stand", "run"))]
        hands = dice.pick(
            (((0.04, 0.31), (-0.04, 0.31)), ((0.16, 0.1), (-0.02, 0.3)), ((0.1, -0.1), (0.0, 0.3)))
        )
        draw_figure(small, posed(body, hands, dice.pick(("side", "front")), dice), dressed(dice))
    elif which == "bike":
        bike(small, dice, nobody)
    elif which == "dog":
        draw_dog(small.at(0, 0, 0, 1.3), dice)
    elif which == "horse" and kind in OUTDOORS:
        draw_horse(small, dice)
    elif which == "bucket":
        bucket(small, dice, 0, 0)
    elif which in ("cup", "book"):
        small.rect(-0.2, -0.3, 0.2, -0.26, WOOD)
        for x in (-0.17, 0.17):
            small.line(((x, -0.26), (x, 0)), 0.03, WOOD)
        cup(small, dice, 0, -0.38, 0) if which == "cup" else open_book(small, dice, 0, -0.36, 0)
    elif which == "ball":
        small.disc(0, -0.1, 0.1, dice.colour())
    else:
        small.rect(-0.16, -0.26, 0.16, 0, mixed(WOOD, dice.colour(), 0.4))


# --- the forty actions --------------------------------------------------------------------------------------

# What must be seen: left, right, top, bottom.
WHOLE: Frame = (-0.40, 0.40, -1.02, 0.04)
UPPER: Frame = (-0.30, 0.42, -1.02, -0.36)
AHEAD: Frame = (-0.30, 0.78, -1.02, 0.04)

FREE = None  # a hand with nothing to do

Hands = tuple[Point, Point | None]


@dataclass(frozen=True)
class Action:
    """What a class looks like.

    Attributes:
        bodies: poses of trunk and legs, one is drawn.
        hands: ways to hold the hands (near, far), offsets from the shoulder; one is drawn.
        behind: things drawn before the figure.
        held: things drawn between trunk and near arm.
        front: things drawn over all.
        scenes: where it is usually seen; now and then it is seen somewhere else.
        frames: what the picture shows, one is drawn.
        faces: which way the figure looks: `side`, `front` or `back`.
    """

    bodies: tuple[str, ...]
    hands: tuple[Hands, ...]
    behind: tuple[Thing, ...] = ()
    held: tuple[Thing, ...] = ()
    front: tuple[Thing, ...] = ()
    scenes: tuple[str, ...] = INDOORS + OUTDOORS
    frames: tuple[Frame, ...] = (WHOLE,)
    faces: tuple[str, ...] = ("side",)


AT_MOUTH: Hands = ((0.14, -0.05), FREE)
AT_WORK: Hands = ((0.20, 0.24), (0.16, 0.26))
ON_STICK: Hands = ((0.20, 0.24), (0.10, 0.06))

ACTIONS: dict[str, Action] = {
    "applauding": Action(
        ("stand", "sit"),
        (((0.20, 0.02), (0.19, 0.06)),),
        front=(claps,),
        frames=(UPPER, WHOLE),
        scenes=("room", "office", "street"),
    ),
    "blowing_bubbles": Action(
        ("stand", "sit"),
        (AT_MOUTH,),
        front=(bubbles,),
        frames=((-0.26, 0.66, -1.02, -0.40),),
        scenes=("field", "beach", "room"),
    ),
    "brushing_teeth": Action(
        ("stand",),
        (((0.20, -0.03), FREE),),
        front=(toothbrush,),
        frames=(UPPER,),
        scenes=("bathroom", "bathroom", "room"),
    ),
    "cleaning_the_floor": Action(
        ("stoop", "walk"),
        (ON_STICK,),
        held=(mop,),
        frames=((-0.42, 0.62, -1.02, 0.06),),
        scenes=("room", "kitchen", "office"),
    ),
    "climbing": Action(
        ("climb",),
        (((0.16, -0.26), (0.17, -0.12)), ((0.17, -0.14), (0.15, -0.28))),
        behind=(rocks,),
        scenes=("field", "forest", "room"),
        frames=((-0.35, 0.5, -1.12, 0.06),),
    ),
    "cooking": Action(
        ("stand",),
        (AT_WORK,),
        behind=(counter,),
        held=(stove,),
        scenes=("kitchen", "kitchen", "field"),
        frames=(AHEAD,),
    ),
    "cutting_trees": Action(
        ("lunge", "stoop", "stand"),
        (((0.22, 0.12), (0.08, 0.24)),),
        behind=(felled_tree,),
        held=(axe,),
        scenes=("forest", "field"),
        frames=((-0.36, 0.78, -1.05, 0.06),),
    ),
    "cutting_vegetables": Action(
        ("stand",),
        (AT_WORK,),
        behind=(worktop,),
        held=(chopping,),
        scenes=("kitchen", "kitchen", "room"),
        frames=(AHEAD,),
    ),
    "drinking": Action(
        ("stand", "sit"),
        (((0.17, -0.06), FREE),),
        front=(cup_at_mouth,),
        frames=(UPPER,),
        scenes=("room", "street", "beach", "kitchen"),
    ),
    "feeding_a_horse": Action(
        ("stand", "walk"),
        (((0.30, 0.06), FREE),),
        behind=(hungry_horse,),
        front=(fodder,),
        scenes=("field", "forest", "street"),
        frames=((-0.28, 1.05, -1.05, 0.05),),
    ),
    "fishing": Action(
        ("stand", "sit"),
        (((0.20, 0.18), (0.12, 0.22)),),
        held=(rod,),
        scenes=("lake", "lake", "beach"),
        frames=((-0.34, 0.80, -1.05, 0.08),),
    ),
    "fixing_a_bike": Action(
        ("squat", "stoop", "sit"),
        (((0.26, 0.16), (0.24, 0.20)),),
        behind=(broken_bike,),
        front=(wrench,),
        scenes=("street", "room", "field"),
        frames=((-0.30, 0.84, -0.95, 0.06),),
    ),
    "fixing_a_car": Action(
        ("bend", "stoop"),
        (((0.18, 0.26), (0.24, 0.20)),),
        behind=(car,),
        front=(wrench,),
        scenes=("street", "field", "room"),
        frames=((-0.36, 1.0, -1.0, 0.06),),
    ),
    "gardening": Action(
        ("squat", "stoop"),
        (((0.20, 0.24), (0.10, 0.08)),),
        behind=(plants,),
        front=(garden_tool,),
        scenes=("field", "forest"),
        frames=((-0.34, 0.74, -1.0, 0.06),),
    ),
    "holding_an_umbrella": Action(
        ("stand", "walk"),
        (((0.14, 0.08), FREE), ((0.12, 0.0), FREE)),
        held=(umbrella,),
        scenes=("street", "field", "beach"),
        frames=((-0.36, 0.50, -1.28, 0.04), (-0.36, 0.50, -1.28, -0.36)),
        faces=("side", "front"),
    ),
    "jumping": Action(
        ("jump",),
        (((0.20, -0.24), (-0.20, -0.24)), ((0.28, -0.08), (-0.28, -0.10)), ((0.24, -0.20), (-0.1, 0.2))),
        behind=(shadow,),
        scenes=(*OUTDOORS, "room"),
        frames=((-0.40, 0.40, -1.30, 0.04),),
        faces=("side", "front"),
    ),
    "looking_through_a_microscope": Action(
        ("stoop",),
        (((0.22, 0.20), (0.20, 0.22)),),
        behind=(table,),
        held=(microscope,),
        scenes=("office", "room"),
        frames=(AHEAD, (-0.26, 0.66, -1.0, -0.26)),
    ),
    "looking_through_a_telescope": Action(
        ("stand", "stoop"),
        (((0.20, -0.08), (0.26, -0.06)),),
        behind=(telescope,),
        scenes=("field", "beach", "room"),
        frames=((-0.30, 0.72, -1.12, 0.04),),
    ),
    "phoning": Action(
        ("stand", "sit", "walk"),
        (((0.09, -0.09), FREE),),
        front=(phone_at_ear,),
        frames=(UPPER, UPPER, WHOLE),
    ),
    "playing_guitar": Action(
        ("stand", "sit"),
        (((0.06, 0.24), (0.30, 0.06)),),
        held=(guitar,),
        scenes=("room", "street", "field"),
        frames=((-0.36, 0.50, -1.02, -0.30), WHOLE),
        faces=("side", "front"),
    ),
    "playing_violin": Action(
        ("stand", "sit"),
        (((0.16, 0.10), (0.32, -0.02)),),
        held=(violin,),
        scenes=("room", "street", "field"),
        frames=((-0.32, 0.50, -1.06, -0.36), WHOLE),
    ),
    "pouring_liquid": Action(
        ("stand",),
        (((0.24, 0.02), FREE),),
        behind=(worktop,),
        held=(pouring,),
        scenes=("kitchen", "room", "office"),
        frames=((-0.28, 0.70, -1.02, -0.26), AHEAD),
    ),
    "pushing_a_cart": Action(
        ("walk", "stoop"),
        (((0.26, 0.17), (0.26, 0.15)),),
        held=(cart,),
        scenes=("street", "room", "office"),
        frames=((-0.36, 0.84, -1.02, 0.06),),
    ),
    "reading": Action(
        ("sit", "stand", "lounge"),
        (((0.21, 0.12), (0.22, 0.10)),),
        held=(book_in_hands,),
        frames=((-0.34, 0.48, -1.0, -0.10), UPPER),
        scenes=("room", "office", "field", "beach"),
    ),
    "riding_a_bike": Action(
        ("cycle",),
        (((0.16, 0.22), (0.18, 0.22)),),
        behind=(bike,),
        scenes=("street", "field", "forest", "beach"),
        frames=((-0.50, 0.54, -1.02, 0.04),),
    ),
    "riding_a_horse": Action(
        ("astride",),
        (((0.22, 0.16), (0.22, 0.18)),),
        behind=(horse,),
        front=(reins,),
        scenes=("field", "forest", "beach", "street"),
        frames=((-0.48, 0.62, -1.10, 0.04),),
    ),
    "rowing_a_boat": Action(
        ("row",),
        (((0.27, 0.10), (0.28, 0.10)), ((0.16, 0.14), (0.18, 0.14))),
        front=(boat,),
        scenes=("lake",),
        frames=((-0.56, 0.70, -0.75, 0.16),),
    ),
    "running": Action(
        ("run",),
        (((0.16, 0.10), (-0.16, 0.16)), ((-0.14, 0.16), (0.18, 0.08))),
        behind=(speed,),
        scenes=OUTDOORS,
        frames=((-0.44, 0.40, -1.0, 0.04),),
    ),
    "shooting_an_arrow": Action(
        ("stand", "lunge"),
        (((0.02, -0.02), (0.33, -0.02)),),
        behind=(target,),
        held=(bow,),
        scenes=("field", "forest", "room"),
        frames=((-0.30, 0.66, -1.05, 0.04), (-0.30, 0.62, -1.08, -0.32)),
    ),
    "smoking": Action(
        ("stand", "sit"),
        (((0.18, 0.0), FREE),),
        front=(cigarette,),
        frames=(UPPER,),
        scenes=("street", "room", "beach", "office"),
    ),
    "taking_photos": Action(
        ("stand", "squat"),
        (((0.16, -0.10), (0.18, -0.09)),),
        front=(camera,),
        frames=(UPPER, (-0.34, 0.44, -1.02, -0.1)),
    ),
    "texting_message": Action(
        ("stand", "sit", "walk"),
        (((0.17, 0.12), (0.18, 0.13)),),
        front=(phone_in_hands,),
        frames=(UPPER, UPPER, WHOLE),
    ),
    "throwing_frisby": Action(
        ("lunge", "run", "walk"),
        (((0.32, -0.06), (-0.18, 0.16)), ((0.30, 0.06), (-0.2, 0.1))),
        held=(frisbee,),
        scenes=("field", "beach", "street"),
        frames=((-0.40, 0.66, -1.02, 0.04),),
    ),
    "using_a_computer": Action(
        ("sit",),
        (((0.22, 0.18), (0.24, 0.17)),),
        behind=(desk, laptop),
        scenes=("office", "office", "room"),
        frames=((-0.34, 0.78, -0.90, 0.04),),
    ),
    "walking_the_dog": Action(
        ("walk", "stand"),
        (((0.16, 0.22), FREE),),
        front=(dog_on_lead,),
        scenes=("street", "field", "forest", "beach"),
        frames=((-0.34, 0.78, -1.02, 0.05),),
    ),
    "washing_dishes": Action(
        ("stand",), (AT_WORK,), behind=(counter, sink), scenes=("kitchen", "kitchen", "room"), frames=(AHEAD,)
    ),
    "watching_TV": Action(
        ("lounge", "sit"),
        (((0.08, 0.22), (0.14, 0.2)), ((0.18, 0.12), FREE)),
        behind=(television,),
        scenes=("room", "room", "office"),
        frames=((-0.38, 0.96, -0.88, 0.04),),
    ),
    "waving_hands": Action(
        ("stand", "walk"),
        (((0.16, -0.26), FREE), ((0.18, -0.26), (-0.18, -0.26))),
        front=(waves,),
        frames=((-0.38, 0.38, -1.14, -0.36), WHOLE),
        faces=("front", "front", "side"),
    ),
    "writing_on_a_board": Action(
        ("stand",),
        (((0.22, -0.12), FREE), ((0.20, -0.02), FREE)),
        behind=(board,),
        front=(chalk,),
        scenes=("office", "room"),
        frames=((-0.32, 0.66, -1.1, -0.3), AHEAD),
        faces=("back", "side"),
    ),
    "writing_on_a_book": Action(
        ("sit",),
        (((0.24, 0.18), (0.16, 0.2)),),
        behind=(desk,),
        held=(book_and_pen,),
        scenes=("office", "room", "kitchen"),
        frames=((-0.34, 0.70, -0.88, 0.0),),
    ),
}


# --- a picture ----------------------------------------------------------------------------------------------


def draw_all(things: tuple[Thing, ...], pen: Pen, dice: Dice, figure: Figure) -> None:
    for thing in things:
        thing(pen, dice, figure)


def draw_figure(pen: Pen, figure: Figure, clothes: Clothes, held: Callable[[], None] | None = None) -> None:
    """The figure from back to front, with what it holds between its trunk and its near arm."""
    draw_arm(pen, figure, clothes, near=False)
    draw_leg(pen, figure, clothes, near=False)
    draw_leg(pen, figure, clothes, near=True)
    draw_trunk(pen, figure, clothes)
    draw_head(pen, figure, clothes)
    if held:
        watching, pen.box.watching = pen.box.watching, False
        held()
        pen.box.watching = watching
    draw_arm(pen, figure, clothes, near=True)


def picture(seed: int, name: str, number: int, size: int) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """One picture: a pure function of its arguments.

    Args:
        seed: the data set's seed.
        name: class name, one of `CLASSES`.
        number: the picture's number within its class, from 1.
        size: its short side in pixels.

    Returns:
        The RGB picture, and the figure's box (xmin, ymin, xmax, ymax) in its pixels,
        0 <= xmin < xmax <= width and 0 <= ymin < ymax <= height.
    """
    dice = Dice("sketch40", seed, name, number)
    action = ACTIONS[name]
    wide, high = dice.pick(SHAPES)
    short = min(wide, high)
    width, height = round(size * wide / short), round(size * high / short)
    large = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    image = Image.new("RGB", large)
    box = Box()
    pen = framed(ImageDraw.Draw(image), dice, dice.pick(action.frames), large, box)

    scene = dice.pick(action.scenes) if dice.chance(0.85) else dice.pick(INDOORS + OUTDOORS)
    (indoors if scene in INDOORS else outdoors)(pen, dice, scene)
    body = BODIES[dice.pick(action.bodies)]
    if scene == "lake" and "row" not in action.bodies:
        bank(pen, dice)
    if dice.chance(0.4):
        clutter(pen, dice, scene)
    # Distance washes colours out, as in a watercolour: what matters stands in front of a pale ground.
    paper = Image.new("RGB", large, dice.colour((0.0, 0.25), (0.8, 1.0)))
    image.paste(Image.blend(image, paper, dice.between(0.6, 0.85)))

    near, far = dice.pick(action.hands)
    resting = dice.pick(((0.03, 0.32), (-0.03, 0.32), (0.02, 0.24), (0.12, 0.22)))
    face = dice.pick(action.faces)
    if face == "front":
        resting = (-0.06, 0.31)
    figure = posed(body, (near, far or resting), face, dice)
    clothes = dressed(dice)
    if body.seat:
        {"chair": chair, "sofa": sofa}[body.seat](pen, dice, figure)
    draw_all(action.behind, pen, dice, figure)
    box.watching = True
    draw_figure(pen, figure, clothes, lambda: draw_all(action.held, pen, dice, figure))
    box.watching = False
    draw_all(action.front, pen, dice, figure)

    image = lit(image.resize((width, height), Image.Resampling.BOX), dice)
    left, top, right, bottom = (edge / SUPERSAMPLING for edge in box.bounds())
    xmin, ymin = min(max(math.floor(left), 0), width - 1), min(max(math.floor(top), 0), height - 1)
    xmax, ymax = max(min(math.ceil(right), width), xmin + 1), max(min(math.ceil(bottom), height), ymin + 1)
    return image, (xmin, ymin, xmax, ymax)


def framed(canvas: ImageDraw.ImageDraw, dice: Dice, frame: Frame, size: tuple[int, int], box: Box) -> Pen:
    """A pen that puts `frame` (left, right, top, bottom) into the picture, mirrored half of the time."""
    left, right, top, bottom = frame
    width, height = size
    scale = min(width / (right - left), height / (bottom - top)) * dice.between(0.94, 1.08)
    mirror = -1 if dice.chance(0.5) else 1
    tilt = math.radians(dice.near(0, 2.5))
    slack_x, slack_y = width - scale * (right - left), height - scale * (bottom - top)
    middle_x = width / 2 + dice.near(0, 0.35) * max(slack_x, width * 0.05)
    middle_y = height / 2 + dice.near(0, 0.35) * max(slack_y, height * 0.05)
    a, b = scale * mirror * math.cos(tilt), -scale * math.sin(tilt)
    d, e = scale * mirror * math.sin(tilt), scale * math.cos(tilt)
    x, y = (left + right) / 2, (top + bottom) / 2
    return Pen(canvas, (a, b, middle_x - a * x - b * y, d, e, middle_y - d * x - e * y), box)


def lit(image: Image.Image, dice: Dice) -> Image.Image:
    """The picture in another light: brightness, contrast and tint, and the grain of paper."""
    light, contrast = dice.between(0.8, 1.1), dice.between(0.85, 1.1)
    tints = [light * dice.near(1, 0.1) for _ in range(3)]
    tables = [
        min(max(round((128 + (value - 128) * contrast) * tint), 0), 255)
        for tint in tints
        for value in range(256)
    ]
    pixels = np.asarray(image.point(tables), dtype=np.int16)
    grain = dice.grain(*pixels.shape[:2]).astype(np.int16) // 24 - 5
    return Image.fromarray(np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8))


# --- the data set -------------------------------------------------------------------------------------------


def draw(
    root: Path, *, seed: int, train_per_class: int, test_per_class: int, size: int, progress: Progress
) -> None:
    """Draw the data set into `root` in Stanford 40's official layout, whole or not at all.

    A class's test pictures have the numbers 1 to `test_per_class` and its training pictures follow, so that
    more training pictures change neither the test pictures nor those already there. An existing `root` is
    replaced.

    Args:
        root: the folder that will hold `JPEGImages`, `ImageSplits` and `XMLAnnotations`.
        seed: draws every picture.
        train_per_class: training pictures a class, at least 1.
        test_per_class: test pictures a class, at least 1.
        size: short side of a picture in pixels.
        progress: told of every picture.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    staging = root.with_name(f".{root.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        _write(staging, seed, train_per_class, test_per_class, size, progress)
        if root.exists():
            aside = root.with_name(f".{root.name}.{uuid.uuid4().hex[:8]}.old")
            root.rename(aside)
            staging.rename(root)
            shutil.rmtree(aside)
        else:
            staging.rename(root)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(folder: Path, seed: int, train: int, test: int, size: int, progress: Progress) -> None:
    images, splits, boxes = (folder / name for name in ("JPEGImages", "ImageSplits", "XMLAnnotations"))
    for made in (images, splits, boxes):
        made.mkdir(parents=True)
    progress.start("drawing sketch40", len(CLASSES) * (train + test), "images")
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for name in CLASSES:
        files = {"test": range(1, test + 1), "train": range(test + 1, test + train + 1)}
        for split, numbers in files.items():
            written = [f"{name}_{number:03d}.jpg" for number in numbers]
            for file, number in zip(written, numbers, strict=True):
                image, box = picture(seed, name, number, size)
                image.save(images / file, quality=92)
                (boxes / file).with_suffix(".xml").write_bytes(
                    _annotation(file, name, image.size, box).encode()
                )
                progress.advance()
            _lines(splits / f"{name}_{split}.txt", written)
            lists[split] += written
    for split, written in lists.items():
        _lines(splits / f"{split}.txt", written)
    # The official list pads its names with tabs to 32 columns.
    header = "action_name\t\t\tnumber_of_images"
    rows = [f"{name}{chr(9) * max(1, 4 - len(name) // 8)}{train + test}" for name in CLASSES]
    _lines(splits / "actions.txt", [header, *rows])
    progress.finish()


def _lines(file: Path, lines: Sequence[str]) -> None:
    file.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


def _annotation(file: str, name: str, size: tuple[int, int], box: tuple[int, int, int, int]) -> str:
    xmin, ymin, xmax, ymax = box
    return f"""<annotation>
  <filename>{file}</filename>
  <folder>Stanford40</folder>
  <object>
    <name>person</name>
    <action>{name}</action>
    <bndbox>
      <xmax>{xmax}</xmax>
      <xmin>{xmin}</xmin>
      <ymax>{ymax}</ymax>
      <ymin>{ymin}</ymin>
    </bndbox>
  </object>
  <size>
    <depth>3</depth>
    <height>{size[1]}</height>
    <width>{size[0]}</width>
  </size>
</annotation>"""
