"""What a student sees of an image worse than its teacher: without state, and never in place."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from stillroom import registry
from stillroom.errors import ParamsError
from stillroom.modalities import base, named
from stillroom.modalities.images.samples import Sample

PACKAGE = "stillroom.modalities.images"
CONFIGS: dict[str, dict[str, Any]] = {
    "low_resolution": {"name": "low_resolution", "side": 12},
    "blur": {"name": "blur", "radius": 8.0},
    "blur_up_to": {"name": "blur", "radius": 8.0, "up_to": True},
    "occlusion": {"name": "occlusion", "share": 0.3},
}
LEVEL_0: dict[str, dict[str, Any]] = {
    "low_resolution": {"name": "low_resolution", "side": 64},
    "blur": {"name": "blur", "radius": 0.0},
    "blur_up_to": {"name": "blur", "radius": 0.0, "up_to": True},
    "occlusion": {"name": "occlusion", "share": 0.0},
}
# sha256 over what the corruptions make of a picture: another Pillow shows here
GOLDEN = {
    "low_resolution": "8e82ee6376fb52e5b65571d7f217ac15",
    "blur": "442d1e0dbef04f67e609cb5ced9137a0",
    "blur_up_to": "0cc893fbe17e1826c632f06e6eefbd8f",
    "occlusion": "27f96f93a073b5f62c1b85fb629be453",
}
every_one = pytest.mark.parametrize("name", CONFIGS)
DRAWN = ("blur_up_to", "occlusion")


def made(config: dict[str, Any]) -> base.Corruption:
    one = named.corruption(PACKAGE, config, "params.yaml")
    assert one is not None
    return one


def sample(key: str = "a") -> Sample:
    return Sample(key, f"{key}.png", "test", 0, None, (64, 64), "0" * 64)


def pixels(side: int = 64) -> np.ndarray:
    ramp = np.add.outer(np.arange(side) * 7, np.arange(side) * 13).astype(np.uint8)
    return np.stack([ramp, ramp[::-1], 255 - ramp[:, ::-1]], axis=2)


def applied(one: base.Corruption, image: np.ndarray, number: int = 0, key: str = "a") -> np.ndarray:
    found: np.ndarray = one.apply(image, one.draw(0, sample(key), number))
    return found


def test_every_corruption_is_tried_here() -> None:
    assert {config["name"] for config in CONFIGS.values()} == set(registry.names(f"{PACKAGE}.corruptions"))


@every_one
def test_a_draw_depends_on_seed_key_and_number_alone(name: str) -> None:
    jobs = [(key, number) for key in "ab" for number in (0, 1, base.EVALUATION_DRAWS)]
    one, image = made(CONFIGS[name]), pixels()
    first = [applied(made(CONFIGS[name]), image, number, key).tobytes() for key, number in jobs]
    again = [applied(one, image, number, key).tobytes() for key, number in jobs[::-1]]
    assert first == again[::-1]
    assert len(set(first)) == (len(jobs) if name in DRAWN else 1)
    assert (one.apply(image, one.draw(1, sample(), 0)).tobytes() != first[0]) == (name in DRAWN)


@every_one
def test_a_picture_is_made_worse_and_its_own_left_as_it_is(name: str) -> None:
    image = pixels()
    before = image.copy()
    image.setflags(write=False)
    found = applied(made(CONFIGS[name]), image)
    assert found.dtype == np.uint8 and found.shape == image.shape and not np.array_equal(found, image)
    np.testing.assert_array_equal(image, before)


@every_one
def test_a_corruption_is_made_again_from_json(name: str) -> None:
    one = made(CONFIGS[name])
    again = made(json.loads(json.dumps(one.describe())))
    assert again.describe() == one.describe()
    np.testing.assert_array_equal(applied(again, pixels()), applied(one, pixels()))


@pytest.mark.parametrize("name", LEVEL_0)
def test_nothing_made_worse_is_the_picture_itself(name: str) -> None:
    image = pixels()
    assert all(applied(made(LEVEL_0[name]), image, number) is image for number in range(3))


@every_one
def test_corruptions_stay_as_they_are(name: str) -> None:
    digest = hashlib.sha256()
    for number in range(4):
        digest.update(applied(made(CONFIGS[name]), pixels(), number).tobytes())
    assert digest.hexdigest()[:32] == GOLDEN[name]


def test_fewer_pixels_hold_less() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = [applied(made({"name": "low_resolution", "side": side}), noise) for side in (1, 4, 16, 63)]
    deviation = [one.std(axis=(0, 1)).mean() for one in (*found, noise)]
    assert deviation[0] == 0 and deviation == sorted(set(deviation))


def test_a_blur_grows_with_its_radius_and_with_the_view() -> None:
    step = np.zeros((224, 224, 3), np.uint8)
    step[:, 112:] = 255

    def width(image: np.ndarray, radius: float) -> int:
        row = applied(made({"name": "blur", "radius": radius}), image)[0, :, 0]
        return int(((row > 0) & (row < 255)).sum())

    assert 0 < width(step, 1.0) < width(step, 4.0) < width(step, 16.0)
    assert abs(width(step, 8.0) - 2 * width(step[::2, ::2], 8.0)) <= 4  # the same blur of the picture
    one = made(CONFIGS["blur_up_to"])
    radii = [one.draw(0, sample(), number) for number in range(300)]
    assert 0 <= min(radii) < 0.2 and 7.8 < max(radii) <= 8.0


@pytest.mark.parametrize("share", [0.01, 0.25, 0.6, 0.99, 1.0])
def test_a_rectangle_of_the_asked_area_lies_anywhere(share: float) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    one, covered, corners = made({"name": "occlusion", "share": share}), np.zeros((64, 64), int), set()
    for number in range(200):
        grey = (applied(one, image, number) == 128).all(axis=2)
        rows, columns = np.flatnonzero(grey.any(axis=1)), np.flatnonzero(grey.any(axis=0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert grey.sum() == height * width  # one rectangle
        assert abs(grey.mean() - share) < 0.012
        if share <= 0.25:
            assert 0.4 < width / height < 2.5
        covered += grey
        corners.add((rows[0], columns[0]))
    assert len(corners) > (100 if share < 0.5 else 0)
    if share == 0.25:
        assert (covered > 0).mean() > 0.95


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"name": "low_resolution", "side": 0}, "student.corruption.side"),
        ({"name": "blur", "radius": -1.0}, "student.corruption.radius"),
        ({"name": "blurr", "radius": 1.0}, "blur"),
        ({"name": "occlusion", "share": 1.5}, "student.corruption.share"),
        ({"name": "occlusion"}, "student.corruption.share"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_a_wrong_corruption_is_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ParamsError) as error:
        made(config)
    assert told in str(error.value)
