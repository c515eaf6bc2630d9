"""Arrays of joints, as files have them, to clips: float32 [frames, persons, joints, dims + 1]."""

import io
import math
from typing import BinaryIO

import numpy as np

from stillroom.modalities.skeletons.layouts import Layout

MOST_BYTES = 2**30  # of one clip: 20 minutes of five bodies have under 40 MB
LARGEST = 1e9  # of a coordinate: squares and sums of such are float32 still
MOST_FRAMES = 200_000  # an hour at 50 a second


def empty(frames: int, persons: int, joints: int, dims: int) -> np.ndarray:
    """A clip in which no joint was found.

    Raises:
        ValueError: it would be too large.
    """
    if frames > MOST_FRAMES or 4 * frames * persons * joints * (dims + 1) > MOST_BYTES:
        raise ValueError(f"{frames:,} frames of {persons:,} bodies are more than a clip can have")
    clip = np.full((frames, persons, joints, dims + 1), np.nan, np.float32)
    clip[..., -1] = 0
    return clip


def as_clip(joints: np.ndarray, layout: Layout, dims: int, scores: np.ndarray | None = None) -> np.ndarray:
    """A clip from somebody's array.

    A joint with a coordinate that is NaN, or a score of 0, is not there. Where nobody says how sure the
    joints are, one at exactly 0 is not there either, as most programs write it, and the score of others is 1.

    Args:
        joints: [frames, persons, joints, D], or without persons, or without both; numbers. D is dims, or
            dims + 1 with the score last.
        layout: of the joints.
        dims: 2 or 3.
        scores: the same shape without its last axis; None: there are none beside `joints`.

    Returns:
        float32 [frames, persons, joints, dims + 1], as `sound` gives it.

    Raises:
        ValueError: it is none of these; says why.
    """
    if joints.dtype.kind not in "fiu":
        raise ValueError(f"the joints are {joints.dtype}, expected numbers")
    last = (dims,) if scores is not None else (dims, dims + 1)
    if not 2 <= joints.ndim <= 4 or joints.shape[-1] not in last:
        raise ValueError(
            f"the joints have the shape {list(joints.shape)}, expected [frames, persons, joints, "
            f"{' or '.join(map(str, last))}], without persons where there is one, without both for a picture"
        )
    if scores is not None:
        if scores.dtype.kind not in "fiu" or scores.shape != joints.shape[:-1]:
            raise ValueError(
                f"the scores are {scores.dtype} {list(scores.shape)}, expected numbers "
                f"{list(joints.shape[:-1])}"
            )
        given = np.concatenate([joints.astype(np.float64), scores.astype(np.float64)[..., None]], axis=-1)
    elif joints.shape[-1] == dims:
        there = (joints != 0).any(axis=-1, keepdims=True)
        given = np.concatenate([joints.astype(np.float64), there.astype(np.float64)], axis=-1)
    else:
        given = joints.astype(np.float64)
    if given.ndim == 2:
        given = given[None]
    return sound(given if given.ndim == 4 else given[:, None], layout, dims)


def sound(clip: np.ndarray, layout: Layout, dims: int) -> np.ndarray:
    """A clip that later stages can take: what is not there has NaN for all its coordinates, and score 0.

    Args:
        clip: float [T, M, J, dims + 1]; NaN or score 0: the joint is not there.
        layout: of the joints.
        dims: 2 or 3.

    Returns:
        float32 of the same shape, little-endian, C order.

    Raises:
        ValueError: another number of joints or dimensions, no frame, nobody in it, a number that is infinite
            or too large, or a score below 0.
    """
    frames, persons, joints, channels = clip.shape
    if joints != len(layout.joints):
        raise ValueError(f"{joints} joints, and the layout {layout.name} has {len(layout.joints)}")
    if channels != dims + 1:
        raise ValueError(f"{channels - 1} coordinates a joint, expected {dims}")
    if not frames:
        raise ValueError("no frame")
    if not persons:
        raise ValueError("nobody is in it")
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(clip, "<f4").copy()
    if (np.abs(made) > LARGEST).any():  # infinite, too
        raise ValueError("a number is infinite, or too large")
    score = made[..., -1]
    if (score < 0).any():
        raise ValueError(
            "a score is below 0; it is the number after the coordinates: data.dims says how many these are"
        )
    absent = np.isnan(made).any(axis=-1) | (score == 0)
    if absent.all():
        raise ValueError("nobody is in it: no joint of any frame was found")
    made[absent] = np.nan
    made[absent, -1] = 0
    return made


def npy_header(file: BinaryIO, available: int | None) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of what follows in an `.npy` file, in C order.

    Args:
        file: at its beginning; left behind the header.
        available: bytes of the file; None: not known.

    Raises:
        ValueError: it is no such file, holds Python objects, or is shorter than its header says.
    """
    try:
        version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
        if version == (1, 0):
            found = np.lib.format.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
        else:
            found = np.lib.format.read_array_header_2_0(file)  # type: ignore[no-untyped-call]
        shape, fortran, dtype = found
    except Exception as error:  # its header is Python, which can be wrong in many ways
        raise ValueError(f"no sound .npy file, perhaps truncated ({error})"[:200]) from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects (pickles), expected numbers or text")
    if fortran and len(shape) > 1:
        raise ValueError("its array is in Fortran order; save np.ascontiguousarray of it")
    needed = math.prod(shape) * dtype.itemsize
    if available is not None and needed > available - file.tell():
        raise ValueError(f"truncated: its header promises {needed:,} bytes, it has {available:,}")
    return shape, dtype


def read_npy(content: bytes) -> np.ndarray:
    """The array of an `.npy` file. Nothing is unpickled.

    Raises:
        ValueError: see `npy_header`.
    """
    stream = io.BytesIO(content)
    shape, dtype = npy_header(stream, len(content))
    return np.frombuffer(content, dtype, math.prod(shape), stream.tell()).reshape(shape)
