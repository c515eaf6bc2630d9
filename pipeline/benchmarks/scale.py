"""What grows with the number of samples, and what does not: tables and planes of an ImageNet's size."""

import gc
import itertools
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillroom import modalities
from stillroom.benchmarks.figure import Figure, alternate, ratios, rounded
from stillroom.benchmarks.ground import logits, photos
from stillroom.benchmarks.measured import in_process, own_bytes
from stillroom.cache.encodings import encoding_for
from stillroom.cache.format.layout import VIEWS
from stillroom.cache.read.backends import open_store
from stillroom.cache.write.publish import publish
from stillroom.cache.write.staging import Staging
from stillroom.columns import Builder
from stillroom.machine import WORKERS as WORKERS_OF_STAGES
from stillroom.machine import cores
from stillroom.modalities.base import Loaded
from stillroom.modalities.images import MODALITY
from stillroom.modalities.images.fields import centre
from stillroom.modalities.images.models.create import Model, create
from stillroom.modalities.images.samples import Sample
from stillroom.modalities.images.settings import Views
from stillroom.progress import Progress
from stillroom.provenance.identity import of_data
from stillroom.provenance.teacher import Teacher
from stillroom.samples import Samples
from stillroom.teaching.generate import array_specs, generate
from stillroom.training.batches import CachedBatches
from stillroom.views.loader import Renderers
from stillroom.views.planes import DrawnPart

MANY, CLASSES = 1_280_000, 1000  # ImageNet's train split, and its classes
COUNTS = (12_800, 128_000, MANY)
PLANES, K, BLOCK = 2, 16, 8192
STUDENT, SIZE = "vit_tiny_patch16_224", 224
WORKERS = 4
MILLION = 1e6
RECIPE = {"name": "crop"}
HERE = "stillroom.benchmarks.scale"


def scale(folder: Path, repeats: int) -> list[Figure]:
    """All of it; it takes gigabytes of disk for some minutes."""
    return [
        *tables(folder / "tables"),
        *students(folder / "students"),
        between_epochs(folder / "epochs", repeats),
        free_teacher(folder / "stage_one", repeats),
    ]


# Tables


def made_up(folder: Path, count: int) -> None:
    """A table of so many samples, whose files are 64 small pictures, over and over."""
    pictures = photos(folder / "photos", 64, size=(64, 64))
    files = list(pictures.rows)
    rows = Builder(Sample)
    for number in range(count):
        file = files[number % len(files)]
        key = f"train/n{number % CLASSES:08d}/n{number % CLASSES:08d}_{number}"
        rows.add(Sample(key, file.path, "train", number % CLASSES, None, file.size, file.sha256))
    classes = tuple(f"n{number:08d}" for number in range(CLASSES))
    Samples("made up", classes, rows.rows(), folder / "photos").save(folder)


def tables(folder: Path) -> list[Figure]:
    """How a large table is opened, and what it takes in the process and in workers that go through it."""
    made_up(folder, MANY)
    modalities.load_samples(folder)  # it is unpacked once a machine
    found = in_process(f"{HERE}:opened", folder)
    what = f"{MANY:,} rows, {rounded((folder / 'samples.parquet').stat().st_size / MILLION)} MB of Parquet"
    return [
        Figure("a table opened", rounded(found["seconds"]), "s", "", None, "<= 1", note=what),
        Figure("... memory of the process", rounded(found["bytes"] / MILLION), "MB", "", None, "<= 300"),
        Figure(
            f"... and of each of {WORKERS} workers",
            rounded(found["worker"] / MILLION),
            "MB more",
            "",
            None,
            "<= 20",
            note="after it made every fourth row of the table",
        ),
    ]


def opened(folder: str) -> dict[str, float]:
    """Open a table; go through it in workers."""
    before, began = own_bytes(), time.perf_counter()
    samples = modalities.load_samples(Path(folder))
    assert samples.rows[0].key and len(samples.in_splits("train"))
    seconds, taken = time.perf_counter() - began, own_bytes() - before
    context = multiprocessing.get_context("fork")
    grown = context.Queue()

    def worker(rank: int) -> None:
        gc.freeze()  # as workers do
        start = own_bytes(forked=True)
        for row in range(rank, len(samples), WORKERS):
            assert samples.rows[row].label < CLASSES
        grown.put(own_bytes(forked=True) - start)

    processes = [context.Process(target=worker, args=(rank,)) for rank in range(WORKERS)]
    for process in processes:
        process.start()
    largest = max(grown.get() for _ in processes)
    for process in processes:
        process.join()
    return {"seconds": seconds, "bytes": taken, "worker": largest}


# Students


def made_up_planes(folder: Path) -> None:
    """A cache of a table: the answers to its first block over and over, and the middle of each picture."""
    samples = modalities.load_samples(folder)
    policy = MODALITY.policy(RECIPE)
    output = {
        "kind": "logits",
        "encoding": "topk",
        "k": K,
        "shape": [CLASSES],
        "teacher": {"arch": "made_up", "overrides": {}, "digest": "0" * 64, "classes": CLASSES},
        "input": {"size": SIZE, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    }
    identity = {**of_data(samples, Views(recipe=RECIPE)), "outputs": {"logits": output}}
    codec, specs = encoding_for(output), array_specs(identity, MODALITY)
    answers = codec.encode("logits", logits(np.random.default_rng(0), BLOCK, CLASSES))
    views = MODALITY.pack([centre((64, 64))] * BLOCK, policy.fields())
    arrays = answers | {f"{VIEWS}{name}": values for name, values in views.items()}
    keys, labels = samples.packed_keys(), samples.labels()
    with Staging(folder / "staging", identity, specs, keys, labels, BLOCK) as staging:
        for block in staging.blocks(PLANES):
            staging.commit(block, {name: one[: block.stop - block.start] for name, one in arrays.items()}, {})
        publish([staging], folder / "cache", "zarr", PLANES, {}, [])
        staging.remove()


def students(folder: Path) -> list[Figure]:
    """What a student's process takes, and how soon an epoch begins, with many samples and with few."""
    found = []
    for count in COUNTS:
        made_up(folder / str(count), count)
        made_up_planes(folder / str(count))
        found.append(in_process(f"{HERE}:trained", folder / str(count)))
    what = f"{CLASSES} classes, topk {K}, {STUDENT}; pictures are not kept"
    fewer = list(zip(COUNTS[:-1], found, strict=False))
    first = [f"{count:,} samples: {rounded(one['seconds'])}" for count, one in fewer]
    sizes = [f"{count:,} samples: {rounded(one['bytes'] / MILLION)}" for count, one in fewer]
    many = found[-1]
    return [
        Figure(
            "first batch of an epoch",
            rounded(many["seconds"]),
            "s",
            f"{', '.join(first)}; the next epoch: {rounded(many['again'])}",
            None,
            "<= 1",
            note=f"{MANY:,} samples, the first epoch of a process; {what}",
        ),
        Figure(
            "memory of a student's process",
            rounded(many["bytes"] / MILLION),
            "MB",
            ", ".join(sizes),
            round(many["bytes"] / found[0]["bytes"], 4),
            "<= 1.1",
            note=f"{MANY:,} samples; without pages of mapped files; {what}",
        ),
    ]


def trained(folder: str) -> dict[str, float]:
    """A few steps of two epochs."""
    os.environ[WORKERS_OF_STAGES] = "0"
    samples, store = modalities.load_samples(Path(folder)), open_store(Path(folder) / "cache")
    model = create(STUDENT, CLASSES, {}, size=SIZE)
    optimizer = torch.optim.AdamW(model.net.parameters())
    source = CachedBatches(samples, store, model.spec, 16, 0, ["logits"], epochs=PLANES)
    source._reader = MODALITY.reader(samples, budget=0)
    seconds = []
    for epoch in range(PLANES):
        began = time.perf_counter()
        for number, batch in enumerate(itertools.islice(source(epoch), 4)):
            if number == 0:
                seconds.append(time.perf_counter() - began)
            outputs = model.run(batch.inputs, "none")["logits"]
            torch.nn.functional.cross_entropy(outputs, batch.targets["logits"].softmax(1)).backward()
            optimizer.step()
            optimizer.zero_grad()
        time.sleep(2)  # an epoch takes longer than what is fetched meanwhile
    return {"seconds": seconds[0], "again": seconds[1], "bytes": own_bytes()}


# Epochs


def between_epochs(folder: Path, repeats: int) -> Figure:
    """How long a device has nothing to do where an epoch ends and the next begins."""
    made_up(folder, 4000)
    made_up_planes(folder)
    found = in_process(f"{HERE}:epochs", folder, 2 + repeats)
    gaps = found["gaps"]
    return Figure(
        "between two epochs",
        rounded(statistics.median(gaps)),
        "s",
        f"between two batches: {rounded(found['batch'])}",
        None,
        "<= 0.1",
        (rounded(min(gaps)), rounded(max(gaps))),
        f"4,000 samples, {WORKERS} workers, batches of 32 at {SIZE} pixels",
    )


def epochs(folder: str, count: str) -> dict[str, Any]:
    """Seconds from an epoch's last batch to the first of the next, and between two batches of one."""
    os.environ[WORKERS_OF_STAGES] = str(WORKERS)
    samples, store = modalities.load_samples(Path(folder)), open_store(Path(folder) / "cache")
    spec = {"size": SIZE, "mean": [0.5] * 3, "std": [0.2] * 3}
    source = CachedBatches(samples, store, spec, 32, 0, ["logits"], epochs=int(count))
    gaps: list[float] = []
    batches: list[float] = []
    last = 0.0
    for epoch in range(int(count)):
        for number, _ in enumerate(source(epoch)):
            now = time.perf_counter()
            if last:
                (batches if number else gaps).append(now - last)
            last = now
    return {"gaps": gaps, "batch": statistics.median(batches)}


# Stage one


class _Free(torch.nn.Module):
    """A teacher that costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(inputs), 40) + self.zero


class _FreeModel(Model):
    def prepare(self, raw: torch.Tensor) -> torch.Tensor:
        return raw


def free_teacher(folder: Path, repeats: int, count: int = 768, views: int = 16) -> Figure:
    """Stage one, all but the teacher, against rendering alone on pictures that are decoded already, each in
    as many worker processes as there are cores.
    """
    workers = cores().used
    samples, policy = photos(folder / "photos", count, size=(500, 400)), MODALITY.policy(RECIPE)
    model = _FreeModel(_Free(), "free", {}, SIZE, (0.5,) * 3, (0.2,) * 3, Loaded())
    outputs = {"logits": {"encoding": "float16", "shape": [40]}}
    keys, labels = samples.packed_keys(), samples.labels()

    def whole(repeat: int) -> None:
        identity = {"views": {"recipe": policy.describe(), "seed": repeat + 1}, "outputs": outputs}
        specs = array_specs(identity, MODALITY)
        with Staging(folder / f"staging{repeat}", identity, specs, keys, labels, BLOCK) as staging:
            todo = staging.blocks(views)
            generate(Teacher([model]), samples, policy, repeat + 1, staging, todo, 32, "none", Progress())

    reader = MODALITY.reader(samples)
    reader.preload(samples.rows)

    def rendering(repeat: int) -> None:
        alone = Renderers(MODALITY, reader, samples, model.spec, workers)
        parts = (
            DrawnPart(policy, 0, view, rows)
            for rows in np.array_split(np.arange(count), count // 32)
            for view in range(views)
        )
        for _ in alone(parts):
            pass
        alone.close()

    before = os.environ.get(WORKERS_OF_STAGES)
    os.environ[WORKERS_OF_STAGES] = str(workers)
    try:
        mine, theirs = alternate(repeats, whole, rendering)
    finally:
        os.environ.pop(WORKERS_OF_STAGES)
        if before is not None:
            os.environ[WORKERS_OF_STAGES] = before
    ratio, spread = ratios(theirs, mine)
    rates = [count * views / statistics.median(seconds) for seconds in (mine, theirs)]
    return Figure(
        "stage one with a free teacher",
        rounded(rates[0]),
        "views/s",
        f"rendering alone, of decoded pictures: {rounded(rates[1])}",
        round(ratio, 4),
        ">= 0.8",
        spread,
        f"{count} JPEGs of 500 x 400, {views} views of {SIZE} pixels, {workers} worker processes each",
    )
