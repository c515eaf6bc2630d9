"""A jointed figure in three dimensions: from a pose in each frame to thirteen points in each frame.

In its own frame x is forward, y to its left, z up, and lengths are in heights of a body. Left comes before
right. The order of joints is that of the layout `penn13`.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stillroom.modalities.skeletons.datasets.sketch_skeletons.dice import Dice

SIDES = (1.0, -1.0)  # of y: left, right


@dataclass(frozen=True)
class Body:
    """Lengths of a body, its height being about 1."""

    trunk: float
    shoulder: float  # half the width
    hip: float  # half the width
    head: float  # above the shoulders
    upper_arm: float
    forearm: float
    thigh: float
    shin: float
    elbows: float  # how far elbows point outwards, about 0.5


@dataclass
class Leg:
    """Angles in degrees, each [T] or a number: forward at the hip, outwards at the hip, knee backward."""

    hip: np.ndarray
    spread: np.ndarray
    knee: np.ndarray


@dataclass
class Pose:
    """A pose in each of T frames; angles in degrees, [T].

    Attributes:
        hands: two of [T, 3]: from the shoulder, in lengths of an arm, in the trunk's frame (forward,
            outwards, up); one farther than an arm reaches is as far as it does.
        legs: left and right.
        lean, side, twist: of the trunk: forward, to its right, to its left.
        nod: of the head, forward.
        lift: [T], how far the lower foot is above the floor, in heights.
        travel: [T], how far the figure has gone forward, in heights.
        anchor: what stays where it is but for `travel`: the hips, both feet, or the left or right foot.
    """

    hands: list[np.ndarray]
    legs: list[Leg]
    lean: np.ndarray
    side: np.ndarray
    twist: np.ndarray
    nod: np.ndarray
    lift: np.ndarray
    travel: np.ndarray
    anchor: Literal["hips", "feet", "left", "right"] = field(default="feet")


def drawn(dice: Dice) -> Body:
    """A body of random proportions."""
    return Body(
        trunk=dice.near(0.30, 0.02),
        shoulder=dice.near(0.11, 0.015),
        hip=dice.near(0.065, 0.012),
        head=dice.near(0.15, 0.015),
        upper_arm=dice.near(0.17, 0.012),
        forearm=dice.near(0.155, 0.012),
        thigh=dice.near(0.245, 0.018),
        shin=dice.near(0.24, 0.018),
        elbows=dice.near(0.5, 0.3),
    )


def joints(body: Body, pose: Pose) -> np.ndarray:
    """Where the joints are: float64 [T, 13, 3] in the figure's frame, the floor at z = 0."""
    frames = len(pose.lean)
    points = np.zeros((frames, 13, 3))
    turn = _turned(pose.lean, pose.side, pose.twist)
    top = turn @ np.array([0.0, 0.0, body.trunk])
    # the neck bends a little more than the trunk
    points[:, 0] = top + _turned(pose.lean + pose.nod, pose.side, pose.twist) @ np.array([0, 0, body.head])
    pelvis = _turned(np.zeros(frames), np.zeros(frames), 0.35 * pose.twist)
    for number, side in enumerate(SIDES):
        shoulder = top + turn @ np.array([0.0, side * body.shoulder, 0.0])
        elbow, hand = _arm(body, pose.hands[number])
        mirrored = np.array([1.0, side, 1.0])
        points[:, 1 + number] = shoulder
        points[:, 3 + number] = shoulder + np.einsum("tij,tj->ti", turn, elbow * mirrored)
        points[:, 5 + number] = shoulder + np.einsum("tij,tj->ti", turn, hand * mirrored)
        hip = pelvis @ np.array([0.0, side * body.hip, 0.0])
        knee, ankle = _leg(body, pose.legs[number])
        points[:, 7 + number] = hip
        points[:, 9 + number] = hip + knee * mirrored
        points[:, 11 + number] = hip + ankle * mirrored
    feet = points[:, 11:13]
    points[:, :, 2] += (pose.lift - feet[:, :, 2].min(axis=1))[:, None]
    fixed = {"hips": points[:, 7:9], "feet": feet, "left": feet[:, :1], "right": feet[:, 1:]}[pose.anchor]
    points[:, :, :2] -= fixed.mean(axis=1)[:, None, :2].copy()
    points[:, :, 0] += pose.travel[:, None]
    return points


def seen(points: np.ndarray, heading: np.ndarray, elevation: float) -> np.ndarray:
    """The points [T, J, 3] as a far camera sees them: [T, J, 2], x to the right, y downwards.

    Args:
        heading: [T], in degrees: 0 to the right, 90 towards the camera, 180 to the left.
        elevation: in degrees, how far the camera looks down.
    """
    angle, down = np.radians(heading)[:, None], np.radians(elevation)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    nearer = x * np.sin(angle) - y * np.cos(angle)
    across = x * np.cos(angle) + y * np.sin(angle)
    return np.stack([across, nearer * np.sin(down) - z * np.cos(down)], axis=-1)


def _turned(lean: np.ndarray, side: np.ndarray, twist: np.ndarray) -> np.ndarray:
    """Matrices [T, 3, 3] that twist, then lean, then bend to the right."""
    (sl, ss, st), (cl, cs, ct) = (
        [call(np.radians(angle)) for angle in (lean, side, twist)] for call in (np.sin, np.cos)
    )
    # the product of the turns about x (side), y (lean) and z (twist)
    rows = [
        [cl * ct, -cl * st, sl],
        [cs * st + ss * sl * ct, cs * ct - ss * sl * st, -ss * cl],
        [ss * st - cs * sl * ct, ss * ct + cs * sl * st, cs * cl],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _arm(body: Body, hand: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Elbow and hand [T, 3] from the shoulder: the elbow hangs down, outwards and back of their line."""
    upper, lower = body.upper_arm, body.forearm
    length = np.linalg.norm(hand, axis=1, keepdims=True)
    line = hand / np.maximum(length, 1e-9)
    reach = np.clip(length * (upper + lower), 0.25 * (upper + lower), 0.995 * (upper + lower))
    along = (reach**2 + upper**2 - lower**2) / (2 * reach)
    off = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
    pole = np.array([-0.5, body.elbows, -0.8]) - line * (line @ [-0.5, body.elbows, -0.8])[:, None]
    pole /= np.maximum(np.linalg.norm(pole, axis=1, keepdims=True), 1e-9)
    return line * along + pole * off, line * reach


def _leg(body: Body, leg: Leg) -> tuple[np.ndarray, np.ndarray]:
    """Knee and ankle [T, 3] from the hip."""
    hip, spread, knee = (np.radians(angle) for angle in (leg.hip, leg.spread, leg.knee))
    thigh = np.stack([np.sin(hip) * np.cos(spread), np.sin(spread), -np.cos(hip) * np.cos(spread)], axis=-1)
    back = np.stack([-np.cos(hip), np.zeros_like(hip), -np.sin(hip)], axis=-1)
    shin = thigh * np.cos(knee)[:, None] + back * np.sin(knee)[:, None]
    return thigh * body.thigh, thigh * body.thigh + shin * body.shin
