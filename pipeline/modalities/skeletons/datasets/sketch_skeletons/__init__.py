"""sketch_skeletons: an embedded data set of moving stick figures, doing fourteen actions.

A figure of random proportions does an action in a style of its own, seen by a camera at a place of its own,
and is annotated to within about a pixel. Ways of standing and idle arms are shared between actions, so that
no single joint gives the class away, and actions come in pairs that are alike.

Every clip is a pure function of the data set's seed and the clip's key.

    for clip in clips(seed=0, train_per_class=40, test_per_class=20):
        clip.key, clip.split, clip.label, clip.array, clip.size

From the ground up: `dice`, `figure`, `actions`, and here clips and data set.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stillroom.draw import uniforms
from stillroom.errors import ParamsError
from stillroom.modalities.skeletons import settings
from stillroom.modalities.skeletons.datasets.sketch_skeletons.actions import ACTIONS
from stillroom.modalities.skeletons.datasets.sketch_skeletons.dice import Dice
from stillroom.modalities.skeletons.datasets.sketch_skeletons.figure import drawn, joints, seen
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.preparation.clips import Account, Clips, Content, Entry
from stillroom.params import Count
from stillroom.progress import Progress

CLASSES = tuple(ACTIONS)
LAYOUT = LAYOUTS["penn13"]
DIMS = 2
SIZE = (320, 240)  # of the picture in pixels
FRAMES = (24, 60)  # the fewest and the most of a clip
ERROR = 1.0  # standard deviation of what annotators place amiss, in pixels
MISSING = 0.1  # share of clips in which one or two joints are nowhere to be seen
# Coordinates are multiples of it: sines differ between machines in their last bits, which this rounds away
GRID = 1 / 16


class Data(settings.Data):
    """`data`: how many clips are drawn."""

    train_per_class: Count = 40
    test_per_class: Count = 20


class Clip(NamedTuple):
    """One clip.

    Attributes:
        key: its name, as `walk_007`.
        split: `train` or `test`.
        label: index into `CLASSES`.
        array: float32 [T, 1, 13, 3]: x and y in pixels, y downwards, and a score of 1; a joint that is not
            seen has NaN, NaN and 0.
        size: (width, height) of the picture in pixels.
    """

    key: str
    split: str
    label: int
    array: np.ndarray
    size: tuple[int, int]


def load(data: Data, progress: Progress, account: Account) -> Clips:
    """The data set; see `datasets.load`. Nothing is read: clips are drawn one at a time.

    Raises:
        ParamsError: there is a `data.path`.
    """
    if data.path is not None:
        raise ParamsError(
            f"data.path = {data.path!r}, but data.name = 'sketch_skeletons' is drawn and reads no folder",
            fix="remove data.path, or set data.name to another data set",
        )
    named = keys(data.train_per_class, data.test_per_class)
    return Clips(
        "sketch_skeletons",
        CLASSES,
        [Entry(key, key, split, label) for key, split, label in named],
        lambda entry: Content(drawn_clip(data.seed, entry.key), SIZE),
        LAYOUT,
        DIMS,
        Path("sketch_skeletons"),
    )


def clips(seed: int, train_per_class: int, test_per_class: int) -> Iterator[Clip]:
    """The data set.

    Args:
        seed: in [0, 2^63), draws every clip.
        train_per_class, test_per_class: clips a class, at least 1.
    """
    for key, split, label in keys(train_per_class, test_per_class):
        yield Clip(key, split, label, drawn_clip(seed, key), SIZE)


def keys(train_per_class: int, test_per_class: int) -> Iterator[tuple[str, str, int]]:
    """The key, split and label of each clip.

    A class's test clips have the numbers 1 to `test_per_class` and its training clips follow, so that more
    training clips change neither the test clips nor those already there.
    """
    for label, name in enumerate(CLASSES):
        for number in range(1, test_per_class + train_per_class + 1):
            yield f"{name}_{number:03d}", "test" if number <= test_per_class else "train", label


def drawn_clip(seed: int, key: str) -> np.ndarray:
    """One clip: a pure function of its arguments.

    Args:
        seed: the data set's, in [0, 2^63).
        key: one of `CLASSES` and a number, as `walk_007`.

    Returns:
        As in `Clip`.
    """
    dice = Dice(seed, key)
    frames = dice.pick(range(FRAMES[0], FRAMES[1] + 1))
    time = np.linspace(0.0, 1.0, frames)
    body = drawn(dice)
    points = joints(body, ACTIONS[key.rpartition("_")[0]](dice, time))
    placed = filmed(dice, points, time) + ERROR * normal(seed, key, points.shape[:2])
    array = np.ones((frames, 1, len(LAYOUT.joints), DIMS + 1), np.float32)
    array[:, 0, :, :DIMS] = np.round(placed / GRID) * GRID
    array[:, :, unseen(seed, key)] = (np.nan, np.nan, 0.0)
    return array


def filmed(dice: Dice, points: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Points [T, J, 3] in heights to pixels [T, J, 2]: a camera's place, height, distance and drift."""
    facing = dice.pick((0.0, 180.0, 90.0, 90.0))
    heading = facing + dice.near(0, 38) + dice.near(0, 8) * time
    flat = seen(points, heading, dice.between(-4, 16))
    tilt = np.radians(dice.near(0, 4))
    flat = flat @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    zoom = dice.between(95, 165) * (1 + dice.near(0, 0.1) * (time - 0.5))
    pixels = flat * zoom[:, None, None]
    drift = np.array([dice.near(0, 25), dice.near(0, 8)])
    pixels = pixels + drift * (time - 0.5)[:, None, None]
    low, high = pixels.min(axis=(0, 1)), pixels.max(axis=(0, 1))
    # a figure that fills more than the picture is farther away
    pixels = (pixels - low) * min(1.0, *(0.96 * np.array(SIZE) / (high - low)))
    free = np.array(SIZE) - pixels.max(axis=(0, 1))
    return np.asarray(pixels + free * [dice.between(0.1, 0.9), dice.between(0.2, 0.9)])


def normal(seed: int, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Nearly normal numbers, [*shape, 2]: sums of three uniform ones."""
    count = 2 * int(np.prod(shape))
    return np.asarray(2 * uniforms(seed, key, 1, 3 * count).reshape(3, *shape, 2).sum(axis=0) - 3)


def unseen(seed: int, key: str) -> list[int]:
    """The joints that are missing from a clip, whatever its class: none, one or two."""
    some, two, first, second = uniforms(seed, key, 2, 4).tolist()
    if some >= MISSING:
        return []
    count = len(LAYOUT.joints)
    one = int(first * count)
    return [one, (one + 1 + int(second * (count - 1))) % count] if two < 0.5 else [one]
