"""A cache that was made from something else is refused, with every field that differs."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.cache.format.identity import ABSENT, check, differences, identity_id, short
from stillroom.errors import CacheError

IDENTITY: dict[str, Any] = {
    "teacher": {"digest": "a" * 64, "arch": "convnext_atto", "overrides": {}, "num_classes": 40},
    "input": {"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    "samples": {"count": 3, "keys": "b" * 64, "images": "c" * 64, "labels": "d" * 64, "classes": "e" * 64},
    "views": {"recipe": {"name": "crop", "scale": [0.35, 1.0]}, "seed": 0},
    "outputs": {"logits": {"encoding": "float16", "shape": [40]}},
}
FIXES = {
    "": "run `stillroom cache`",
    "teacher": "run `stillroom teacher`",
    "samples.images": "restore the images",
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
identities = st.dictionaries(
    st.text(max_size=5), st.dictionaries(st.text(max_size=5), json_values, max_size=3), max_size=3
)


def test_the_id_does_not_depend_on_the_order_of_fields() -> None:
    shuffled = {name: dict(reversed(section.items())) for name, section in reversed(IDENTITY.items())}
    assert identity_id(shuffled) == identity_id(IDENTITY)
    assert len(identity_id(IDENTITY)) == 64
    assert short(identity_id(IDENTITY)) == identity_id(IDENTITY)[:16]


def test_tuples_count_as_the_lists_that_json_makes_of_them() -> None:
    same = copy.deepcopy(IDENTITY)
    same["input"]["mean"] = (0.5, 0.5, 0.5)
    assert identity_id(same) == identity_id(IDENTITY)
    assert differences(same, IDENTITY) == []


@given(identities, identities)
def test_equal_ids_and_no_difference_either_way_are_the_same_thing(one: dict, other: dict) -> None:
    assert differences(one, one) == []
    same = not differences(one, other) and not differences(other, one)
    assert same == (identity_id(one) == identity_id(other))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("teacher.digest", "f" * 64),
        ("teacher.overrides", {"drop_path_rate": 0.1}),
        ("samples.images", "f" * 64),
        ("samples.keys", "f" * 64),
        ("samples.classes", "f" * 64),
        ("views.recipe.scale", [0.35, 0.9]),
        ("views.seed", 1),
        ("views.seed", None),
        ("input.mean", [0.5, 0.5, 0.4]),
        ("outputs.logits.shape", [1000]),
    ],
)
def test_a_changed_field_is_named_with_both_values(path: str, value: Any) -> None:
    found = copy.deepcopy(IDENTITY)
    *sections, name = path.split(".")
    inner = found
    for section in sections:
        inner = inner[section]
    before, inner[name] = inner[name], value
    named = f"{path}.drop_path_rate" if isinstance(value, dict) else path
    expected = ABSENT if isinstance(value, dict) else before
    assert differences(IDENTITY, found) == [
        (named, expected, value["drop_path_rate"] if isinstance(value, dict) else value)
    ]


def test_what_the_caller_does_not_know_is_not_compared() -> None:
    student = {name: IDENTITY[name] for name in ("samples", "views")}
    student["teacher"] = {"num_classes": 40}
    assert differences(student, IDENTITY) == []
    check(student, IDENTITY, {})


def test_a_field_missing_in_the_cache_is_a_difference() -> None:
    found = {name: section for name, section in IDENTITY.items() if name != "teacher"}
    assert differences({"teacher": {"num_classes": 40}}, found) == [("teacher", {"num_classes": 40}, ABSENT)]
    assert differences({"views": {"weight": None}}, IDENTITY) == [("views.weight", None, ABSENT)]


def test_a_recipe_is_compared_whole() -> None:
    less = {"views": {"recipe": {"name": "crop"}}}
    assert differences(less, IDENTITY) == [("views.recipe.scale", ABSENT, [0.35, 1.0])]


def test_the_refusal_names_every_field_both_values_and_what_to_do() -> None:
    found = copy.deepcopy(IDENTITY)
    found["teacher"]["digest"] = "9" * 64
    found["samples"]["images"] = "8" * 64
    found["views"]["seed"] = 7
    with pytest.raises(CacheError) as caught:
        check(IDENTITY, found, FIXES)
    text = str(caught.value)
    assert "3 fields differ" in text
    assert f'teacher.digest: "{"a" * 64}" here, "{"9" * 64}" in the cache' in text
    assert f'samples.images: "{"c" * 64}" here, "{"8" * 64}" in the cache' in text
    assert "views.seed: 0 here, 7 in the cache" in text
    for fix in FIXES.values():
        assert fix in caught.value.fix
