"""The contact sheet shows every view, what it was cut from, and the teacher's answers."""

import numpy as np
import pytest
from PIL import Image

from stillroom.modalities.base import SHEET_VIEWS
from stillroom.modalities.cards import VIEWS
from stillroom.modalities.images.fields import View
from stillroom.modalities.images.render import render
from stillroom.modalities.images.sheet import contact_sheet

CLASSES = ["a_very_long_name_of_a_class_that_cannot_possibly_fit_on_one_line", *"bcdefg"]


def sheet(count: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    views = [View((i % 9, 2, size[0] - 10, size[1] - 1), i % 2) for i in range(count)]
    shares = random.dirichlet(np.ones(len(CLASSES)), count)
    squares = [render(image, view, 64) for view in views]
    return contact_sheet(image, views, squares, shares, CLASSES, 0, "key_001", "net, cache 0123")


@pytest.mark.slow
def test_more_views_take_more_rows_up_to_a_bound() -> None:
    heights = [sheet(count).height for count in (4, 7, 8, 9, SHEET_VIEWS, SHEET_VIEWS + 30)]
    assert heights[0] < heights[1] == heights[2] < heights[3] < heights[4] == heights[5]
    assert sheet(1).width == sheet(6).width < sheet(4).width == sheet(30).width


def test_a_view_is_drawn_as_the_teacher_saw_it() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = (255, 0, 0)
    image[:, 30:] = (0, 0, 255)
    shares = np.full((2, 7), 1 / 7)
    views = [View((0, 0, 60, 40), 0), View((0, 0, 60, 40), 1)]
    squares = [render(image, view, 32) for view in views]
    found = np.asarray(contact_sheet(image, views, squares, shares, CLASSES, 1, "k", "s")).astype(int)
    red = np.argwhere((found == (255, 0, 0)).all(axis=2))
    blue = np.argwhere((found == (0, 0, 255)).all(axis=2))
    below = found.shape[0] - 330  # the row of cards
    cards = red[red[:, 0] > below], blue[blue[:, 0] > below]
    # plain: red on the left; mirrored, in the second card: red on the right
    assert cards[0][:, 1].min() < cards[1][:, 1].min() and cards[0][:, 1].max() > cards[1][:, 1].max()
    assert render(image, views[1], 8)[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (3, 3)])
def test_odd_pictures_and_views_of_a_pixel_can_be_drawn(size: tuple[int, int]) -> None:
    image = np.zeros((size[1], size[0], 3), np.uint8)
    views = [View((0, 0, *size)), View((size[0] - 1, size[1] - 1, *size))]
    squares = [render(image, view, 16) for view in views]
    made = contact_sheet(image, views, squares, np.full((2, 2), 0.5), ["x", "y"], 1, "k", "s")
    assert made.height < 1500
    colours = {tuple(colour) for colour in np.asarray(made).reshape(-1, 3)}
    assert tuple(int(VIEWS[1][i : i + 2], 16) for i in (1, 3, 5)) in colours
