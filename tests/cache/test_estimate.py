"""An estimate names the files that a store will have, and its bytes are an upper bound and no wild guess."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillroom.cache.encodings import encoding_for
from stillroom.cache.format.estimate import Estimate, estimate
from stillroom.cache.format.layout import ArraySpec, Block
from stillroom.cache.format.manifest import Manifest
from stillroom.cache.write.publish import publish
from stillroom.cache.write.staging import Staging
from tests.contract.store_contract import ARRAYS, BLOCK, IDENTITY, KEYS, SAMPLES, contents, staged

BACKENDS = ("zarr", "hdf5")
WIDTH = max(len(key.encode()) for key in KEYS)
# an image cache of 40 classes
IMAGES = {
    "logits": ArraySpec("<f2", (40,)),
    "views/box": ArraySpec("<u2", (4,)),
    "views/colour": ArraySpec("|u1", (3,)),
    "views/flip": ArraySpec("|u1", ()),
}
OF_IMAGES: dict[str, Any] = {"outputs": {"logits": {"encoding": "float16", "shape": [40]}}}
KL = {f"T={t}": {"mean": 1.4562873461982734e-08, "max": 5.837465102938475e-07} for t in (1, 4)}


def rows_of(block: Block, noise: bool) -> dict[str, np.ndarray]:
    """A block's rows as a teacher and a recipe would make them, or of bits that nothing can compress."""
    random, count = np.random.default_rng(block), block.stop - block.start
    if noise:
        bits = {
            name: random.integers(0, 256, (count, spec.row_bytes), np.uint8) for name, spec in IMAGES.items()
        }
        bits["logits"][:, 1::2] &= 0xBF  # no NaN, no infinity
        return {
            name: bits[name].view(spec.dtype).reshape(count, *spec.shape) for name, spec in IMAGES.items()
        }
    return {
        "logits": random.normal(0, 3, (count, 40)).astype("<f2"),
        "views/box": random.integers(0, 400, (count, 4)).astype("<u2"),
        "views/colour": random.integers(90, 167, (count, 3)).astype("|u1"),
        "views/flip": random.integers(0, 2, count).astype("|u1"),
    }


def published(
    folder: Path, backend: str, views: int, samples: int, block: int, noise: bool = False
) -> tuple[Estimate, dict[str, bytes]]:
    """What is foretold of a store, and its files."""
    random = np.random.default_rng(1)
    names = random.integers(0, 2**60, samples).tolist() if noise else range(samples)
    keys = sorted(f"sample_{name:019d}" for name in names)
    labels = random.integers(0, 2**62, samples) if noise else np.arange(samples) // 100
    with Staging(
        folder / "staging", OF_IMAGES, IMAGES, keys, labels.tolist(), min(block, samples)
    ) as staging:
        for cut in staging.blocks(views):
            staging.commit(cut, rows_of(cut, noise), {"logits": KL})
        publish([staging], folder / "cache", backend, views, {}, [])
    told = estimate(backend, views, samples, block, IMAGES, max(map(len, keys)), OF_IMAGES)
    return told, contents(folder / "cache")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("views", [1, 3])
def test_the_files_are_exactly_those_of_a_published_store(tmp_path: Path, backend: str, views: int) -> None:
    with staged(tmp_path / "staging", views) as staging:
        publish([staging], tmp_path / "cache", backend, views, {}, [])
    files = contents(tmp_path / "cache")
    told = estimate(backend, views, SAMPLES, BLOCK, ARRAYS, WIDTH, IDENTITY)
    assert told.files == len(files)
    assert told.bytes >= sum(map(len, files.values()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_files_are_those_of_planes_that_are_cut(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stillroom.cache.format.layout.FILE_BYTES", 2000)
    told, files = published(tmp_path, backend, 2, 100, 16)
    assert told.files == len(files) > 10
    assert told.bytes >= sum(map(len, files.values()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_raw_bytes_are_those_of_the_arrays_asked_for(backend: str) -> None:
    told = estimate(backend, 3, SAMPLES, BLOCK, ARRAYS, WIDTH)
    assert (told.keys, told.labels) == (SAMPLES * WIDTH, SAMPLES * 8)
    assert told.parameters == 3 * SAMPLES * (8 + 1 + 8)
    # logits, features, small with its scale, few with their classes and the logit of all others, fewer, drawn
    assert told.outputs == 3 * SAMPLES * (14 + 12 + (7 + 4) + (4 + 4 + 4) + 4 + 1)
    assert told.bytes_per_view == round(told.bytes / (3 * SAMPLES), 2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("views", "samples", "block"),
    [(1, 40, 1024), (2, 50, 40), (1, 700, 1), (2, 1030, 1024), (12, 4000, 1024)],
)
@pytest.mark.slow
def test_nothing_is_larger_than_foretold_even_what_cannot_be_compressed(
    tmp_path: Path, backend: str, views: int, samples: int, block: int
) -> None:
    told, files = published(tmp_path, backend, views, samples, block, noise=True)
    assert told.files == len(files)
    assert sum(map(len, files.values())) <= told.bytes


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cache_of_thousands_of_images_is_within_a_fifth_of_what_was_foretold(
    tmp_path: Path, backend: str
) -> None:
    told, files = published(tmp_path, backend, 4, 4000, 1024)
    assert 0.8 * told.bytes <= sum(map(len, files.values())) <= told.bytes
    raw = told.outputs + told.parameters + told.keys + told.labels
    assert raw < told.bytes < 1.1 * raw


@pytest.mark.parametrize("backend", BACKENDS)
def test_packed_logits_take_what_was_foretold(tmp_path: Path, backend: str) -> None:
    """No format compresses them, so the estimate is hardly more than what comes of it."""
    entry = {"encoding": "packed", "k": 17, "bits": 3, "shape": [1000]}
    codec, random = encoding_for(entry), np.random.default_rng(0)
    arrays = codec.fields("logits", (1000,))
    keys = [f"{number:06d}" for number in range(2000)]
    identity = {"outputs": {"logits": entry}}
    with Staging(tmp_path / "staging", identity, arrays, keys, [0] * 2000, 1024) as staging:
        for cut in staging.blocks(2):
            values = random.normal(0, 3, (cut.stop - cut.start, 1000)).astype(np.float32)
            staging.commit(cut, codec.encode("logits", values), {"logits": KL})
        publish([staging], tmp_path / "cache", backend, 2, {}, [])
    told = estimate(backend, 2, 2000, 1024, arrays, 6, identity)
    assert told.outputs == 2 * 2000 * 24
    logits = sum(len(one) for name, one in contents(tmp_path / "cache").items() if "logits/c/" in name)
    size = sum(len(one) for one in contents(tmp_path / "cache").values())
    assert size <= told.bytes < 1.4 * size
    assert backend == "hdf5" or told.outputs <= logits < 1.01 * told.outputs


def test_the_manifest_is_as_long_as_foretold_without_listing_its_blocks(tmp_path: Path) -> None:
    told, files = published(tmp_path, "zarr", 3, 600, 8)
    assert 0.9 * told.manifest < len(files["manifest.json"]) <= told.manifest
    assert len(Manifest.load(tmp_path / "cache").blocks) == 225
    assert json.loads(files["manifest.json"])["blocks"][0]["quality"] == {"logits": KL}
