"""Skeletons can be looked at: each joint that is there in the colour of its side, moving without a script."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stillroom.modalities import named
from stillroom.modalities.base import SHEET_VIEWS, ViewRequest
from stillroom.modalities.cards import PAPER, VIEWS
from stillroom.modalities.skeletons.fields import View
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.picture import (
    LEFT,
    MIDDLE,
    MOST_FRAMES,
    RIGHT,
    SIDE,
    evenly,
    figure,
    picture,
    window_of,
)
from stillroom.modalities.skeletons.policies import make_recipe
from stillroom.modalities.skeletons.render import render
from stillroom.modalities.skeletons.sheet import sheet, told
from tests.modalities.skeletons import drawn
from tests.modalities.skeletons.drawn import clip, lose, spec

CLASSES = ["a_very_long_name_of_a_class_that_cannot_possibly_fit_on_one_line_of_a_card", *"bcdefg"]
LAYOUT = LAYOUTS["penn13"]


def opened(made: np.ndarray, **kind: Any) -> Image.Image:
    image = Image.open(io.BytesIO(picture(made, spec(**kind))))
    image.load()
    return image


def colour(name: str) -> tuple[int, ...]:
    return tuple(int(name[i : i + 2], 16) for i in (1, 3, 5))


def inked(image: Image.Image, name: str, tolerance: int = 6) -> np.ndarray:
    """[N, 2] rows and columns of pixels of a colour."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    return np.argwhere(np.abs(pixels - colour(name)).max(axis=2) <= tolerance)


def standing() -> np.ndarray:
    """[1, 1, 13, 3]: seen from behind, left on the left; the head is up, where y is small."""
    x = [0, *(side * (1 + 0.2 * level) for level in range(6) for side in (-1, 1))]
    y = [-3, *(level - 2 for level in range(6) for _ in (0, 1))]
    return np.stack([x, y, np.ones(13)], axis=1).astype(np.float32)[None, None]


def test_a_picture_moves_through_all_frames_and_is_small() -> None:
    content = picture(render(clip(), View(), spec(12)), spec(12))
    assert content.startswith(b"\x89PNG\r\n") and b"acTL" in content and len(content) < 40_000
    image = Image.open(io.BytesIO(content))
    assert image.format == "PNG" and image.size == (SIDE, SIDE)
    assert image.n_frames == 12 and image.info["loop"] == 0  # type: ignore[attr-defined]
    seen = []
    for frame in range(12):
        image.seek(frame)
        seen.append(image.convert("RGB").tobytes())
    assert len(set(seen)) == 12


def test_a_long_clip_is_shown_in_steps() -> None:
    made = render(clip(), View(), spec(200))
    assert opened(made).n_frames == MOST_FRAMES  # type: ignore[attr-defined]
    assert evenly(200, 5) == [0, 50, 100, 149, 199] and evenly(7, 7) == list(range(7)) and evenly(9, 1) == [4]


@pytest.mark.parametrize("frames", [1, 2])
def test_a_clip_of_a_frame_or_two_is_a_picture(frames: int) -> None:
    assert opened(render(clip(missing=0.0), View(), spec(frames))).size == (SIDE, SIDE)


def test_left_right_and_middle_have_colours_and_a_mirror_exchanges_sides() -> None:
    made = standing()
    one = figure(made[:, 0], LAYOUT, window_of(made), 200)
    left, right = inked(one, LEFT), inked(one, RIGHT)
    assert len(left) > 100 < len(right) and len(inked(one, MIDDLE)) > 20
    assert left[:, 1].max() < 100 < right[:, 1].min()
    mirrored = render(made.swapaxes(0, 1), View(mirror=1), spec(1))
    other = figure(mirrored[:, 0], LAYOUT, window_of(mirrored), 200)
    assert inked(other, LEFT)[:, 1].max() < 100 < inked(other, RIGHT)[:, 1].min()


@pytest.mark.parametrize("dims", [2, 3])
def test_heads_are_up(dims: int) -> None:
    """In two dimensions y goes down, in three up."""
    made = standing()
    if dims == 3:
        made = np.insert(made, 2, 0.0, axis=-1)
        made[..., 1] *= -1
    one = figure(made[:, 0], LAYOUT, window_of(made), 200)
    head = inked(one, MIDDLE)
    assert head[:, 0].min() < 30 and np.ptp(inked(one, LEFT)[:, 0]) > 100


def test_what_is_not_there_is_not_drawn() -> None:
    made = standing()
    for joint in (5, 9, 11):  # the left wrist, knee and ankle
        made[0, 0, joint] = 0
    whole, less = (figure(one[:, 0], LAYOUT, window_of(standing()), 200) for one in (standing(), made))
    assert len(inked(less, LEFT)) < 0.7 * len(inked(whole, LEFT))
    assert len(inked(less, RIGHT)) == len(inked(whole, RIGHT))
    made[:] = 0
    nobody = figure(made[:, 0], LAYOUT, window_of(made), 64)
    assert len(inked(nobody, PAPER, 0)) == 64 * 64 and window_of(made).half == 1


def test_pictures_of_nobody_and_of_two_in_three_dimensions() -> None:
    kind: dict[str, Any] = {"persons": 2, "dims": 3, "layout": "ntu25"}
    assert opened(render(clip(**kind), View(), spec(**kind)), **kind).size == (SIDE, SIDE)
    empty = np.zeros((2, 32, 25, 4), np.float32)
    assert opened(empty, **kind).size == (SIDE, SIDE)


def made_sheet(count: int, worse: bool = False, **kind: Any) -> Image.Image:
    walk = clip(**{"layout": "penn13", **kind})
    sample = drawn.sample(walk, layout=kind.get("layout", "penn13"))
    requests = [ViewRequest(sample, make_recipe({}).draw(0, sample, view)) for view in range(count)]
    if worse:
        config = {"name": "joint_drop", "p": 1.0}
        one = named.corruption("stillroom.modalities.skeletons", config, "test")
        assert one is not None
        requests = [one.request(request, 0) for request in requests]
    shares = np.random.default_rng(1).dirichlet(np.ones(len(CLASSES)), count)
    return sheet({sample: walk}, requests, spec(**kind), shares, CLASSES, "clip", "net, cache 0123")  # type: ignore[arg-type]


def test_a_sheet_has_a_card_for_each_view_up_to_a_bound() -> None:
    one, more = made_sheet(1), made_sheet(6)
    assert one.width == more.width and more.height > 4 * 130 + one.height
    for number in range(6):
        assert len(inked(more, VIEWS[number], 0)) > 100
    assert not len(inked(one, VIEWS[1], 0))


@pytest.mark.slow
def test_many_views_take_two_columns() -> None:
    sizes = [made_sheet(count).size for count in (8, 9, SHEET_VIEWS, SHEET_VIEWS + 9)]
    assert sizes[1][0] > 1.9 * sizes[0][0] and sizes[1][1] < sizes[0][1] and sizes[2] == sizes[3]


def test_a_sheet_shows_views_as_they_were_made_worse() -> None:
    plain, worse = made_sheet(2), made_sheet(2, worse=True)
    assert plain.size == worse.size
    cards = slice(plain.height // 2, None)
    count = [len(inked(one.crop((0, cards.start, 600, one.height)), RIGHT, 40)) for one in (plain, worse)]
    assert count[0] > 300 and count[0] > 4 * count[1]


def test_sheets_of_other_layouts_can_be_drawn() -> None:
    assert made_sheet(1, persons=2, dims=3, layout="ntu25").height > 200
    assert made_sheet(1, frames=1).height > 200


def test_a_view_is_told_in_words() -> None:
    assert told(View(), 60, 2) == "frames 1 to 60 of 60"
    view = View(0.5, 0.25, 1, (0.1, 0.2, -0.1), 1.25, (0.1, 0.0))
    words = "frames 21 to 31 of 41 · mirrored · turned {} · scaled 1.25 · sheared 0.10, 0.00"
    assert told(view, 41, 2) == words.format("-6°")
    assert told(view, 41, 3) == words.format("6°, 11°, -6°")


def test_somebody_alone_in_an_empty_window() -> None:
    made = clip(missing=0.0)
    lose(made, np.s_[:, :, 1:])
    still = render(made[:1], View(), spec(4))
    assert window_of(still).half == 1 and opened(still).size == (SIDE, SIDE)
