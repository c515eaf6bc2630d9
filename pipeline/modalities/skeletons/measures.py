"""What is measured of joints: whether they are there, how large a body is, who moves most."""

import numpy as np


def present(joints: np.ndarray) -> np.ndarray:
    """Which joints are there: their score is above 0, and they have coordinates.

    Args:
        joints: float32 [..., D + 1], coordinates and score.

    Returns:
        bool [...].
    """
    found = joints[..., -1] > 0
    for axis in range(joints.shape[-1] - 1):  # faster than all() over an axis of two or three
        found &= np.isfinite(joints[..., axis])
    return found


def spread(points: np.ndarray, there: np.ndarray) -> float:
    """How large a body is: the root mean square distance of its joints from the middle of those of the same
    person and frame. It does not ask for any one joint, and knows nothing of where anybody stands.

    Args:
        points: float32 [..., J, D], 0 where no joint is.
        there: bool [..., J].

    Returns:
        In the units of the points; 0 where no frame has two joints.
    """
    count = there.sum(axis=-1)
    total = count.sum()
    if not total:
        return 0.0
    middle = points.sum(axis=-2) / np.maximum(count, 1)[..., None].astype(np.float32)
    away = (points - middle[..., None, :])[there]
    return float(np.sqrt(np.square(away).sum(dtype=np.float64) / total))


def by_motion(clip: np.ndarray) -> np.ndarray:
    """The persons of a clip, those first that move most: the sum over joints and axes of the standard
    deviation over the frames in which the joint is there. Of two that move alike the first stays first; who
    is in no frame comes last.

    Args:
        clip: float32 [T, M, J, D + 1].

    Returns:
        int [M].
    """
    there = present(clip)
    points = np.where(there[..., None], clip[..., :-1], np.float32(0)).astype(np.float64)
    count = np.maximum(there.sum(axis=0), 1)[..., None]
    away = np.where(there[..., None], points - points.sum(axis=0) / count, 0)
    deviation = np.sqrt(np.square(away).sum(axis=0) / count)
    motion = np.where(there.any(axis=(0, 2)), deviation.sum(axis=(1, 2)), -1)
    return np.argsort(-motion, kind="stable")
