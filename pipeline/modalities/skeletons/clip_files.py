"""One clip in a file of its own, in any of the formats that data sets come in."""

from pathlib import Path
from typing import Any

import numpy as np

from stillroom.files import read_small
from stillroom.modalities.skeletons.arrays import MOST_BYTES, as_clip, read_npy, sound
from stillroom.modalities.skeletons.datasets import kinetics_skeleton, ntu, penn_action
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.preparation.clips import Content
from stillroom.modalities.skeletons.preparation.files import MOST_JSON, parse_json

SUFFIXES = (".npy", ".json", ".skeleton", ".mat")


def read_clip(file: Path, layout: Layout, dims: int) -> np.ndarray:
    """The joints of a clip's file; see `read_content`.

    Returns:
        float32 [T, M, J, dims + 1], as `arrays.sound` gives it.

    Raises:
        OSError, ValueError: see `read_content`.
    """
    return sound(read_content(file, layout, dims).joints, layout, dims)


def read_content(file: Path, layout: Layout, dims: int) -> Content:
    """What is in a clip's file.

    `.npy`: an array as `arrays.as_clip` takes it. `.json`: of Kinetics-skeleton, or an object with
    `keypoints`, as `from_json` takes it. `.skeleton`: of NTU RGB+D. `.mat`: of Penn Action.

    Args:
        file: known by its suffix, in any case.
        layout: of the joints that are wanted.
        dims: 2 or 3, which are wanted.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none of these, damaged, or of another layout; says why.
    """
    suffix = file.suffix.lower()
    if suffix == ".npy":
        return Content(as_clip(read_npy(read_small(file, MOST_BYTES)), layout, dims))
    if suffix == ".json":
        tree = parse_json(read_small(file, MOST_JSON))
        if isinstance(tree, dict) and "keypoints" in tree:
            return from_json(tree, layout, dims)
        _require(kinetics_skeleton.LAYOUT, kinetics_skeleton.DIMS, layout, dims, "Kinetics-skeleton")
        return kinetics_skeleton.parse(tree)
    if suffix == ".skeleton":
        _require(ntu.LAYOUT, ntu.DIMS, layout, dims, "NTU RGB+D")
        return ntu.parse(read_small(file, ntu.MOST_BYTES))
    if suffix == ".mat":
        _require(penn_action.LAYOUT, penn_action.DIMS, layout, dims, "Penn Action")
        return penn_action.parse(read_small(file, penn_action.MOST_BYTES))
    raise ValueError(f"no file of joints: its name ends in none of {', '.join(SUFFIXES)}")


def from_json(described: dict[str, Any], layout: Layout, dims: int) -> Content:
    """What is in an object of JSON: `keypoints`, lists in lists as `arrays.as_clip` takes them, null where a
    number is not there; perhaps `scores` and `size`, [width, height] in pixels.

    Raises:
        ValueError: they are not; says why.
    """
    joints = _numbers(described.get("keypoints"), "keypoints")
    scores = described.get("scores")
    clip = as_clip(joints, layout, dims, None if scores is None else _numbers(scores, "scores"))
    return Content(clip, size_of(described.get("size")))


def size_of(size: Any) -> tuple[int, int]:
    """(width, height) in pixels as a file has it; (0, 0) where it has none.

    Raises:
        ValueError: it is something else.
    """
    if size is None:
        return 0, 0
    sides = list(size) if isinstance(size, list | tuple | np.ndarray) else []
    if len(sides) != 2 or not all(_is_side(side) for side in sides):
        raise ValueError(f"the size is {size!r:.80}, expected width and height in pixels")
    return int(sides[0]), int(sides[1])


def _is_side(side: Any) -> bool:
    number = isinstance(side, int | float | np.number) and not isinstance(side, bool)
    return number and bool(0 <= side < 2**24)


def _numbers(lists: Any, what: str) -> np.ndarray:
    try:
        return np.array(lists, np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise ValueError(f"`{what}` is no list of lists of numbers, all of one length") from None


def _require(here: Layout, dims_here: int, wanted: Layout, dims: int, what: str) -> None:
    if here.joints != wanted.joints or dims_here != dims:
        raise ValueError(
            f"a clip of {what} has {len(here.joints)} joints ({here.name}) in {dims_here} dimensions, and "
            f"{len(wanted.joints)} ({wanted.name}) in {dims} are wanted (data.layout, data.dims)"
        )
