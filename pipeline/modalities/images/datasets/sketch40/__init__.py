"""sketch40: an embedded data set of drawn people doing the forty actions of Stanford 40, in its layout.

A picture is a jointed figure in a pose, with a thing, in a scene. Poses, things and scenes are shared between
classes (riding and fixing a bike, riding and feeding a horse, phoning and texting), and colours, scale,
place, mirroring and clutter are drawn for every picture, so that no single one of them gives the class away.

Every picture is a pure function of (seed, class, number, size): a counter-based generator gives raw bits and
the code here turns them into numbers. The bytes of the JPEG files depend on Pillow and its libjpeg besides.

    draw(Path("sketch40"), seed=0, train_per_class=15, test_per_class=10, size=96, progress=Progress())

From the ground up: `dice`, `pen`, `figure`, `things_*`, `scenes`, `actions`, and here picture and data set.
"""

import math
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from stillroom.errors import ParamsError
from stillroom.files import swap
from stillroom.modalities.images.datasets.sketch40.actions import ACTIONS, Frame, Thing
from stillroom.modalities.images.datasets.sketch40.dice import Dice
from stillroom.modalities.images.datasets.sketch40.figure import BODIES, Figure, draw_figure, dressed, posed
from stillroom.modalities.images.datasets.sketch40.pen import Box, Pen
from stillroom.modalities.images.datasets.sketch40.scenes import (
    INDOORS,
    OUTDOORS,
    bank,
    clutter,
    indoors,
    outdoors,
)
from stillroom.modalities.images.datasets.sketch40.things_indoors import chair, sofa
from stillroom.modalities.images.datasets.stanford40 import CLASSES, read
from stillroom.modalities.images.preparation.scan import Account
from stillroom.modalities.images.settings import Data
from stillroom.modalities.remembered import Memory
from stillroom.progress import Progress
from stillroom.samples import Samples

# Width to height of the pictures, as mixed as photographs are.
SHAPES = ((1, 1), (4, 3), (3, 4), (5, 4), (4, 5))
SUPERSAMPLING = 2  # drawn this much larger, then reduced: Pillow's lines have no smooth edges of their own


def draw_all(things: tuple[Thing, ...], pen: Pen, dice: Dice, figure: Figure) -> None:
    """Draw things one over the other, the first lowest."""
    for thing in things:
        thing(pen, dice, figure)


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


def load(data: Data, folder: Path, progress: Progress, account: Account) -> Samples:
    """The data set, drawn into `folder/sketch40`; see `datasets.load`.

    Raises:
        ParamsError: there is a `data.path`.
    """
    if data.path is not None:
        raise ParamsError(
            f"data.path = {data.path!r}, but data.name = 'sketch40' is drawn and reads no folder",
            fix="remove data.path, or set data.name to stanford40 or folder",
        )
    root = folder / "sketch40"
    draw(
        root,
        seed=data.seed,
        train_per_class=data.train_per_class,
        test_per_class=data.test_per_class,
        size=data.image_size,
        progress=progress,
    )
    account.memory = Memory(None)  # they are new each time
    return read(root, official=False, progress=progress, dataset="sketch40", account=account)


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
        progress: gets a step per picture.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    beside = f".{root.name}.{uuid.uuid4().hex[:8]}"
    staging, aside = root.with_name(f"{beside}.tmp"), root.with_name(f"{beside}.old")
    try:
        _write(staging, seed, train_per_class, test_per_class, size, progress)
        swap(staging, root, aside, lambda: None)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


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
