"""What is held in the hand or brought to the face, and what hands do: phones, books, cups, music, clapping.

Each draws one thing (or one group of things) where the figure's joints say. The figure stands at x = 0.
"""

import math

from stillroom.modalities.images.datasets.sketch40.dice import Dice
from stillroom.modalities.images.datasets.sketch40.figure import Figure
from stillroom.modalities.images.datasets.sketch40.pen import INK, STEEL, WHITE, WOOD, Pen, Point, mixed, path


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
