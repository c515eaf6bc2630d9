"""Tools on a stick (a mop too), garden, trees, fishing rod, bow and target, and the wall that is climbed.

Each draws one thing (or one group of things) where the figure's joints say. The figure stands at x = 0.
"""

import math

from stillroom.modalities.images.datasets.sketch40.dice import Dice
from stillroom.modalities.images.datasets.sketch40.figure import Figure
from stillroom.modalities.images.datasets.sketch40.pen import INK, STEEL, WHITE, WOOD, Pen, mixed, path


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
