"""Views: pure functions of (recipe, seed, key, view), and the same parameters give the same pixels."""

import hashlib
import json
import os
import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from stillroom.draw import permutation, uniforms, words
from stillroom.errors import DataError, StillroomError
from stillroom.machine import room
from stillroom.modalities.base import ViewRequest
from stillroom.modalities.images import MODALITY
from stillroom.modalities.images.fields import NEUTRAL, View, centre, pack, unpack
from stillroom.modalities.images.pixels import Pixels, decode
from stillroom.modalities.images.policies import make_recipe
from stillroom.modalities.images.render import recolour, render, to_input
from stillroom.modalities.images.samples import Sample
from stillroom.samples import Samples
from stillroom.views.loader import batches

RECIPE = {
    "name": "crop",
    "scale": [0.35, 1.0],
    "ratio": [0.75, 1.3333],
    "flip": 0.5,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
}
sides = st.integers(1, 3000)


def sample(key: str, size: tuple[int, int], box: tuple[int, int, int, int] | None = None) -> Sample:
    return Sample(key, f"{key}.png", "train", 0, box, size, "")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def philox(key: list[int], counter: list[int]) -> list[int]:
    """Philox4x64-10 as its authors state it (Salmon et al. 2011), in whole numbers."""
    mask = 2**64 - 1
    for turn in range(10):
        if turn:
            key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
        first, second = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [
            second >> 64 ^ counter[1] ^ key[0],
            second & mask,
            first >> 64 ^ counter[3] ^ key[1],
            first & mask,
        ]
    return counter


def test_the_random_stream_is_the_published_one() -> None:
    """Another stream would silently draw other views than old caches hold."""
    name = int.from_bytes(hashlib.blake2b(b"applauding_001", digest_size=8).digest(), "little")
    expected = philox([7, name], [1, 3, 0, 0]) + philox([7, name], [2, 3, 0, 0])
    assert words(7, "applauding_001", 3, 8).tolist() == expected


def test_a_draw_is_the_same_however_many_are_drawn_and_in_another_process() -> None:
    code = "from stillroom.draw import words; print(words(1, 'k', 2, 3).tolist())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(other) == words(1, "k", 2, 3).tolist() == words(1, "k", 2, 9).tolist()[:3]


def test_seed_key_and_view_each_change_the_draw() -> None:
    drawn = {
        tuple(words(*arguments, 2).tolist())
        for arguments in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    }
    assert len(drawn) == 4


def test_uniforms_are_uniform() -> None:
    values = np.concatenate([uniforms(0, f"key{i}", i % 7, 10) for i in range(2000)])
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    assert (abs(counts - 1000) < 160).all()  # five standard deviations


def test_no_global_generator_is_read_or_moved() -> None:
    recipe = make_recipe(RECIPE)
    image = picture(40, 60)

    def all_of_it() -> bytes:
        view = recipe.draw(3, sample("k", (60, 40)), 1)
        return render(image, view, 32).tobytes() + permutation(3, "order", 0, 50).tobytes()

    def states() -> tuple:
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = states()
    first = all_of_it()
    assert states() == before
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    assert all_of_it() == first


@settings(max_examples=200, deadline=None)
@given(width=sides, height=sides, seed=st.integers(0, 2**63 - 1), view=st.integers(0, 2**33))
def test_every_box_lies_in_its_image(width: int, height: int, seed: int, view: int) -> None:
    drawn = make_recipe(RECIPE).draw(seed, sample("key", (width, height)), view)
    x0, y0, x1, y1 = drawn.box
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    assert drawn.flip in (0, 1) and all(0 <= level <= 255 for level in drawn.colour)


def test_the_recipe_draws_what_its_numbers_say() -> None:
    views = [make_recipe(RECIPE).draw(0, sample(f"k{i}", (200, 150)), 0) for i in range(4000)]
    areas = [(v.box[2] - v.box[0]) * (v.box[3] - v.box[1]) / 30000 for v in views]
    assert min(areas) > 0.3 and 0.62 < np.mean(areas) < 0.69
    assert 0.46 < np.mean([v.flip for v in views]) < 0.54
    assert abs(np.mean([v.colour for v in views]) - 128) < 1.5
    levels = np.array([v.colour for v in views])
    assert levels.min() == pytest.approx(128 * 0.7, abs=1) and levels.max() == pytest.approx(128 * 1.3, abs=1)


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 48))
def test_any_image_shape_renders(width: int, height: int, size: int) -> None:
    image = picture(height, width)
    view = make_recipe(RECIPE).draw(0, sample("k", (width, height)), 0)
    assert render(image, view, size).shape == (size, size, 3)
    assert render(image, centre((width, height)), size).shape == (size, size, 3)


def test_a_flipped_view_is_the_mirror_of_the_unflipped_one() -> None:
    image = picture(50, 70)
    view = View((5, 6, 60, 40), 0, (140, 120, 100))
    mirrored = View(view.box, 1, view.colour)
    assert (render(image, mirrored, 32) == render(image, view, 32)[:, ::-1]).all()


def test_a_box_outside_its_image_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        render(picture(10, 10), View((0, 0, 11, 10)), 8)


@pytest.mark.parametrize("colour", [(255, 255, 255), (200, 90, 10), (1, 255, 255), (90, 160, 140), NEUTRAL])
def test_colour_is_exact_arithmetic(colour: tuple[int, int, int]) -> None:
    """Against rational numbers: brightness, contrast about 128, saturation about Rec. 601 luma, in 1/1024."""
    pixels = picture(10, 10, 4)
    b, c, s = colour
    luma = [77, 150, 29]
    half = Fraction(1, 2)
    for found, pixel in zip(
        recolour(pixels, colour).reshape(-1, 3), pixels.reshape(-1, 3).tolist(), strict=True
    ):
        for i in range(3):
            value = Fraction(128 - c)
            for j in range(3):
                factor = Fraction(b * c * (256 * s * (i == j) + (128 - s) * luma[j]), 2**29)
                value += Fraction((factor * 1024 + half).__floor__(), 1024) * pixel[j]
            assert found[i] == min(255, max(0, (value + half).__floor__()))


def test_neutral_colour_changes_nothing() -> None:
    pixels = picture(16, 16)
    assert (recolour(pixels, NEUTRAL) == pixels).all()


def exactly(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """`recolour` in whole numbers."""
    b, c, s = colour
    luma = np.array([[77], [150], [29]])
    matrix = ((b * c * (256 * s * np.eye(3, dtype=np.int64) + (128 - s) * luma) >> 18) + 1) >> 1
    sums = pixels.astype(np.int64) @ matrix + (128 - c) * 1024
    return ((sums + 512) >> 10).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 33), (90, 90), (224, 224)])
def test_colour_is_the_same_in_any_shape(size: tuple[int, int]) -> None:
    """Squares are recoloured by vector instructions, what is left over of them one by one."""
    pixels = picture(*size, 5)
    assert (recolour(pixels, (150, 100, 170)) == exactly(pixels, (150, 100, 170))).all()


@pytest.mark.parametrize("saturation", [0, 1, 127, 128, 129, 255])
def test_colour_is_exact_for_all_factors(saturation: int) -> None:
    """Every brightness with every contrast, on pixels of which many end between two numbers."""
    rng = np.random.default_rng(saturation)
    pixels = rng.integers(0, 256, (3, 13, 3), np.uint8)
    for brightness in range(256):
        for contrast in range(brightness % 4, 256, 4):
            colour = (brightness, contrast, saturation)
            assert (recolour(pixels, colour) == exactly(pixels, colour)).all(), colour


@given(
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    pixels=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
)
def test_colour_is_exact(colour: tuple[int, int, int], pixels: np.ndarray) -> None:
    assert (recolour(pixels, colour) == exactly(pixels, colour)).all()


SMOOTH = np.asarray(Image.fromarray(picture(12, 16, 6)).resize((200, 150), Image.Resampling.BICUBIC))


@settings(max_examples=30, deadline=None)
@given(width=st.integers(2, 200), height=st.integers(2, 150), size=st.integers(8, 96))
def test_the_resize_is_pillows_antialiased_bicubic_but_for_rounding(
    width: int, height: int, size: int
) -> None:
    crop = Image.fromarray(SMOOTH[:height, :width]).resize((size, size), Image.Resampling.BICUBIC)
    found = render(SMOOTH, View((0, 0, width, height)), size)
    assert abs(found.astype(int) - np.asarray(crop)).max() <= 3


@pytest.mark.slow
def test_pixels_are_the_same_on_processors_of_several_ages() -> None:
    """torch's kernels for AVX-512, for AVX2 and for neither: a team's machines are not alike."""
    code = """
import hashlib, sys
import numpy as np
from stillroom.modalities.images.fields import View
from stillroom.modalities.images.render import render
image = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
digest = hashlib.sha256()
for box in [(0, 0, 200, 150), (3, 5, 60, 149), (10, 20, 17, 22), (50, 50, 146, 146)]:
    for size in (32, 96, 224):
        digest.update(render(image, View(box, 1, (140, 120, 100)), size).tobytes())
print(digest.hexdigest())
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"ATEN_CPU_CAPABILITY": kind},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for kind in ("default", "avx2", "avx512")
    }
    assert len(found) == 1


def test_parameters_survive_packing_in_twelve_bytes() -> None:
    views = [make_recipe(RECIPE).draw(0, sample(f"k{i}", (640, 480)), 0) for i in range(20)]
    arrays = pack(views, ["box", "flip", "colour"])
    assert [unpack(arrays, i) for i in range(20)] == views
    assert sum(values.nbytes for values in arrays.values()) == 20 * 12


def test_rendered_pixels_are_the_golden_ones() -> None:
    """A changed torch (or a changed renderer) is noticed here, not in a student's accuracy."""
    ramp = np.add.outer(np.arange(90) * 2, np.arange(120)).astype(np.uint8)
    image = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=2)
    view = make_recipe(RECIPE).draw(11, sample("golden", (120, 90)), 5)
    digest = hashlib.sha256(render(image, view, 64).tobytes()).hexdigest()
    assert digest[:32] == GOLDEN


GOLDEN = "78a3ab942bf48cce561bb96162d9e367"


def saved(image: Image.Image, file: Path, **options: object) -> np.ndarray:
    image.save(file, **options)
    return decode(file.read_bytes())


def test_every_kind_of_file_decodes_to_rgb(tmp_path: Path) -> None:
    grey = Image.fromarray(picture(9, 7)[..., 0])
    assert saved(grey, tmp_path / "grey.jpg").shape == (9, 7, 3)
    alpha = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (saved(alpha, tmp_path / "alpha.png") == 0).all()
    palette = Image.fromarray(picture(9, 7)).quantize(8)
    assert saved(palette, tmp_path / "palette.png").shape == (9, 7, 3)
    turned = Image.fromarray(picture(9, 7))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert saved(turned, tmp_path / "turned.jpg", exif=exif).shape == (7, 9, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Samples:
    rows = []
    for i in range(7):
        file = tmp_path / f"s{i}.png"
        Image.fromarray(picture(30 + i, 40, i)).save(file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append(Sample(f"s{i}", file.name, "train", 0, None, (40, 30 + i), digest))
    return Samples("folder", ("a",), tuple(rows), tmp_path)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("budget", [0, 2**30])
def test_workers_batches_and_memory_change_no_pixel(folder: Samples, workers: int, budget: int) -> None:
    recipe = make_recipe(RECIPE)
    shots = [ViewRequest(row, recipe.draw(0, row, 1)) for row in folder.rows]
    expected = np.stack([render(Pixels(folder)[shot.sample], shot.parameters, 24) for shot in shots])
    jobs = [shots[i : i + 3] for i in range(0, 7, 3)]
    before = torch.get_rng_state()
    found = torch.cat(list(batches(MODALITY, Pixels(folder, budget), jobs, {"size": 24}, workers))).numpy()
    assert (found == expected).all()
    assert (torch.get_rng_state() == before).all()


@pytest.mark.parametrize(
    ("error", "raised", "told"),
    [
        (DataError("gone", "no such file", "put it back"), DataError, "put it back"),
        (MemoryError(), StillroomError, "fewer processes"),
        (ZeroDivisionError("in a policy of one's own"), RuntimeError, "in a policy of one's own"),
    ],
)
def test_what_a_worker_raises_its_parent_raises(
    folder: Samples, error: Exception, raised: type[Exception], told: str
) -> None:
    class Failing(Pixels):
        def __getitem__(self, row: Sample) -> np.ndarray:
            raise error

    jobs = [[ViewRequest(row, make_recipe(RECIPE).draw(0, row, 1))] for row in folder.rows]
    with pytest.raises(raised) as found:
        list(batches(MODALITY, Failing(folder, budget=0), jobs, {"size": 24}, 2))
    assert type(found.value) is raised and told in str(found.value)


def test_what_may_be_kept_is_shared_with_the_processes_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = room()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert alone >= 2**26 and room() == alone // 4


def test_a_replaced_image_is_refused_by_name(folder: Samples) -> None:
    Image.fromarray(picture(31, 40, 99)).save(folder.root / "s1.png")
    with pytest.raises(DataError, match="the image of s1 was replaced"):
        Pixels(folder)[folder.rows[1]]
    (folder.root / "s2.png").unlink()
    with pytest.raises(DataError, match="the image of s2 cannot be read"):
        Pixels(folder)[folder.rows[2]]


def test_an_input_is_its_formula_bit_for_bit() -> None:
    """Every level of every channel, as caches and students have been made with it: (value - mean) / std."""
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(2, 16, 16, 3)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = to_input(levels, mean, std)
    expected = (levels.float() - torch.tensor(mean) * 255) / (torch.tensor(std) * 255)
    assert torch.equal(found, expected.permute(0, 3, 1, 2)) and found.is_contiguous()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 1000), count=st.integers(1, 300))
def test_an_order_is_a_permutation(seed: int, epoch: int, count: int) -> None:
    assert sorted(permutation(seed, "order", epoch, count).tolist()) == list(range(count))
