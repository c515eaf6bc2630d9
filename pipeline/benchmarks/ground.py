"""What the benchmarks stand on: pictures of a photograph's size, and caches of made-up logits."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stillroom.cache.encodings import encoding_for
from stillroom.cache.format.layout import VIEWS
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.store import Store
from stillroom.cache.write.publish import publish
from stillroom.cache.write.staging import Staging
from stillroom.modalities.images import MODALITY
from stillroom.modalities.images.fields import pack
from stillroom.modalities.images.policies import make_recipe
from stillroom.modalities.images.samples import Sample
from stillroom.modalities.images.settings import Views
from stillroom.provenance.identity import of_data
from stillroom.samples import Samples
from stillroom.teaching.generate import array_specs
from stillroom.views.planes import drawn

WIDTH, HEIGHT = 500, 375  # of most images of Stanford 40
QUALITY = 90


def photos(folder: Path, count: int, classes: int = 40, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Samples:
    """JPEG files as large, and as slow to decode, as Stanford 40's: smooth shades, edges and grain.

    Returns:
        their table, all of the train split.
    """
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    width, height = size
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8))
        values = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32).copy()
        for _ in range(12):
            x, y = random.integers(0, width), random.integers(0, height)
            w, h = random.integers(width // 25, width // 3), random.integers(height // 25, height // 3)
            values[y : y + h, x : x + w] = random.integers(0, 256, 3)
        values += random.normal(0, 6, values.shape)
        file = folder / f"photo_{number:05d}.jpg"
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(file, quality=QUALITY)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append(Sample(file.stem, file.name, "train", number % classes, None, size, digest))
    return Samples("drawn photographs", tuple(f"class_{n:04d}" for n in range(classes)), tuple(rows), folder)


def table(count: int, classes: int = 40) -> Samples:
    """A samples table without pictures."""
    rows = tuple(
        Sample(f"photo_{n:07d}", f"{n}.jpg", "train", n % classes, None, (WIDTH, HEIGHT), "0" * 64)
        for n in range(count)
    )
    return Samples("no photographs", tuple(f"class_{n:04d}" for n in range(classes)), rows, Path())


def logits(random: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    """Logits like a teacher's, float32 [rows, classes]: one stands out, two come near; range about 16."""
    values = random.normal(-2, 2, (rows, classes)).astype(np.float32)
    for rank in range(3):
        values[np.arange(rows), random.integers(0, classes, rows)] += random.uniform(2, 14 - 4 * rank, rows)
    return values


def made_up_cache(
    folder: Path,
    samples: Samples,
    views: int,
    recipe: dict[str, Any],
    size: int = 224,
    of: Callable[[np.random.Generator, int, int], np.ndarray] = logits,
    block_samples: int = 1024,
    **output: Any,
) -> Store:
    """A cache of made-up logits. Where all samples are of one size, only the first view is drawn, and the
    others have its parameters rolled over the samples.

    Args:
        folder: a new one; the cache is in its `cache`.
        recipe: as `views.recipe`.
        of: makes the logits: a generator, rows and classes to float32 [rows, classes].
        output: `encoding`, and its parameters.
    """
    policy = make_recipe(recipe)
    classes = len(samples.classes)
    entry = {
        "kind": "logits",
        **output,
        "shape": [classes],
        "teacher": {"arch": "made_up", "overrides": {}, "digest": "0" * 64, "classes": classes},
        "input": {"size": size, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    }
    identity = {**of_data(samples, Views(recipe=recipe)), "outputs": {"logits": entry}}
    codec, specs = encoding_for(entry), array_specs(identity, MODALITY)
    keys, labels = samples.packed_keys(), samples.labels()
    random = np.random.default_rng(0)
    fields = list(policy.fields())

    def drawn_view(view: int) -> dict[str, np.ndarray]:
        return pack([request.parameters for request in drawn(policy, 0, samples, samples.rows, view)], fields)

    alike = len({row.size for row in samples.rows}) == 1
    first = drawn_view(0)
    with Staging(folder / "staging", identity, specs, keys, labels, block_samples) as staging:
        for block in staging.blocks(views):
            encoded = codec.encode("logits", of(random, block.stop - block.start, classes))
            plane = first if alike else drawn_view(block.view)
            turned = block.view if alike else 0
            parameters = {
                f"{VIEWS}{name}": np.roll(values, turned, axis=0)[block.start : block.stop]
                for name, values in plane.items()
            }
            staging.commit(block, encoded | parameters, {})
        publish([staging], folder / "cache", "zarr", views, {}, [])
    return open_store(folder / "cache")
