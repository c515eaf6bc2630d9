"""Furniture and what stands on it: tables and seats, screens and boards, instruments, stove and sink.

Each draws one thing (or one group of things) where the figure's joints say. The figure stands at x = 0.
"""

import math

from stillroom.modalities.images.datasets.sketch40.dice import Dice
from stillroom.modalities.images.datasets.sketch40.figure import Figure
from stillroom.modalities.images.datasets.sketch40.pen import INK, STEEL, WHITE, WOOD, Pen, mixed, path


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
