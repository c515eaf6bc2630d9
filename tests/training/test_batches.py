"""What a student is fed: the teacher's very pixels beside its very logits, in a computed order."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight

from stillroom.cache.read import planes
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.store import Store
from stillroom.cache.write.publish import publish
from stillroom.cache.write.staging import Staging
from stillroom.distributed import Ranks
from stillroom.errors import CacheError, StillroomError
from stillroom.modalities.images import MODALITY
from stillroom.modalities.images.fields import Policy
from stillroom.modalities.images.models.create import Loaded, Model
from stillroom.modalities.images.policies import make_recipe
from stillroom.modalities.images.render import to_input
from stillroom.modalities.images.samples import Sample
from stillroom.params import Train
from stillroom.progress import Progress
from stillroom.provenance.teacher import Teacher
from stillroom.samples import Samples
from stillroom.teaching.forward import Forward
from stillroom.teaching.generate import array_specs, divide, generate
from stillroom.training.batches import (
    CachedBatches,
    FreshBatches,
    Partition,
    balanced,
    mixed_labels,
    order,
    unlabelled,
)
from stillroom.training.loop import fit
from stillroom.training.pairing import digests
from stillroom.views.loader import Renderers
from stillroom.views.planes import DrawnPart

CLASSES = 6
SIZE = 24
SPEC = {"size": SIZE}
RECIPE = {
    "name": "crop",
    "scale": [0.3, 1.0],
    "ratio": [0.75, 1.3333],
    "flip": 0.5,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
}


class Projection(torch.nn.Module):
    """A teacher whose logits give its pixels away: a fixed random projection, so that others show."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(
            torch.randn(3 * SIZE * SIZE, CLASSES, generator=torch.Generator().manual_seed(0))
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight


def model(net: torch.nn.Module) -> Model:
    return Model(net, "projection", {}, SIZE, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), Loaded())


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    rows = []
    random = np.random.default_rng(0)
    for i in range(23):
        file = tmp_path / "images" / f"s{i:02}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (30 + i, 50 - i, 3), dtype=np.uint8)).save(file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append(
            Sample(f"s{i:02}", f"images/s{i:02}.png", "train", i % CLASSES, None, (50 - i, 30 + i), digest)
        )
    return Samples("folder", tuple("abcdef"), tuple(rows), tmp_path)


def fill(
    teacher: Model, samples: Samples, recipe: Policy, staging: Staging, views: int, progress: Progress
) -> int:
    """Compute what is missing; how many blocks that was."""
    todo = divide(staging, views, Ranks(), progress)
    generate(Teacher([teacher]), samples, recipe, 5, staging, todo, 5, "none", progress)
    return len(todo)


def cached(
    samples: Samples, folder: Path, backend: str, views: int = 3, net: torch.nn.Module | None = None
) -> Store:
    identity = {
        "views": {"recipe": RECIPE},
        "outputs": {"logits": {"encoding": "float16", "shape": [CLASSES]}},
    }
    specs = array_specs(identity, MODALITY)
    keys = [row.key for row in samples.rows]
    with Staging(folder / "staging", identity, specs, keys, samples.labels(), 8) as staging:
        recipe = make_recipe(RECIPE)
        fill(model(net or Projection()), samples, recipe, staging, views, Progress())
        publish([staging], folder / backend, backend, views, {}, [])
    return open_store(folder / backend)


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.slow
def test_every_logit_meets_the_pixels_it_was_made_from(
    samples: Samples, tmp_path: Path, backend: str, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recomputed from the student's own pixels, every logit is the cached one to float16's last bit."""
    monkeypatch.setenv("STILLROOM_WORKERS", workers)
    store = cached(samples, tmp_path, backend)
    teacher = Projection()
    for batch_size in (23, 4):
        source = CachedBatches(samples, store, SPEC, batch_size, seed=9, outputs=["logits"])
        for epoch in (0, 2, 4):  # epoch 4 replays plane 1
            for batch in source(epoch):
                again = teacher(to_input(batch.inputs, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)))
                assert torch.allclose(again, batch.targets["logits"], rtol=2**-10, atol=2e-3)


def test_the_check_above_would_see_one_flip(samples: Samples, tmp_path: Path) -> None:
    """A mirrored batch, or a neighbour's logits, differ by far more than rounding."""
    store = cached(samples, tmp_path, "zarr")
    batch = next(iter(CachedBatches(samples, store, SPEC, 23, seed=9, outputs=["logits"])(0)))
    mirrored = Projection()(to_input(batch.inputs.flip(2), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)))
    assert (mirrored - batch.targets["logits"]).abs().amax(dim=1).min() > 1
    assert (batch.targets["logits"].roll(1, 0) - batch.targets["logits"]).abs().amax(dim=1).min() > 1


def test_a_stopped_cache_goes_on_and_ends_with_the_same_digests(samples: Samples, tmp_path: Path) -> None:
    class Stops(Progress):
        def __init__(self) -> None:
            self.left, self.notes = 31, []

        def advance(self, count: int = 1, status: str = "") -> None:
            self.left -= count
            if self.left < 0:
                raise KeyboardInterrupt

        def note(self, text: str) -> None:
            self.notes.append(text)

    whole = cached(samples, tmp_path / "a", "zarr")
    identity = {
        "views": {"recipe": RECIPE},
        "outputs": {"logits": {"encoding": "float16", "shape": [CLASSES]}},
    }
    specs, keys = array_specs(identity, MODALITY), [row.key for row in samples.rows]
    recipe, teacher = make_recipe(RECIPE), model(Projection())
    with (
        pytest.raises(KeyboardInterrupt),
        Staging(tmp_path / "b/staging", identity, specs, keys, samples.labels(), 8) as staging,
    ):
        fill(teacher, samples, recipe, staging, 3, Stops())
    with Staging(tmp_path / "b/staging", identity, specs, keys, samples.labels(), 8) as staging:
        told = Stops()
        told.left = 1000
        assert fill(teacher, samples, recipe, staging, 3, told) < 9
        assert any(line.startswith("resumed: ") and line.endswith("of 9 blocks") for line in told.notes)
        publish([staging], tmp_path / "b/zarr", "zarr", 3, {}, [])
    assert open_store(tmp_path / "b/zarr").manifest.blocks == whole.manifest.blocks


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_a_teacher_that_gives_no_number_is_named_with_sample_and_view(
    samples: Samples, tmp_path: Path, value: float
) -> None:
    class Diverged(Projection):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            logits[-1, 2] = value
            return logits

    with pytest.raises(CacheError, match="s04, view 0"):
        cached(samples, tmp_path, "zarr", net=Diverged())


def test_an_epoch_holds_every_sample_once_in_even_batches() -> None:
    for count, batch_size in ((600, 48), (23, 22), (5, 8), (1, 1)):
        chosen = list(order(3, 1, count, batch_size))
        assert sorted(np.concatenate(chosen).tolist()) == list(range(count))
        assert max(map(len, chosen)) <= batch_size and max(map(len, chosen)) - min(map(len, chosen)) <= 1
    assert not np.array_equal(
        np.concatenate(list(order(3, 1, 50, 9))), np.concatenate(list(order(3, 2, 50, 9)))
    )


def test_the_teacher_is_fitted_on_views_that_are_never_cached(samples: Samples, tmp_path: Path) -> None:
    fresh = FreshBatches(samples, make_recipe(RECIPE), SPEC, 23, seed=5)
    by_label = torch.cat([batch.inputs for batch in fresh(0)])
    store = cached(samples, tmp_path, "zarr")
    replayed = torch.cat([batch.inputs for batch in CachedBatches(samples, store, SPEC, 23, 5)(0)])
    assert not (by_label == replayed).flatten(1).all(dim=1).any()


def test_digests_tell_what_arms_must_share(samples: Samples, tmp_path: Path) -> None:
    store = cached(samples, tmp_path, "zarr")

    def of(seed: int, size: int = SIZE, outputs: Sequence[str] = (), epochs: int = 3) -> dict[str, str]:
        torch.manual_seed(seed)
        net = torch.nn.Linear(3, 2)
        return digests(net, CachedBatches(samples, store, {"size": size}, 8, seed, outputs), epochs)

    assert of(0) == of(0, outputs=["logits"])
    assert {name for name in of(0) if of(0)[name] != of(1)[name]} == {"init", "order", "pixels"}
    assert {name for name in of(0) if of(0)[name] != of(0, size=16)[name]} == {"pixels"}
    assert {name for name in of(0) if of(0)[name] != of(0, epochs=4)[name]} == {"order"}


def test_a_diverging_run_stops_with_advice(samples: Samples) -> None:
    source = FreshBatches(samples, make_recipe(RECIPE), SPEC, 8, seed=5)
    config = Train(epochs=5, lr=1e9, opt="sgd", warmup_epochs=0, clip_grad=0.0, weight_decay=0.0)
    with pytest.raises(StillroomError, match="diverged") as caught:
        fit(
            model(Projection()),
            source,
            lambda outputs, batch, progress: {"loss": (outputs["logits"] ** 4).mean()},
            config,
            Progress(),
            "",
            lambda record: None,
        )
    assert "learning rate" in caught.value.fix


def test_labels_are_kept_back_by_key_even_in_each_class(samples: Samples, tmp_path: Path) -> None:
    whole = np.array(samples.labels())
    few, more = (unlabelled(samples, share) for share in (0.3, 0.6))
    for label in range(CLASSES):
        own = whole == label
        assert set(few[own]) <= {label, -1} and (few[own] == label).sum() == max(1, round(0.3 * own.sum()))
    assert (more[few >= 0] == few[few >= 0]).all()  # a larger share adds to a smaller one
    turned = samples.at(range(len(samples) - 1, -1, -1))
    np.testing.assert_array_equal(unlabelled(turned, 0.3), few)  # rows are sorted by key again
    store = cached(samples, tmp_path, "zarr")
    source = CachedBatches(samples, store, SPEC, 23, seed=9, labelled=0.3)
    batch = next(iter(source(0)))
    np.testing.assert_array_equal(batch.labels.numpy(), few[next(source.order(0))])


def test_an_even_order_sees_each_class_as_often() -> None:
    labels = np.repeat([0, 1, 2, -1], [50, 6, 1, 9])
    np.random.default_rng(0).shuffle(labels)
    epochs = [balanced(3, epoch, labels) for epoch in range(12)]
    for rows in epochs:
        assert len(rows) == len(labels) and sorted(rows[labels[rows] < 0]) == sorted(
            np.flatnonzero(labels < 0)
        )
        counts = np.bincount(labels[rows][labels[rows] >= 0])
        assert counts.tolist() == [19, 19, 19]
        times = np.bincount(rows, minlength=len(labels))
        assert (
            set(times[labels == 0]) == {0, 1}
            and set(times[labels == 1]) == {3, 4}
            and times[labels == 2] == 19
        )
    assert len({*np.concatenate(epochs)[labels[np.concatenate(epochs)] == 0]}) == 50  # all, in the long run
    np.testing.assert_array_equal(balanced(3, 5, labels), epochs[5])
    assert (np.sort(epochs[0]) != np.sort(epochs[1])).any()
    odd = np.array([0, 0, 0, 1])
    assert np.bincount(odd[balanced(0, 0, odd)]).tolist() == [2, 2]
    assert len(balanced(0, 0, np.full(4, -1))) == 4


def test_an_even_order_is_the_same_for_whoever_looks(samples: Samples, tmp_path: Path) -> None:
    """From any step on, on any rank; its pixels and logits are those of the rows that it names."""
    rows = [replace(row, label=0 if number < 17 else row.label) for number, row in enumerate(samples.rows)]
    samples = replace(samples, rows=tuple(rows))
    store = cached(samples, tmp_path, "zarr")
    given = {"seed": 9, "outputs": ["logits"], "even": True}
    source = CachedBatches(samples, store, SPEC, 6, **given)
    orders = [np.concatenate([*source.order(epoch)]) for epoch in range(2)]
    assert len(orders[0]) == len(samples) and (orders[0] != orders[1]).any()
    spread = [np.bincount(samples.labels()[rows]) for rows in orders]
    assert all(one[one > 0].max() - one[one > 0].min() <= 1 for one in spread)
    whole, late = [*source(1)], [*source(1, 2)]
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(whole[2:], late, strict=True))
    ranks = [
        CachedBatches(samples, store, SPEC, 6, partition=Partition(1, rank, 2), **given) for rank in (0, 1)
    ]
    for batch, one, two in zip(whole, ranks[0](1), ranks[1](1), strict=True):
        assert torch.equal(batch.inputs, torch.cat([one.inputs, two.inputs]))
        again = Projection()(to_input(batch.inputs, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)))
        assert torch.allclose(again, batch.targets["logits"], rtol=2**-10, atol=2e-3)


def test_class_weights_are_those_of_scikit_learn(samples: Samples, tmp_path: Path) -> None:
    rows = [replace(row, label=min(row.label, 3)) for row in samples.rows]
    rows[:2] = [replace(row, label=-1, split="unlabelled") for row in rows[:2]]
    samples = replace(samples, rows=tuple(rows))
    known = samples.labels()[samples.labels() >= 0]
    source = CachedBatches(samples, cached(samples, tmp_path, "zarr"), SPEC, 6, seed=9)
    expected = compute_class_weight("balanced", classes=np.unique(known), y=known)
    weights = source.class_weights().numpy()
    np.testing.assert_allclose(weights[:4], expected, rtol=1e-6)
    assert weights[4:].tolist() == [1, 1] and weights[known].mean() == pytest.approx(1)


def test_a_mixed_view_has_the_labels_that_are_known() -> None:
    labels, partners = np.array([0, -1, 1, 2]), np.array([1, 1, -1, -1])
    mixed = mixed_labels(labels, partners, np.array([0.25, 0.25, 0.25, 0.0], np.float32), 3)
    np.testing.assert_array_equal(mixed, [[0.75, 0.25, 0], [0, 0.25, 0], [0, 0.75, 0], [0, 0, 1]])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_is_rendered_tells_its_parameters(samples: Samples, workers: int, method: str) -> None:
    """Whoever renders draws, too; a batch larger than the first needs other memory than is shared."""
    policy = make_recipe(RECIPE)
    parts = [
        DrawnPart(policy, 5, view, np.arange(*rows), ("box", "flip"))
        for view, rows in enumerate([(0, 3), (3, 4), (2, 23), (0, 1), (5, 9)])
    ]
    parts.append(DrawnPart(policy, 5, 7, np.array([8, 2])))
    renderers = Renderers(MODALITY, MODALITY.reader(samples), samples, SPEC, workers, method)
    for _ in range(2):  # the workers stay for another stream
        found = list(renderers.stream(parts))
        assert len(found) == len(parts)
        for part, (inputs, told) in zip(parts, found, strict=True):
            requests = part.requests(samples)
            reader = MODALITY.reader(samples)
            expected = [MODALITY.render(reader, one, SPEC) for one in requests]
            np.testing.assert_array_equal(inputs.numpy(), np.stack(expected))
            drawn = MODALITY.pack([one.parameters for one in requests], part.tell) if part.tell else {}
            assert told.keys() == drawn.keys()
            for name, values in drawn.items():
                np.testing.assert_array_equal(told[name], values)
    renderers.close()


def test_on_a_gpu_answers_come_in_their_order_a_pass_later() -> None:
    """The other way through `Forward`, on the CPU."""
    teacher = model(Projection())
    random = torch.Generator().manual_seed(0)
    raw = [
        torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=random)
        for count in (3, 5, 1)
    ]
    forward = Forward(teacher, 8, "none")
    expected = forward(raw, Progress())["logits"]
    forward._cpu = False
    taken = []

    def batches() -> Iterator[tuple[Model, torch.Tensor]]:
        for one in raw:
            taken.append(len(one))
            yield teacher, one

    stream = forward.stream(batches(), Progress())
    first = next(stream)
    assert taken == [3, 5], "the second pass is asked for before the answers of the first are fetched"
    found = np.concatenate([first["logits"], *(one["logits"] for one in stream)])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
@pytest.mark.parametrize("mapped", [True, False])
def test_rows_decode_as_the_plane_does(
    samples: Samples, tmp_path: Path, backend: str, mapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cached(samples, tmp_path, backend).logits(1)
    monkeypatch.setattr(planes, "LARGE", 1 if mapped else 2**40)
    monkeypatch.setenv("STILLROOM_FETCHED", str(tmp_path / "fetched"))
    answers = open_store(tmp_path / backend).answers(1)
    rows = np.array([20, 3, 3, 11])
    np.testing.assert_array_equal(answers[rows], whole[rows])
    np.testing.assert_array_equal(answers[:], whole)
    assert (tmp_path / "fetched/planes").exists() == mapped
    assert not mapped or not list((tmp_path / "fetched/planes").iterdir()), "a mapped file has a name"


def test_without_space_for_a_mapped_plane_it_is_in_memory(
    samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cached(samples, tmp_path, "zarr").logits(1)
    monkeypatch.setattr(planes, "LARGE", 1)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STILLROOM_FETCHED", str(tmp_path / "file"))
    np.testing.assert_array_equal(open_store(tmp_path / "zarr").answers(1)[:], whole)


def test_the_next_plane_is_read_while_one_is_in_use(samples: Samples, tmp_path: Path) -> None:
    store = cached(samples, tmp_path, "zarr")
    read: list[tuple[int, bool]] = []

    class Noting(type(store)):  # type: ignore[misc]
        def parameters(self, view: int) -> dict[str, np.ndarray]:
            read.append((view, threading.current_thread() is threading.main_thread()))
            return super().parameters(view)  # type: ignore[no-any-return]

    noting = Noting(store.folder, store.manifest)
    source = CachedBatches(samples, noting, SPEC, 4, 9, ["logits"], epochs=3)
    plain = CachedBatches(samples, store, SPEC, 4, 9, ["logits"])
    for epoch in range(3):
        found, expected = list(source(epoch)), list(plain(epoch))
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.targets["logits"], other.targets["logits"])
    assert read == [(0, True), (1, False), (2, False)], "each once, and none after the last epoch"


def test_a_plane_that_is_damaged_is_refused_when_its_epoch_begins(samples: Samples, tmp_path: Path) -> None:
    store = cached(samples, tmp_path, "zarr")
    file = tmp_path / "zarr" / store.file("logits", 1, 0)
    file.write_bytes(file.read_bytes()[:-9])
    source = CachedBatches(samples, store, SPEC, 4, 9, ["logits"], epochs=3)
    assert len(list(source(0))) == 6
    with pytest.raises(CacheError, match="is damaged"):
        next(source(1))
    assert len(list(source(2))) == 6
