"""A clip + parameters -> the skeletons that a model sees, as float32; equal parameters give equal bytes."""

import json
import math
from functools import lru_cache
from typing import Any

import numpy as np

from stillroom.modalities import base
from stillroom.modalities.base import Spec
from stillroom.modalities.skeletons.fields import View
from stillroom.modalities.skeletons.layouts import LAYOUTS, Layout, read
from stillroom.modalities.skeletons.measures import by_motion, present, spread

LEAST_SCORE = 1e-3  # of a joint that is there: above 0, which marks those that are not


def render(
    clip: np.ndarray, view: View, spec: Spec, worse: tuple[base.Corruption, Any] | None = None
) -> np.ndarray:
    """Choose the persons, crop, resample, mirror, rotate, shear, make worse, normalise and scale, in this
    order.

    The middle of all joints that are there comes to 0, and the size of the bodies (`measures.spread`) to the
    view's scale. What is made worse is normalised by what is left of it: a joint that was lost leaves no
    trace. Who is looked at is decided before, by the whole clip: it is the same for all its views.

    Args:
        clip: float32 [T0, M0, J, D + 1], coordinates and score; not there: NaN, or a score of 0.
        view: its parameters.
        spec: `frames` T, `persons` M, `dims` D, and `layout`: a name, or what `Layout.describe` gives.
        worse: a corruption and what it drew.

    Returns:
        float32 [M, T, J, D + 1]; a joint, or a person, that is not there is all zero. The score of one that
        is there is above 0.

    Raises:
        ValueError: the clip is empty, or has other joints or axes.
    """
    layout = layout_of(spec)
    if clip.ndim != 4 or not clip.size:
        raise ValueError(f"a clip of shape {list(clip.shape)}: expected [frames, persons, joints, axes + 1]")
    if clip.shape[2:] != (len(layout.joints), spec["dims"] + 1):
        raise ValueError(
            f"a clip of {clip.shape[2]} joints in {clip.shape[3] - 1} dimensions: expected "
            f"{len(layout.joints)} ({layout.name}) in {spec['dims']}"
        )
    content = _moved(_resampled(clip, view, spec["frames"], spec["persons"]), view, layout)
    if worse is not None:
        corruption: Any = worse[0]  # one of skeletons, which takes their layout too
        content = corruption.apply(content, worse[1], layout)
    return _normalised(content, view.scale)


def layout_of(spec: Spec) -> Layout:
    """The joint layout of a spec.

    Raises:
        ParamsError: it names none that is known, or describes none.
    """
    named = spec["layout"]
    if isinstance(named, str) and named in LAYOUTS:
        return LAYOUTS[named]
    return _read(json.dumps(named))


@lru_cache(64)  # views are many, layouts few
def _read(text: str) -> Layout:
    return read(json.loads(text), "layout")


def positions(frames: int, view: View, count: int) -> np.ndarray:
    """Where in a clip a view looks: float64 [count], in frames, evenly from its first to its last; the middle
    where it looks once. All frames of a clip, asked for as many, are whole numbers exactly.
    """
    last = frames - 1
    if count == 1:
        return np.array([(view.start + view.length / 2) * last])
    found = view.start * last + view.length * last * np.arange(count) / (count - 1)
    return np.minimum(found, last)


def _resampled(clip: np.ndarray, view: View, frames: int, persons: int) -> np.ndarray:
    """[M, T, J, D + 1], interpolated between two neighbouring frames each; a joint that is in one of them
    alone is taken from it.
    """
    places = positions(len(clip), view, frames)
    first = places.astype(np.int64)
    second = np.ceil(places).astype(np.int64)
    chosen = by_motion(clip)[:persons] if clip.shape[1] > 1 else np.zeros(1, np.int64)
    before = clip[first[None], chosen[:, None]]
    after = clip[second[None], chosen[:, None]]
    here, there = present(before), present(after)
    share = (places - first).astype(np.float32)[:, None, None]
    with np.errstate(all="ignore"):  # whatever stands where no joint is
        between = before + (after - before) * share
    if not (here & there).all():
        between = np.where((here & there)[..., None], between, np.where(here[..., None], before, after))
        between[~(here | there)] = _absent(clip.shape[-1])
    if len(chosen) == persons:
        return np.asarray(between)
    content = np.empty((persons, *between.shape[1:]), np.float32)
    content[: len(chosen)] = between
    content[len(chosen) :] = _absent(clip.shape[-1])
    return content


def _absent(channels: int) -> np.ndarray:
    """What stands for a joint that is not there: no coordinates, and a score of 0."""
    joint = np.full(channels, np.nan, np.float32)
    joint[-1] = 0
    return joint


def _moved(content: np.ndarray, view: View, layout: Layout) -> np.ndarray:
    """Mirrored, then turned about x, y and z, then sheared, about the origin: normalisation centres after."""
    dims = content.shape[-1] - 1
    if view.mirror:
        content = content[:, :, layout.mirrored()]  # a copy
        content[..., 0] *= -1
    matrix = _matrix(view, dims)
    if matrix is None:
        return content
    moved = content.copy()
    for axis, row in enumerate(matrix):
        # explicit sums: a BLAS of another machine would add in another order
        value = content[..., 0] * np.float32(row[0])
        for other in range(1, dims):
            value += content[..., other] * np.float32(row[other])
        moved[..., axis] = value
    return moved


def _matrix(view: View, dims: int) -> list[list[float]] | None:
    """Rotation and shear, a row for each axis; None: neither."""
    matrix = [[float(i == j) for j in range(dims)] for i in range(dims)]
    turns = ((1, 2), (2, 0), (0, 1)) if dims == 3 else (None, None, (0, 1))
    for angle, plane in zip(view.angle, turns, strict=True):
        if plane is not None and angle:
            (i, j), cos, sin = plane, math.cos(angle), math.sin(angle)
            matrix[i], matrix[j] = (
                [cos * a - sin * b for a, b in zip(matrix[i], matrix[j], strict=True)],
                [sin * a + cos * b for a, b in zip(matrix[i], matrix[j], strict=True)],
            )
    across, down = view.shear
    if across or down:
        x, y = matrix[:2]
        matrix[0] = [a + across * b for a, b in zip(x, y, strict=True)]
        matrix[1] = [b + down * a for a, b in zip(x, y, strict=True)]
    elif not any(view.angle if dims == 3 else view.angle[2:]):
        return None
    return matrix


def _normalised(content: np.ndarray, scale: float) -> np.ndarray:
    there = present(content)
    seen = there[..., None]
    points = np.where(seen, content[..., :-1], np.float32(0))
    result = np.zeros(content.shape, np.float32)
    count = int(there.sum())
    if not count:
        return result
    centre = (points.sum(axis=(0, 1, 2), dtype=np.float64) / count).astype(np.float32)
    away = np.where(seen, points - centre, np.float32(0))
    # one joint a frame has no size of its own: then how far it moves, and 1 where it does not
    size = spread(points, there) or math.sqrt(float(np.square(away).sum(dtype=np.float64)) / count) or 1.0
    result[..., :-1] = away * np.float32(scale / size)
    result[..., -1] = np.where(there, np.maximum(content[..., -1], np.float32(LEAST_SCORE)), np.float32(0))
    return result
