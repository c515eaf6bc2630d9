"""`stillroom.CachedDataset` and `BatchOrder`: what a loop of one's own gets is what ours gets."""

import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset, WeightedRandomSampler
from torch.utils.data.distributed import DistributedSampler

import stillroom
from stillroom.benchmarks.ground import made_up_cache, photos
from stillroom.errors import CacheError, DataError, ParamsError
from stillroom.modalities.images.render import to_input
from stillroom.provenance.identity import input_of
from stillroom.training.batches import CachedBatches
from tests.team.servers import Web

COUNT, CLASSES, VIEWS = 13, 4, 3
MIXED = {"name": "crop", "scale": [0.3, 1.0], "mixup": 0.8, "cutmix": 1.0}
PLAIN = {"name": "crop", "scale": [0.3, 1.0]}
TOLD = "a second epoch began, and set_epoch was never called"


def made(folder: Path, recipe: dict[str, Any], views: int = VIEWS) -> Path:
    """A folder with `photos`, their table in `data`, and a `cache` of made-up logits."""
    samples = photos(folder / "photos", COUNT, CLASSES, (48, 36))
    samples.save(folder / "data")
    made_up_cache(folder, samples, views, recipe, size=16, block_samples=8, encoding="float16")
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("plain"), PLAIN)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("mixed"), MIXED)


def opened(folder: Path, **options: Any) -> stillroom.CachedDataset:
    options = {"root": folder / "photos"} | options
    return stillroom.CachedDataset(options.pop("cache", folder / "cache"), folder / "data", **options)


def ours(views: stillroom.CachedDataset, batch_size: int, epoch: int) -> Iterator[dict[str, Any]]:
    """The batches of our own loop, as those of a loader."""
    store, samples = views._store, views._samples
    spec = input_of(store.manifest)
    for batch in CachedBatches(samples, store, spec, batch_size, 7, ["logits"])(epoch):
        inputs = to_input(batch.inputs, tuple(spec["mean"]), tuple(spec["std"]))
        yield {
            "pixel_values": inputs,
            "labels": batch.labels,
            "teacher_logits": batch.targets["logits"],
        }


def same(found: Iterator[dict[str, Any]], expected: Iterator[dict[str, Any]]) -> None:
    for one, other in zip(found, expected, strict=True):
        for name, values in other.items():
            assert one[name].dtype == values.dtype and torch.equal(one[name], values), name


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("recipe", ["plain", "mixed"])
def test_a_loader_gives_what_our_loop_gets(recipe: str, workers: int, request: pytest.FixtureRequest) -> None:
    """Order, pixels, labels (mixed ones too, by torch's own collate) and answers, bit for bit; its workers
    live on.
    """
    views = opened(request.getfixturevalue(recipe))
    order = stillroom.BatchOrder(views, batch_size=5, seed=7)
    loader = DataLoader(views, batch_sampler=order, num_workers=workers, persistent_workers=workers > 0)
    for epoch in (0, 1, 2, 3):
        order.set_epoch(epoch)
        assert len(loader) == 3
        same(iter(loader), ours(views, 5, epoch))
    kind, shape = (torch.float32, (CLASSES,)) if recipe == "mixed" else (torch.int64, ())
    label = next(iter(loader))["labels"]
    assert label.dtype == kind and label.shape[1:] == shape


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_spawned_hear_of_the_epoch(mixed: Path, method: str) -> None:
    views = opened(mixed)
    order = stillroom.BatchOrder(views, 5, 7)
    loader = DataLoader(
        views, batch_sampler=order, num_workers=1, persistent_workers=True, multiprocessing_context=method
    )
    for epoch in (0, 2):
        order.set_epoch(epoch)
        same(iter(loader), ours(views, 5, epoch))


def test_a_pickled_one_is_whole_and_small(mixed: Path) -> None:
    """Its epoch is its own; workers that are forked of it hear of it."""
    views = opened(mixed)
    views.set_epoch(1)
    before = len(pickle.dumps(views))
    views[0]
    kept = pickle.dumps(views)
    assert len(kept) == before  # neither the plane nor pixels
    again = pickle.loads(kept)
    assert torch.equal(again[4]["teacher_logits"], views[4]["teacher_logits"])
    views.set_epoch(0)
    loader = DataLoader(again, 5, num_workers=1, persistent_workers=True)
    for epoch in (1, 2):
        again.set_epoch(epoch)
        found = torch.cat([batch["teacher_logits"] for batch in loader])
        assert torch.equal(found, torch.from_numpy(views._store.logits(epoch)))


def test_any_sampler_and_any_index(plain: Path) -> None:
    views = opened(plain)
    views.set_epoch(1)
    said = views._store.logits(1)
    weighted = WeightedRandomSampler([1.0] * COUNT, 40)
    for sampler in (weighted, DistributedSampler(views, num_replicas=2, rank=1), range(3)):
        rows = list(sampler)
        loader = DataLoader(views, 4, sampler=rows)
        found = [(batch["key"], batch["teacher_logits"]) for batch in loader]
        assert [key for keys, _ in found for key in keys] == [views._store.keys[row] for row in rows]
        assert np.array_equal(torch.cat([logits for _, logits in found]).numpy(), said[rows])
    batch = next(iter(DataLoader(Subset(views, [12, 3]), 2)))
    assert np.array_equal(batch["teacher_logits"].numpy(), said[[12, 3]])
    for row in (-1, np.int64(12), torch.tensor(12)):
        assert views[row]["key"] == views._store.keys[12]
    for row in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError):
            views[row]


def test_a_second_epoch_that_nobody_set_is_said_once(plain: Path, tmp_path: Path) -> None:
    views = opened(plain)
    loader = DataLoader(views, 5, shuffle=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        views[0], views[0]  # a look is no epoch
        list(loader)
    with pytest.warns(UserWarning, match=f"{TOLD}.* view 0 of 3 again"):
        list(loader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(loader)
        views = opened(plain)
        views.set_epoch(0)  # somebody said so: it may be meant
        for _ in range(3):
            list(DataLoader(views, 5))
        one = made(tmp_path / "one", PLAIN, views=1)  # has no other view
        for _ in range(3):
            list(DataLoader(opened(one), 5))


@pytest.mark.parametrize("persistent", [True, False])
def test_of_all_workers_one_says_it(
    plain: Path, persistent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"

    def note(message: Warning | str, *_: object, **__: object) -> None:
        with said.open("a") as file:
            file.write(f"{message}\n")

    said.touch()
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # it is not Python that leaves out the others
        monkeypatch.setattr(warnings, "showwarning", note)
        loader = DataLoader(opened(plain), 1, num_workers=2, persistent_workers=persistent)
        list(loader)
        assert TOLD not in said.read_text()
        for _ in range(3):
            list(loader)
    assert said.read_text().count(TOLD) == 1


def test_what_was_read_before_is_not_read_by_forked_workers(tmp_path: Path) -> None:
    folder = made(tmp_path / "made", PLAIN)
    views, unread = opened(folder), opened(folder)
    views.preload()
    for photo in (folder / "photos").iterdir():
        photo.unlink()
    assert len(list(DataLoader(views, 5, num_workers=2))) == 3
    with pytest.raises(DataError, match="cannot be read"):
        list(DataLoader(unread, 5, num_workers=2))


def test_from_an_address(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLROOM_FETCHED", str(tmp_path))
    web = Web(mixed)
    try:
        views = opened(mixed, cache=f"{web.url}/cache")
        order = stillroom.BatchOrder(views, 5, 7)
        loader = DataLoader(views, batch_sampler=order, num_workers=2)
        for epoch in (0, 1):
            order.set_epoch(epoch)
            same(iter(loader), ours(opened(mixed), 5, epoch))
        assert all(count <= 3 for count in web.asked.values())  # each plane, not each item
    finally:
        web.close()


def test_a_transform_gets_what_was_rendered(plain: Path) -> None:
    raw = opened(plain, size=24, transform=torch.from_numpy)
    batch = next(iter(DataLoader(raw, 5)))
    assert batch["pixel_values"].dtype == torch.uint8 and batch["pixel_values"].shape == (5, 24, 24, 3)


def test_bad_input_is_refused_in_a_sentence(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"no output 'wide'(.|\n)*it holds logits"):
        opened(plain, output="wide")
    for size in (0, -5, 7.5, 100_000, True):
        with pytest.raises(ParamsError, match=r"size = .*not rendered at this size(.|\n)*16 pixels"):
            opened(plain, size=size)
    views = opened(plain)
    for epoch in (-1, 0.5, "1", None):
        with pytest.raises(ParamsError, match=r"epoch = (.|\n)*whole number of 0 or more"):
            views.set_epoch(epoch)
    with pytest.raises(ParamsError, match="batch_size = 0"):
        stillroom.BatchOrder(views, 0)
    other = made(tmp_path / "other", PLAIN)
    samples = photos(tmp_path / "fewer", COUNT - 1, CLASSES, (48, 36))
    samples.save(other / "data")
    with pytest.raises(CacheError, match=r"samples.count(.|\n)*13(.|\n)*12"):
        opened(other)
