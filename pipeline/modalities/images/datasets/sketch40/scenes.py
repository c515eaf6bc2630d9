"""The scenes behind the figure, indoors and outdoors, and the clutter that gives no class away."""

from stillroom.modalities.images.datasets.sketch40.dice import Colour, Dice
from stillroom.modalities.images.datasets.sketch40.figure import BODIES, draw_figure, dressed, posed
from stillroom.modalities.images.datasets.sketch40.pen import INK, WHITE, WOOD, Pen, mixed, path
from stillroom.modalities.images.datasets.sketch40.things_in_hand import cup, open_book
from stillroom.modalities.images.datasets.sketch40.things_moving import bike, draw_dog, draw_horse
from stillroom.modalities.images.datasets.sketch40.things_outdoors import bucket, tree

INDOORS = ("room", "kitchen", "bathroom", "office")
OUTDOORS = ("street", "field", "forest", "beach", "lake")


def sheet(pen: Pen, top: float, colour: Colour) -> None:
    """Fill the picture from this height of the pen's plane downwards."""
    pen.shape(((-9, top), (9, top), (9, 9), (-9, 9)), colour, 0)


def indoors(pen: Pen, dice: Dice, kind: str) -> None:
    wall = dice.colour((0.05, 0.5), (0.5, 0.98))
    line = dice.between(-0.26, -0.06)
    sheet(pen, -9, wall)
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
        sheet(pen, -9 if band == 0 else -1.4 + band * 0.16, shade)
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
        pen.rect(-9, line + 0.16, 9, line + 0.20, mixed(ground, WHITE, 0.6), 0)
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
