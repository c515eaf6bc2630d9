"""The views of a cache are checked before any is rendered."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillroom.errors import CacheError
from stillroom.modalities.skeletons.fields import pack
from stillroom.modalities.skeletons.policies import make_recipe
from stillroom.modalities.skeletons.stored import StoredViews
from stillroom.samples import Samples
from tests.modalities.skeletons.drawn import clip, written

Arrays = dict[str, np.ndarray]


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    return written(tmp_path, [clip(seed, frames=8) for seed in range(3)])


def plane(samples: Samples, recipe: dict[str, Any]) -> tuple[Arrays, list[Any]]:
    policy = make_recipe(recipe)
    views = [policy.draw(0, row, 1) for row in samples.rows]
    return pack(views, policy.fields()), views


@pytest.mark.parametrize(
    "recipe", [{"name": "move", "rotate": 180.0, "shear": 0.999}, {"name": "still"}], ids=str
)
def test_what_was_drawn_comes_back(samples: Samples, recipe: dict[str, Any]) -> None:
    arrays, views = plane(samples, recipe)
    stored = StoredViews(arrays, samples)
    assert not stored.mixes
    assert [stored[row].parameters for row in range(3)] == views
    assert [stored[row].sample for row in range(3)] == list(samples.rows)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start", -0.1),
        ("start", 1.0),
        ("start", np.nan),
        ("length", 0.0),
        ("length", 1.5),
        ("length", np.inf),
        ("mirror", 2),
        ("angle", [0.0, 0.0, 3.5]),
        ("angle", [np.nan, 0.0, 0.0]),
        ("scale", 0.0),
        ("scale", np.inf),
        ("scale", np.nan),
        ("shear", [0.0, -1.5]),
        ("shear", [np.nan, 0.0]),
    ],
    ids=str,
)
def test_a_value_that_no_view_has_is_refused_with_its_sample(
    samples: Samples, field: str, value: Any
) -> None:
    arrays, _ = plane(samples, {})
    arrays[field] = arrays[field].copy()
    arrays[field][1] = value
    with pytest.raises(CacheError, match=f"views/{field} of clip_1"):
        StoredViews(arrays, samples)


def test_a_part_that_leaves_the_clip_is_refused(samples: Samples) -> None:
    arrays, _ = plane(samples, {})
    arrays["start"][2], arrays["length"][2] = 0.5, 0.75
    with pytest.raises(CacheError, match="clip_2"):
        StoredViews(arrays, samples)


def test_fields_that_are_unknown_lacking_or_of_another_kind_are_refused(samples: Samples) -> None:
    arrays, _ = plane(samples, {})
    wrong: dict[str, Arrays] = {
        "views/box": {**arrays, "box": arrays["start"]},
        "no views/start": {name: one for name, one in arrays.items() if name != "start"},
        "no views/length": {name: one for name, one in arrays.items() if name != "length"},
        "views/angle": {**arrays, "angle": arrays["angle"][:, :2]},
        "views/scale": {**arrays, "scale": arrays["scale"].astype(np.float64)},
        "views/shear": {**arrays, "shear": arrays["shear"][:-1]},
    }
    for told, one in wrong.items():
        with pytest.raises(CacheError, match=told):
            StoredViews(one, samples)
