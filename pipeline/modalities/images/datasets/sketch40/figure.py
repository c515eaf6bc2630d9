"""The figure: the poses of its trunk and legs, its joints, its clothes, and how it is drawn."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from stillroom.modalities.images.datasets.sketch40.dice import Colour, Dice
from stillroom.modalities.images.datasets.sketch40.pen import INK, Pen, Point, mixed

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
