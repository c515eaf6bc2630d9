"""Joint layouts: the built-in ones are sound, and a user's own is read or refused by the joint's name."""

import json
from typing import Any

import pytest

from stillroom.errors import ParamsError
from stillroom.modalities.skeletons.layouts import LAYOUTS, layout, read

every_layout = pytest.mark.parametrize("name", LAYOUTS)
OWN: dict[str, Any] = {
    "name": "stick",
    "joints": ["head", "hip", "left_foot", "right_foot"],
    "bones": [["head", "hip"], ["left_foot", "hip"], ["right_foot", "hip"]],
    "left_right": [["left_foot", "right_foot"]],
    "centre": "hip",
}


@every_layout
def test_a_built_in_layout_is_one_tree(name: str) -> None:
    one = LAYOUTS[name]
    count = len(one.joints)
    digits = "".join(character for character in name if character.isdigit())
    assert len(set(one.joints)) == count == int(digits)
    parents = one.parents()
    roots = [joint for joint in range(count) if parents[joint] == joint]
    assert len(roots) == 1 and len(one.bones) == count - 1
    for joint in range(count):
        for _ in range(count):
            joint = parents[joint]
        assert joint == roots[0]


@every_layout
def test_pairs_are_the_joints_that_are_named_left_and_right(name: str) -> None:
    one = LAYOUTS[name]
    pairs = {(one.joints[left], one.joints[right]) for left, right in one.pairs}
    lefts = [joint for joint in one.joints if "left" in joint]
    assert pairs == {(joint, joint.replace("left", "right")) for joint in lefts}


@every_layout
def test_a_mirror_of_a_mirror_is_the_layout_and_keeps_its_bones(name: str) -> None:
    one = LAYOUTS[name]
    places = one.mirrored()
    assert [places[place] for place in places] == list(range(len(one.joints)))
    edges = {frozenset(edge) for edge in one.edges()}
    if name not in ("penn13", "openpose18", "coco17"):  # whose head or nose hangs on one side
        assert {frozenset((places[a], places[b])) for a, b in edges} == edges


@every_layout
def test_a_layout_is_read_again_from_what_it_says(name: str) -> None:
    assert read(json.loads(json.dumps(LAYOUTS[name].describe()))) == LAYOUTS[name] == read(name)


def test_an_own_layout_is_read() -> None:
    one = read(OWN)
    assert one.bones == ((0, 1), (2, 1), (3, 1)) and one.pairs == ((2, 3),) and one.centre == (1,)
    assert one.parents() == [1, 1, 1, 1] and one.mirrored() == [0, 1, 3, 2]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"left_right": [["left_food", "right_foot"]]}, "left_foot"),
        ({"left_right": [["left_foot", "right_foot"], ["head", "left_foot"]]}, "left_foot"),
        ({"bones": [["head", "hip"], ["head", "left_foot"]]}, "head has two parents"),
        ({"bones": [["head", "hip"], ["hip", "left_foot"], ["left_foot", "head"]]}, "own ancestor"),
        ({"bones": [["head", "neck"]]}, "neck"),
        ({"joints": ["head", "head"]}, "distinct"),
        ({"joints": ["head"]}, "2 to 256"),
        ({"centre": "middle"}, "middle"),
        ({"left_rigth": []}, "left_rigth"),
        ({"name": "../up"}, "no name"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_bad_layout_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ParamsError) as told:
        read({**OWN, **change})
    assert named in str(told.value)


def test_an_unknown_layout_names_the_nearest() -> None:
    with pytest.raises(ParamsError, match="penn13"):
        layout("pen13")
