"""Every policy: the teacher's pixels are the student's, whatever lies between them."""

import hashlib
import json
import multiprocessing
import pickle
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from stillroom.cache.read.backends import open_store
from stillroom.cache.read.store import Store
from stillroom.cache.write.publish import publish
from stillroom.cache.write.staging import Staging
from stillroom.distributed import Ranks
from stillroom.errors import CacheError, ParamsError
from stillroom.modalities.base import Listed
from stillroom.modalities.images import MODALITY
from stillroom.modalities.images.fields import SHARES, View, pack, unpack
from stillroom.modalities.images.mix import blend, mixed
from stillroom.modalities.images.models.create import Loaded, Model
from stillroom.modalities.images.pixels import Pixels
from stillroom.modalities.images.policies import make_recipe, names
from stillroom.modalities.images.render import render, to_input
from stillroom.modalities.images.samples import Sample
from stillroom.modalities.images.stored import StoredViews as Stored
from stillroom.progress import Progress
from stillroom.provenance import teacher as teachers
from stillroom.samples import Samples
from stillroom.teaching.generate import array_specs, divide, generate
from stillroom.training.batches import CachedBatches, FreshBatches, Partition, mixed_labels
from stillroom.views.loader import AHEAD, Renderers, batches
from stillroom.views.planes import drawn
from tests.conftest import copy_library

ROOT = Path(__file__).parents[3]
CLASSES, SIZE, VIEWS = 5, 32, 2
SPEC = {"size": SIZE}
POLICIES: dict[str, dict] = {
    "centre": {"name": "centre", "share": 0.9},
    "crop": {"name": "crop"},
    "person": {"name": "crop", "person": 0.6, "scale": [0.05, 0.5]},
    "three_augment": {"name": "three_augment"},
    "strong": {"name": "strong", "erase": 0.8},
    "mixup": {"name": "crop", "mixup": 0.8},
    "cutmix": {"name": "three_augment", "cutmix": 1.0, "mixup_prob": 0.7},
    "both": {"name": "strong", "mixup": 0.2, "cutmix": 1.0, "mixup_switch_prob": 0.4},
}
# sha256 over the first views of the pictures below: another Pillow, torch or generator shows here
GOLDEN = {
    "centre": "e98a9196137e78e4b22afab927946b21",
    "crop": "9b17781d608f9f2be06da6fc8f3e7c1f",
    "person": "4411de3afb89c708547d18905da76a2d",
    "three_augment": "2a1293ff003ca4ef846787e1f56ed92c",
    "strong": "44aa2a982e341ee814476c075c5bcd6e",
    "mixup": "e6958470d0ef08b3440b706d3fb607dc",
    "cutmix": "32c5a4ccd4fa786183c8f00763f5ac0e",
    "both": "0bb29e3d103fcb556930a83e5f1da9f1",
}
every_policy = pytest.mark.parametrize("policy", POLICIES)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Pictures of many shapes, some with a person's box, one of a single column of pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for i in range(21):
        width, height = [(50 - i, 30 + i), (90, 17), (1, 40), (64, 64)][i % 4]
        ramp = np.add.outer(np.arange(height) * 3 + i * 11, np.arange(width) * 2).astype(np.uint8)
        pixels = np.stack([ramp, ramp[::-1], 255 - ramp[:, ::-1]], axis=2)
        Image.fromarray(pixels).save(folder / f"s{i:02}.png")
        digest = hashlib.sha256((folder / f"s{i:02}.png").read_bytes()).hexdigest()
        box = (width // 4, height // 3, max(width // 4 + 1, width // 2), height) if i % 3 else None
        rows.append(Sample(f"s{i:02}", f"s{i:02}.png", "train", i % CLASSES, box, (width, height), digest))
    return Samples("folder", tuple("abcde"), tuple(rows), folder)


class Teacher(torch.nn.Module):
    """Its logits give its pixels away, and it remembers what it has seen."""

    def __init__(self) -> None:
        super().__init__()
        random_bits = torch.Generator().manual_seed(0)
        weight = torch.randn(3 * SIZE * SIZE, CLASSES, generator=random_bits) / 50
        self.weight = torch.nn.Parameter(weight)
        self.seen: set[str] = set()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen |= {hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images}
        return images.flatten(1) @ self.weight


def cached(samples: Samples, folder: Path, recipe: dict, world: int = 1) -> tuple[Store, Teacher]:
    """A cache of `recipe`, made as so many processes would make it, one after the other."""
    policy, net = make_recipe(recipe), Teacher()
    model = Model(net, "teacher", {}, SIZE, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), Loaded())
    identity = {
        "views": {"recipe": policy.describe(), "seed": 3},
        "outputs": {"logits": {"encoding": "float16", "shape": [CLASSES]}},
    }
    keys = [row.key for row in samples.rows]
    with Staging(
        folder / "staging", identity, array_specs(identity, MODALITY), keys, samples.labels(), 8
    ) as staging:
        blocks = divide(staging, VIEWS, Ranks(), Progress())
        for rank in reversed(range(world)):
            generate(
                teachers.Teacher([model]),
                samples,
                policy,
                3,
                staging,
                blocks[rank::world],
                5,
                "none",
                Progress(),
            )
        publish([staging], folder / "cache", "zarr", VIEWS, {}, [])
    return open_store(folder / "cache"), net


def seen(pixels: torch.Tensor) -> list[str]:
    images = to_input(pixels, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    return [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images]


def disturb() -> None:
    """What other code does to the generators that everybody shares."""
    random.seed(random.randrange(10**6)), np.random.seed(np.random.randint(10**6))
    torch.manual_seed(int(torch.randint(10**6, ())))


@every_policy
def test_the_student_sees_bit_for_bit_what_the_teacher_saw(
    samples: Samples, tmp_path: Path, policy: str
) -> None:
    """And meets the logits made from it; from any epoch on, for any batch size, cached by 1 and 2 ranks."""
    recipe = POLICIES[policy]
    store, teacher = cached(samples, tmp_path / "one", recipe)
    other, _ = cached(samples, tmp_path / "two", recipe, world=2)
    assert other.manifest.blocks == store.manifest.blocks
    shown: set[str] = set()
    for batch_size, epochs in ((21, (0, 1)), (4, (3, 2))):
        source = CachedBatches(samples, store, SPEC, batch_size, 9, ["logits"])
        for epoch in epochs:
            disturb()
            for batch in source(epoch):
                shown |= set(seen(batch.inputs))
                again = teacher(to_input(batch.inputs, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)))
                assert torch.allclose(again, batch.targets["logits"], rtol=2**-10, atol=2e-3)
        assert shown == teacher.seen  # all that the teacher saw, and nothing else


@every_policy
def test_ranks_and_parts_divide_the_same_batches(samples: Samples, tmp_path: Path, policy: str) -> None:
    store, _ = cached(samples, tmp_path, POLICIES[policy])
    whole = list(CachedBatches(samples, store, SPEC, 10, 9, ["logits"])(1))
    for parts, world in ((1, 2), (2, 1), (2, 3)):
        cut = [
            list(
                CachedBatches(
                    samples, store, SPEC, 10, 9, ["logits"], partition=Partition(parts, rank, world)
                )(1)
            )
            for rank in range(world)
        ]
        step, rows, pixels = 0, [], []
        for pieces in zip(*cut, strict=True):
            pixels += [piece.inputs for piece in pieces]
            rows.append(pieces[0].labels)
            assert all(torch.equal(piece.labels, pieces[0].labels) for piece in pieces)
            if pieces[0].last:
                assert torch.equal(torch.cat(pixels), whole[step].inputs)
                assert torch.equal(torch.cat(rows), whole[step].labels)
                step, rows, pixels = step + 1, [], []
        assert step == len(whole) == 3
    late = list(CachedBatches(samples, store, SPEC, 10, 9)(1, start=2))
    assert len(late) == 1 and torch.equal(late[0].inputs, whole[2].inputs)


# A spawned worker imports torch
WORKERS = [(1, "fork"), (4, "fork"), pytest.param(2, "spawn", marks=pytest.mark.slow)]


@pytest.mark.parametrize(("workers", "method"), WORKERS)
def test_workers_change_no_pixel(samples: Samples, workers: int, method: str) -> None:
    shots = drawn(make_recipe(POLICIES["both"]), 3, samples, samples.rows, 1)
    expected = torch.from_numpy(np.stack([MODALITY.render(Pixels(samples), shot, SPEC) for shot in shots]))
    jobs = [shots[i : i + 4] for i in range(0, len(shots), 4)]
    before = random.getstate(), torch.get_rng_state()
    found = batches(MODALITY, Pixels(samples), jobs, SPEC, workers, method)
    disturb()
    assert torch.equal(torch.cat(list(found)), expected)
    random.setstate(before[0])
    assert torch.equal(torch.cat(list(batches(MODALITY, Pixels(samples), jobs, SPEC, 0))), expected)


@every_policy
def test_no_global_generator_is_read_or_moved(samples: Samples, policy: str) -> None:
    recipe = make_recipe(POLICIES[policy])

    def everything() -> str:
        digest = hashlib.sha256()
        for shot in drawn(recipe, 3, samples, samples.rows, 4):
            digest.update(MODALITY.render(Pixels(samples), shot, SPEC).tobytes())
        return digest.hexdigest()

    def states() -> tuple:
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = states()
    first = everything()
    assert states() == before
    disturb()
    assert everything() == first


@every_policy
def test_pixels_are_the_golden_ones(samples: Samples, policy: str) -> None:
    digest = hashlib.sha256()
    for shot in drawn(make_recipe(POLICIES[policy]), 3, samples, samples.rows, 0):
        digest.update(MODALITY.render(Pixels(samples), shot, SPEC).tobytes())
    assert policy in GOLDEN, f"write its pixels down, once you have looked at them: {digest.hexdigest()[:32]}"
    assert digest.hexdigest()[:32] == GOLDEN[policy]


ELSEWHERE = """
import json, pickle, sys
from stillroom.modalities.images.policies import make_recipe
from stillroom.views.planes import drawn
samples, policies = pickle.loads(sys.stdin.buffer.read())
recipes = {name: make_recipe(policy) for name, policy in policies.items()}
print(json.dumps({name: repr(drawn(recipes[name], 3, samples, samples.rows, 7)) for name in recipes}))
"""


@pytest.fixture(scope="module")
def drawn_elsewhere(samples: Samples) -> dict[str, str]:
    """The views of each policy as another process draws them."""
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        input=pickle.dumps((samples, POLICIES)),
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    return json.loads(done.stdout)


@every_policy
def test_a_view_depends_on_seed_key_and_number_alone(
    samples: Samples, policy: str, drawn_elsewhere: dict[str, str]
) -> None:
    """Drawn alone, in any order or among others: the same; a single one more does not change the rest."""
    recipe, rows = make_recipe(POLICIES[policy]), samples.rows
    together = drawn(recipe, 3, samples, rows, 7)
    alone = [drawn(recipe, 3, samples, [row], 7)[0] for row in reversed(rows)][::-1]
    assert alone == together
    assert drawn_elsewhere[policy] == repr(together)


@every_policy
def test_what_is_kept_is_all_that_a_view_is(samples: Samples, policy: str) -> None:
    recipe = make_recipe(POLICIES[policy])
    shots = drawn(recipe, 3, samples, samples.rows, 2)
    arrays = pack([shot.parameters for shot in shots], list(recipe.fields()))
    assert [unpack(arrays, i) for i in range(len(shots))] == [shot.parameters for shot in shots]
    stored = Stored(arrays, samples)
    assert [stored[i] for i in range(len(shots))] == shots
    assert make_recipe(recipe.describe()) == recipe


def test_bytes_a_view_are_those_that_a_policy_draws() -> None:
    def size(recipe: dict) -> int:
        kinds = make_recipe(recipe).fields().values()
        return sum(np.dtype(dtype).itemsize * int(np.prod(shape)) for dtype, shape in kinds)

    assert [size(POLICIES[name]) for name in ("centre", "crop", "three_augment", "strong", "mixup")] == [
        8,
        12,
        14,
        21,
        22,
    ]


def test_an_identity_of_before_stays_the_same() -> None:
    """Parameters that came later are left out while they have their defaults: old caches stay theirs."""
    assert make_recipe({"name": "crop"}).describe() == {
        "name": "crop",
        "scale": [0.35, 1.0],
        "ratio": [0.75, 1.3333],
        "flip": 0.5,
        "brightness": 0.3,
        "contrast": 0.3,
        "saturation": 0.3,
    }
    assert make_recipe({"name": "crop", "person": 0.5}).describe()["person"] == 0.5


sides = st.integers(1, 400)


@settings(max_examples=150, deadline=None)
@given(
    policy=st.sampled_from(sorted(POLICIES)),
    width=sides,
    height=sides,
    size=st.integers(1, 48),
    view=st.integers(0, 2**33),
    kind=st.sampled_from(["RGB", "L", "RGBA"]),
)
def test_any_image_renders_under_any_policy(
    policy: str, width: int, height: int, size: int, view: int, kind: str
) -> None:
    row = Sample("k", "k.png", "train", 0, (width // 3, height // 3, width, height), (width, height), "")
    other = Sample("l", "l.png", "train", 1, None, (height, width), "")
    table = Samples("folder", ("a", "b"), (row, other), Path())
    recipe = make_recipe(POLICIES[policy])
    [shot] = drawn(recipe, 1, table, [row], view)
    image = np.asarray(Image.new(kind, (width, height), 77 if kind == "L" else None).convert("RGB"))
    x0, y0, x1, y1 = shot.parameters.box
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    own = render(image, shot.parameters, size)
    assert own.shape == (size, size, 3) and own.dtype == np.uint8
    if shot.partner:
        assert blend(own, own, shot.parameters).shape == own.shape
        assert (blend(own, own, shot.parameters) == own).all()


@settings(max_examples=300, deadline=None)
@given(
    width=st.integers(1, 500),
    height=st.integers(1, 500),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    person=st.floats(0.05, 1.0),
    view=st.integers(0, 1000),
)
def test_a_share_of_the_person_lies_inside_the_crop(
    width: int, height: int, corners: tuple, person: float, view: int
) -> None:
    x0, x1 = sorted((int(corners[0] * (width - 1)), int(corners[1] * (width - 1)) + 1))
    y0, y1 = sorted((int(corners[2] * (height - 1)), int(corners[3] * (height - 1)) + 1))
    if x0 == x1 or y0 == y1:
        return
    row = Sample("k", "k.png", "train", 0, (x0, y0, x1, y1), (width, height), "")
    recipe = make_recipe({"name": "crop", "person": person, "scale": [0.02, 1.0]})
    box = recipe.draw(0, row, view).box
    inside = max(0, min(x1, box[2]) - max(x0, box[0])) * max(0, min(y1, box[3]) - max(y0, box[1]))
    assert 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height
    assert inside >= person * (x1 - x0) * (y1 - y0) * (1 - 1e-9)


def test_without_the_option_a_crop_may_miss_the_person() -> None:
    """The property above says something: without `person` it does not hold."""
    row = Sample("k", "k.png", "train", 0, (0, 0, 20, 20), (200, 200), "")
    recipe = make_recipe({"name": "crop", "scale": [0.05, 0.2]})
    assert sum(recipe.draw(0, row, view).box[0] >= 20 for view in range(50)) > 10


def table_of(count: int) -> Samples:
    rows = tuple(Sample(f"k{i:04}", "x", "train", i % 4, None, (100, 80), "") for i in range(count))
    return Samples("folder", tuple("abcd"), rows, Path())


def test_three_augment_takes_each_of_its_three_as_often() -> None:
    table = table_of(3000)
    recipe = make_recipe({"name": "three_augment"})
    filters = [recipe.draw(0, row, 0).filter for row in table.rows]
    counts = np.bincount([which for which, _ in filters], minlength=4)
    assert counts[0] == 0 and (abs(counts[1:] - 1000) < 130).all()
    radii = [level / 64 for which, level in filters if which == 3]
    assert min(radii) >= 0.09 and max(radii) <= 2.01 and abs(np.mean(radii) - 1.05) < 0.06


def test_erasing_has_its_chance_and_area() -> None:
    table = table_of(4000)
    recipe = make_recipe({"name": "strong", "erase": 0.25})
    boxes = [view.erase for row in table.rows if any((view := recipe.draw(0, row, 0)).erase)]
    assert abs(len(boxes) / 4000 - 0.25) < 0.035
    areas = [(x1 - x0) * (y1 - y0) / 255**2 for x0, y0, x1, y1 in boxes]
    assert min(areas) > 0.015 and max(areas) < 0.35 and abs(np.mean(areas) - 0.17) < 0.02


@pytest.mark.parametrize(("size", "radius"), [(224, 2.0), (112, 1.0), (448, 4.0)])
def test_a_blur_is_the_same_share_of_the_side_at_every_size(size: int, radius: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    found = render(image, View((0, 0, size, size), filter=(3, 128)), size)
    expected = Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius))
    assert (found == np.asarray(expected)).all()


def test_filters_do_what_they_are_called() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    plain = render(image, View((0, 0, 40, 40)), 40)
    assert (plain == image).all()
    grey = render(image, View((0, 0, 40, 40), filter=(1, 0)), 40)
    assert (grey == grey[..., :1]).all()
    luma = (image @ np.array([0.299, 0.587, 0.114])).round()
    assert abs(grey[..., 0].astype(int) - luma).max() <= 2
    solarised = render(image, View((0, 0, 40, 40), filter=(2, 0)), 40)
    assert (solarised == np.where(image < 128, image, 255 - image)).all()
    blurred = render(image, View((0, 0, 40, 40), filter=(3, 128)), 40)
    assert blurred.std() < plain.std() * 0.98 and abs(blurred.mean() - plain.mean()) < 2
    erased = render(image, View((0, 0, 40, 40), erase=(0, 0, 127, 255), paint=(9, 8, 7)), 40)
    assert (erased[:, :19] == (9, 8, 7)).all() and (erased[:, 21:] == image[:, 21:]).all()


@pytest.mark.parametrize("size", [32, 64, 96, 128, 224])
def test_a_cut_share_is_that_of_the_pixels(size: int) -> None:
    """After what stands over the border is cut off; at every size that a family takes."""
    table = table_of(300)
    recipe = make_recipe({"name": "crop", "cutmix": 1.0})
    own, partner = np.zeros((size, size, 3), np.uint8), np.ones((size, size, 3), np.uint8)
    shares = []
    for row in table.rows:
        view = mixed(recipe, 0, table, row, 0, recipe.draw(0, row, 0))
        found = blend(own, partner, view)[..., 0].mean() if view.mix_share else 0.0
        assert found == view.mix_share / SHARES
        shares.append(found)
    assert 0.2 < np.mean(shares) < 0.5 and max(shares) < 1


def test_a_blend_has_its_share_and_its_rounding() -> None:
    own, partner = np.full((2, 2, 3), 200, np.uint8), np.full((2, 2, 3), 100, np.uint8)
    for share in (1, 16384, 32768, 65535):
        found = blend(own, partner, View((0, 0, 1, 1), mix_partner=1, mix_share=share))
        assert found[0, 0, 0] == int(200 * (1 - share / 65536) + 100 * share / 65536 + 0.5)


def test_mixup_weights_are_of_their_beta() -> None:
    from scipy import stats

    table = table_of(2000)
    recipe = make_recipe({"name": "crop", "mixup": 0.8})
    shares = [
        mixed(recipe, 0, table, row, 0, recipe.draw(0, row, 0)).mix_share / SHARES for row in table.rows
    ]
    assert stats.kstest(shares, stats.beta(0.8, 0.8).cdf).pvalue > 1e-3
    partners = [mixed(recipe, 0, table, row, 0, recipe.draw(0, row, 0)).mix_partner for row in table.rows]
    assert all(partner != number for number, partner in enumerate(partners))
    assert len(set(partners)) > 1100


def test_labels_are_mixed_as_the_pixels_are(samples: Samples, tmp_path: Path) -> None:
    store, _ = cached(samples, tmp_path, POLICIES["both"])
    source = CachedBatches(samples, store, SPEC, 21, 9, ["logits"])
    [batch] = list(source(0))
    assert batch.labels.shape == (21, CLASSES)
    assert torch.allclose(batch.labels.sum(dim=1), torch.ones(21))
    fields, rows = store.parameters(0), next(source.order(0))
    for place, row in enumerate(rows):
        expected = np.zeros(CLASSES)
        share = fields["mix_share"][row] / SHARES
        expected[samples.rows[row].label] += 1 - share
        expected[samples.rows[fields["mix_partner"][row]].label] += share
        assert np.allclose(batch.labels[place], expected)
    assert (fields["mix_share"] > 0).sum() > 15
    fresh = next(iter(FreshBatches(samples, make_recipe(POLICIES["mixup"]), SPEC, 21, 9)(0)))
    assert fresh.labels.shape == (21, CLASSES)  # a teacher is fitted on mixed labels too


def test_target_weights() -> None:
    shares = np.array([0.25, 0.5, 0], np.float32)
    found = mixed_labels(np.array([0, 1, 2]), np.array([1, 1, 0]), shares, 3)
    assert found.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 1]]


def test_another_size_shows_the_same_boxes(samples: Samples, tmp_path: Path) -> None:
    """A student's own size and normalisation: the same parameters, rendered at that size."""
    store, _ = cached(samples, tmp_path, POLICIES["both"])
    [small], [large] = (list(CachedBatches(samples, store, {"size": size}, 21, 9)(0)) for size in (32, 128))
    reduced = large.inputs.reshape(21, 32, 4, 32, 4, 3).float().mean(dim=(2, 4))
    apart = (reduced - small.inputs.float()).abs().mean(dim=(1, 2, 3))
    assert apart.median() < 6
    mirrored = (reduced.flip(2) - small.inputs.float()).abs().mean(dim=(1, 2, 3))
    assert (mirrored > apart).float().mean() > 0.8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("box", [0, 0, 60000, 5]),
        ("box", [9, 0, 3, 5]),
        ("mix_partner", 21),
        ("erase", [200, 0, 100, 9]),
        ("mix_cut", [0, 0, 33, 33]),
    ],
)
def test_parameters_that_cannot_be_are_refused_by_name(samples: Samples, field: str, value: object) -> None:
    """A cache from elsewhere, sound by its digests, that asks for what no image has."""
    recipe = make_recipe(POLICIES["both"])
    views = [shot.parameters for shot in drawn(recipe, 3, samples, samples.rows, 0)]
    arrays = pack(views, list(recipe.fields()))
    arrays[field][4] = value
    with pytest.raises(CacheError, match=rf"views/{field} of s04"):
        Stored(arrays, samples)


def test_parameters_of_a_later_version_are_refused(samples: Samples) -> None:
    recipe = make_recipe(POLICIES["crop"])
    arrays = pack(
        [shot.parameters for shot in drawn(recipe, 3, samples, samples.rows, 0)], list(recipe.fields())
    )
    with pytest.raises(CacheError, match="views/warp"):
        Stored({**arrays, "warp": np.zeros(21, np.uint8)}, samples)
    with pytest.raises(CacheError, match="no views/box"):
        Stored({"flip": arrays["flip"]}, samples)


@pytest.mark.slow
def test_a_policy_of_ones_own_is_one_small_class(tmp_path: Path) -> None:
    """A file more: its parameters are checked, it is drawn, cached and replayed, and nothing else changed."""
    env = copy_library(tmp_path)
    (tmp_path / "stillroom/modalities/images/policies/left_half.py").write_text(
        "from typing import ClassVar\n"
        "from stillroom.params import Fraction\n"
        "from stillroom.draw import uniforms\n"
        "from stillroom.modalities.images.fields import Policy, View\n"
        "class LeftHalf(Policy):\n"
        "    KEEPS: ClassVar = ('box', 'flip')\n"
        "    flip: Fraction = 0.5\n"
        "    def draw(self, seed, row, view):\n"
        "        width, height = row.size\n"
        "        flip = uniforms(seed, row.key, view, 1)[0] < self.flip\n"
        "        return View((0, 0, (width + 1) // 2, height), int(flip))\n"
    )
    code = (
        "from pathlib import Path\n"
        "from stillroom.teaching.generate import array_specs\n"
        "from stillroom.modalities.images import MODALITY\n"
        "from stillroom.modalities.images.samples import Sample\n"
        "from stillroom.modalities.images.policies import make_recipe, names\n"
        "recipe = make_recipe({'name': 'left_half', 'mixup': 0.5})\n"
        "row = Sample('k', 'k', 'train', 0, None, (11, 7), '')\n"
        "identity = {'views': {'recipe': recipe.describe()}, 'outputs': {}}\n"
        "print('left_half' in names(), recipe.draw(0, row, 1).box, sorted(array_specs(identity, MODALITY)))\n"
        "make_recipe({'name': 'left_half', 'flp': 1})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert "True (0, 0, 6, 7) ['views/box', 'views/flip', 'views/mix_cut', 'views/mix_partner'" in done.stdout
    assert "did you mean views.recipe.flip?" in done.stderr


def test_names_and_wrong_names() -> None:
    assert names() == ["centre", "crop", "strong", "three_augment"]
    with pytest.raises(ParamsError, match="no such policy") as caught:
        make_recipe({"name": "crops"})
    assert "did you mean crop?" in caught.value.fix


class _Counted:
    """Parts, counted as they are asked for."""

    def __init__(self, parts: list[Listed]) -> None:
        self.parts, self.taken = parts, 0

    def __iter__(self) -> Iterator[Listed]:
        for part in self.parts:
            self.taken += 1
            yield part


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_asks_a_few_batches_ahead(samples: Samples, workers: int) -> None:
    shots = drawn(make_recipe(POLICIES["both"]), 3, samples, samples.rows, 1)
    parts = _Counted([Listed([shot]) for shot in shots * 4])
    renderers = Renderers(MODALITY, Pixels(samples), samples, SPEC, workers)
    stream = renderers(parts)
    next(stream)
    assert parts.taken <= 1 + workers * AHEAD < len(parts.parts)
    assert len(list(stream)) == len(parts.parts) - 1
    renderers.close()


def test_workers_live_on_and_an_unfinished_stream_leaves_nothing(samples: Samples) -> None:
    """What was asked for and not fetched is not what the next stream gets."""
    shots = drawn(make_recipe(POLICIES["both"]), 3, samples, samples.rows, 1)
    expected = torch.from_numpy(np.stack([MODALITY.render(Pixels(samples), shot, SPEC) for shot in shots]))
    parts = [Listed([shot]) for shot in shots]
    renderers = Renderers(MODALITY, Pixels(samples), samples, SPEC, 2)

    def workers() -> set[int | None]:
        return {child.pid for child in multiprocessing.active_children()}

    before = workers()
    first = torch.cat(list(renderers(parts)))
    started = workers() - before
    again = torch.cat(list(renderers(parts)))
    assert len(started) == 2 and workers() - before == started
    assert torch.equal(first, expected) and torch.equal(again, expected)
    left = renderers(parts)
    next(left)
    left.close()
    assert not workers() & started
    assert torch.equal(torch.cat(list(renderers(parts))), expected)
    renderers.close()
    assert workers() == before


def test_workers_live_as_long_as_a_run(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLROOM_WORKERS", "2")
    source = FreshBatches(samples, make_recipe(POLICIES["both"]), SPEC, 4, 9)
    seen: list[set[int | None]] = []
    for epoch in range(3):
        list(source(epoch))
        seen.append({child.pid for child in multiprocessing.active_children()})
    assert len(seen[0]) >= 2 and seen[0] == seen[1] == seen[2]


def test_stage_one_decodes_a_sample_once_for_several_views(
    samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where memory keeps nothing: of six views one, to see how long it takes, then four, then one."""
    reads: Counter[str] = Counter()
    decoded = Pixels.decoded

    def counted(self: Pixels, content: bytes, row: Sample, file: Path) -> np.ndarray:
        reads[row.key] += 1
        return decoded(self, content, row, file)

    monkeypatch.setattr(Pixels, "decoded", counted)
    monkeypatch.setattr("stillroom.views.recent.room", lambda: 0)
    monkeypatch.setattr("stillroom.teaching.slabs.SECONDS", 1e9)
    monkeypatch.setenv("STILLROOM_WORKERS", "0")
    monkeypatch.setattr(sys.modules[__name__], "VIEWS", 6)
    cached(samples, tmp_path, POLICIES["crop"])
    assert reads.keys() == {row.key for row in samples.rows} and max(reads.values()) <= 3
