"""Joint layouts: which joints a skeleton has, which bones join them, which are left and right of another."""

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stillroom.errors import ParamsError

MOST_JOINTS = 256


@dataclass(frozen=True)
class Layout:
    """The joints of a skeleton.

    Attributes:
        name: of a built-in layout, or of a user's own: with a digest of the rest, so that it is that
            of no other.
        joints: J names.
        bones: (child, parent) each, numbers of joints: a tree, each joint the child of at most one.
        pairs: (left, right) each: what a mirror exchanges.
        centre: the joints whose mean is the middle of the body.
        links: further edges of the graph that are no bones, as between the hips.
    """

    name: str
    joints: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]
    pairs: tuple[tuple[int, int], ...]
    centre: tuple[int, ...]
    links: tuple[tuple[int, int], ...] = ()

    def mirrored(self) -> list[int]:
        """For each joint the one that takes its place in a mirror."""
        places = list(range(len(self.joints)))
        for left, right in self.pairs:
            places[left], places[right] = right, left
        return places

    def parents(self) -> list[int]:
        """For each joint its parent; of one without, itself."""
        found = list(range(len(self.joints)))
        for child, parent in self.bones:
            found[child] = parent
        return found

    def edges(self) -> list[tuple[int, int]]:
        """The edges of the graph: bones and links."""
        return [*self.bones, *self.links]

    def describe(self) -> dict[str, Any]:
        """As JSON, with names of joints; `read` takes it."""
        named = [[self.joints[one] for one in pair] for pair in self.bones]
        described: dict[str, Any] = {
            "name": self.name,
            "joints": list(self.joints),
            "bones": named,
            "left_right": [[self.joints[one] for one in pair] for pair in self.pairs],
            "centre": [self.joints[one] for one in self.centre],
        }
        if self.links:
            described["links"] = [[self.joints[one] for one in pair] for pair in self.links]
        return described


def layout(name: str, key: str = "data.layout") -> Layout:
    """A built-in layout by its name.

    Raises:
        ParamsError: there is none; names the nearest.
    """
    if name not in LAYOUTS:
        near = difflib.get_close_matches(name, LAYOUTS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ParamsError(
            f"{key} = {name!r:.80}: there is no such layout",
            fix=f"{hint}valid: {', '.join(LAYOUTS)}; or a section with joints, bones, left_right and centre",
        )
    return LAYOUTS[name]


def read(described: Any, key: str = "data.layout") -> Layout:
    """A layout from its name, or from a section with `joints`, `bones`, `left_right`, `centre` and `links`,
    which name joints.

    Raises:
        ParamsError: it names a joint that is not there, or one twice, or its bones are no tree.
    """
    if isinstance(described, str):
        return layout(described, key)
    if not isinstance(described, dict):
        raise ParamsError(f"{key} = {described!r:.80} is neither the name of a layout nor a section")
    known = ("name", "joints", "bones", "left_right", "centre", "links")
    for name in described:
        if name not in known:
            raise ParamsError(f"unknown key {key}.{name}", fix=f"valid keys: {', '.join(known)}")
    joints = _names(described.get("joints"), f"{key}.joints")

    def numbers(name: str) -> tuple[tuple[int, int], ...]:
        pairs = described.get(name, [])
        if not isinstance(pairs, list | tuple) or not all(
            isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
        ):
            raise ParamsError(f"{key}.{name} must be a list of pairs of joints")
        return tuple(
            (_number(a, joints, f"{key}.{name}"), _number(b, joints, f"{key}.{name}")) for a, b in pairs
        )

    bones, pairs, links = numbers("bones"), numbers("left_right"), numbers("links")
    centre = described.get("centre", joints[0])
    centre = [centre] if isinstance(centre, str) else centre
    if not isinstance(centre, list | tuple) or not centre:
        raise ParamsError(f"{key}.centre must be a joint, or a list of joints")
    _check_tree(bones, joints, f"{key}.bones")
    sides = [one for pair in pairs for one in pair]
    twice = [one for place, one in enumerate(sides) if one in sides[:place]]
    if twice:
        raise ParamsError(f"{key}.left_right names {joints[twice[0]]} twice")
    name = described.get("name", "own")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,49}", name):
        raise ParamsError(f"{key}.name = {name!r:.80} is no name")
    middle = tuple(_number(one, joints, f"{key}.centre") for one in centre)
    made = Layout(name, joints, bones, pairs, middle, links)
    if name not in LAYOUTS:
        return replace(made, name=_told_apart(made))
    if LAYOUTS[name] != made:
        raise ParamsError(
            f"{key}.name = {name!r} is the name of another layout", fix="take a name of its own"
        )
    return made


def _told_apart(made: Layout) -> str:
    """Its name with a digest of all else, instead of another's that it may end in."""
    rest = {field: value for field, value in made.describe().items() if field != "name"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:8]
    return f"{re.sub('-[0-9a-f]{8}$', '', made.name)}-{digest}"


def _names(joints: Any, key: str) -> tuple[str, ...]:
    if not isinstance(joints, list | tuple) or not 2 <= len(joints) <= MOST_JOINTS:
        raise ParamsError(f"{key} must be a list of 2 to {MOST_JOINTS} names")
    if not all(isinstance(one, str) and 0 < len(one) <= 80 for one in joints) or len(set(joints)) < len(
        joints
    ):
        raise ParamsError(f"{key} must be distinct names")
    return tuple(joints)


def _number(joint: Any, joints: Sequence[str], key: str) -> int:
    if joint not in joints:
        near = difflib.get_close_matches(str(joint), joints, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ParamsError(f"{key}: there is no joint {joint!r:.80}", fix=f"{hint}joints: {', '.join(joints)}")
    return list(joints).index(joint)


def _check_tree(bones: Sequence[tuple[int, int]], joints: Sequence[str], key: str) -> None:
    parent: dict[int, int] = {}
    for child, above in bones:
        if child in parent:
            raise ParamsError(
                f"{key}: {joints[child]} has two parents", fix="put the further edge into links"
            )
        parent[child] = above
    for start in parent:
        one, steps = start, 0
        while one in parent and steps <= len(joints):
            one, steps = parent[one], steps + 1
        if steps > len(joints):
            raise ParamsError(f"{key}: {joints[start]} is its own ancestor", fix="bones are a tree")


def _made(name: str, joints: str, bones: str, pairs: str, centre: str, links: str = "") -> Layout:
    names = tuple(joints.split())

    def edges(text: str) -> tuple[tuple[int, int], ...]:
        return tuple((int(a), int(b)) for a, b in (one.split("-") for one in text.split()))

    return Layout(
        name, names, edges(bones), edges(pairs), tuple(int(one) for one in centre.split()), edges(links)
    )


LAYOUTS = {
    one.name: one
    for one in (
        # Penn Action's own order: no neck and no pelvis
        _made(
            "penn13",
            "head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip "
            "right_hip "
            "left_knee right_knee left_ankle right_ankle",
            "1-0 2-0 3-1 4-2 5-3 6-4 7-1 8-2 9-7 10-8 11-9 12-10",
            "1-2 3-4 5-6 7-8 9-10 11-12",
            "7 8",
            "1-2 7-8",
        ),
        # COCO's keypoints
        _made(
            "coco17",
            "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow "
            "left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
            "1-0 2-0 3-1 4-2 5-0 6-0 7-5 8-6 9-7 10-8 11-5 12-6 13-11 14-12 15-13 16-14",
            "1-2 3-4 5-6 7-8 9-10 11-12 13-14 15-16",
            "11 12",
            "5-6 11-12",
        ),
        # OpenPose's COCO model, as Kinetics-skeleton has it
        _made(
            "openpose18",
            "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip "
            "right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear",
            "4-3 3-2 7-6 6-5 13-12 12-11 10-9 9-8 11-5 8-2 5-1 2-1 0-1 15-0 14-0 17-15 16-14",
            "5-2 6-3 7-4 11-8 12-9 13-10 15-14 17-16",
            "1",
        ),
        # OpenPose's BODY_25
        _made(
            "openpose25",
            "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist middle_hip "
            "right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear "
            "left_ear "
            "left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel",
            "1-8 0-1 2-1 3-2 4-3 5-1 6-5 7-6 9-8 10-9 11-10 12-8 13-12 14-13 15-0 16-0 17-15 18-16 19-14 "
            "20-19 "
            "21-14 22-11 23-22 24-11",
            "5-2 6-3 7-4 12-9 13-10 14-11 16-15 18-17 19-22 20-23 21-24",
            "8",
        ),
        # Halpe's body of 26 joints (AlphaPose)
        _made(
            "halpe26",
            "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow "
            "left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle head "
            "neck hip "
            "left_big_toe right_big_toe left_small_toe right_small_toe left_heel right_heel",
            "0-18 1-0 2-0 3-1 4-2 5-18 6-18 7-5 8-6 9-7 10-8 11-19 12-19 13-11 14-12 15-13 16-14 17-0 "
            "18-19 20-15 "
            "21-16 22-20 23-21 24-15 25-16",
            "1-2 3-4 5-6 7-8 9-10 11-12 13-14 15-16 20-21 22-23 24-25",
            "19",
        ),
        # MediaPipe's pose landmarks
        _made(
            "mediapipe33",
            "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear "
            "right_ear mouth_left mouth_right left_shoulder right_shoulder left_elbow right_elbow left_wrist "
            "right_wrist left_pinky right_pinky left_index right_index left_thumb right_thumb left_hip "
            "right_hip "
            "left_knee right_knee left_ankle right_ankle left_heel right_heel left_foot_index "
            "right_foot_index",
            "1-0 2-1 3-2 7-3 4-0 5-4 6-5 8-6 9-0 10-0 11-0 12-0 13-11 14-12 15-13 16-14 17-15 18-16 19-15 "
            "20-16 "
            "21-15 22-16 23-11 24-12 25-23 26-24 27-25 28-26 29-27 30-28 31-27 32-28",
            "1-4 2-5 3-6 7-8 9-10 11-12 13-14 15-16 17-18 19-20 21-22 23-24 25-26 27-28 29-30 31-32",
            "23 24",
            "11-12 23-24 17-19 18-20 29-31 30-32",
        ),
        # Kinect v2, as NTU RGB+D has it: hand tips hang on thumbs, thumbs on hands (Shahroudy et al. 2016)
        _made(
            "ntu25",
            "base_of_spine middle_of_spine neck head left_shoulder left_elbow left_wrist left_hand "
            "right_shoulder "
            "right_elbow right_wrist right_hand left_hip left_knee left_ankle left_foot right_hip right_knee "
            "right_ankle right_foot spine left_hand_tip left_thumb right_hand_tip right_thumb",
            "0-1 1-20 2-20 3-2 4-20 5-4 6-5 7-6 8-20 9-8 10-9 11-10 12-0 13-12 14-13 15-14 16-0 17-16 "
            "18-17 19-18 "
            "21-22 22-7 23-24 24-11",
            "4-8 5-9 6-10 7-11 12-16 13-17 14-18 15-19 21-23 22-24",
            "20",
        ),
    )
}
