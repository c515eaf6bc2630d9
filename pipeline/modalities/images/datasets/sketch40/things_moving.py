"""What moves, and the signs of it: bikes, horses, dogs, a car, a cart, a boat, lines of speed, a shadow.

Each draws one thing (or one group of things) where the figure's joints say. The figure stands at x = 0.
"""

import math

from stillroom.modalities.images.datasets.sketch40.dice import Colour, Dice
from stillroom.modalities.images.datasets.sketch40.figure import Figure
from stillroom.modalities.images.datasets.sketch40.pen import INK, STEEL, WHITE, WOOD, Pen, mixed, path


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


def speed(pen: Pen, dice: Dice, figure: Figure) -> None:
    for _ in range(3):
        y = dice.between(-0.75, -0.2)
        pen.line(((-0.46, y), (-0.30 - dice.unit() * 0.05, y)), 0.012, WHITE)


def shadow(pen: Pen, dice: Dice, figure: Figure) -> None:
    pen.oval(figure.hip[0], 0.01, 0.20, 0.025, (70, 70, 70), 0)
