"""Views of clips are drawn without state, within their bounds, and come back from their arrays."""

import json

import numpy as np
import pytest

from stillroom.errors import ParamsError
from stillroom.modalities.skeletons.fields import FIELDS, View, pack, unpack, whole
from stillroom.modalities.skeletons.policies import keys, make_recipe, names
from tests.modalities.skeletons import drawn

SAMPLES = [drawn.sample(drawn.clip(dims=dims), f"clip_{dims}") for dims in (2, 3)]


def test_policies_are_found_by_name() -> None:
    assert names() == ["move", "still"]
    assert {"crop", "flip", "rotate", "tilt", "scale", "shear"} <= set(keys())


def test_a_view_is_a_pure_function_of_seed_key_and_number() -> None:
    policy = make_recipe({})
    first = [policy.draw(7, sample, view) for sample in SAMPLES for view in range(20)]
    again = [policy.draw(7, sample, view) for sample in SAMPLES[::-1] for view in reversed(range(20))]
    assert first == again[::-1] and len(set(first)) == len(first)
    assert policy.draw(8, SAMPLES[0], 0) != first[0]


def test_views_come_back_from_their_arrays() -> None:
    policy = make_recipe({"shear": 0.4, "rotate": 180.0, "tilt": 90.0})
    views = [policy.draw(0, sample, view) for sample in SAMPLES for view in range(200)]
    arrays = pack(views, policy.fields())
    assert set(arrays) == set(FIELDS)
    for name, (dtype, shape) in FIELDS.items():
        assert arrays[name].dtype == np.dtype(dtype) and arrays[name].shape == (len(views), *shape)
    assert [unpack(arrays, row) for row in range(len(views))] == views
    assert sum(array.nbytes for array in arrays.values()) == 33 * len(views)


def test_what_is_drawn_keeps_its_bounds() -> None:
    policy = make_recipe({"crop": [0.25, 0.5], "rotate": 20.0, "tilt": 3.0, "scale": [0.5, 2.0]})
    for sample in SAMPLES:
        views = [policy.draw(1, sample, view) for view in range(400)]
        length = np.array([view.length for view in views])
        end = np.array([view.start for view in views]) + length
        assert length.min() >= 0.25 - 1e-4 and length.max() <= 0.5 + 1e-4 and end.max() <= 1
        assert length.min() < 0.27 and length.max() > 0.48 and end.max() > 0.95
        angle = np.degrees(np.abs([view.angle for view in views]).max(axis=0))
        bounds = (0, 0, 20) if sample.dims == 2 else (3, 20, 3)
        np.testing.assert_allclose(angle, bounds, rtol=0.03)
        scale = [view.scale for view in views]
        assert 0.5 <= min(scale) < 0.55 and 1.9 < max(scale) <= 2
        assert 0.4 < np.mean([view.mirror for view in views]) < 0.6


def test_whole_clips_are_drawn_where_asked() -> None:
    recipe = {"crop": [1.0, 1.0], "flip": 0.0, "rotate": 0.0, "tilt": 0.0, "scale": [1.0, 1.0], "shear": 0.0}
    for sample in SAMPLES:
        still = make_recipe({"name": "still"})
        assert make_recipe(recipe).draw(0, sample, 5) == whole(sample) == View() == still.draw(0, sample, 3)
        assert list(still.fields()) == ["start", "length"]


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"name": "mov"}, "move"),
        ({"crop": [0.5, 1.5]}, "views.recipe.crop"),
        ({"crop": [0.0, 1.0]}, "views.recipe.crop"),
        ({"rotate": 200.0}, "views.recipe.rotate"),
        ({"shear": 1.0}, "views.recipe.shear"),
        ({"flipp": 0.5}, "flip"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_a_wrong_recipe_is_refused(recipe: dict, told: str) -> None:
    with pytest.raises(ParamsError) as error:
        make_recipe(recipe)
    assert told in str(error.value)
