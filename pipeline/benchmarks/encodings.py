"""Bytes against divergence: what each encoding makes of the logits of 1,000 classes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from stillroom.benchmarks.figure import Figure, rounded
from stillroom.benchmarks.ground import made_up_cache, table
from stillroom.benchmarks.rendering import RECIPE
from stillroom.cache.encodings import encoding_for
from stillroom.cache.format.divergence import kl
from stillroom.cache.write.convert import convert

CLASSES = 1000
SAMPLES, VIEWS = 20_000, 4
MEASURED = 20_000  # rows whose divergence is measured
BEFORE, SMALL = "topk k=16", "packed k=17 bits=3"  # the second is to be as near as the first, in GOAL bytes
GOAL = 32
SMALLEST = {"encoding": "packed", "k": 17, "bits": 3}
SETTINGS: tuple[dict[str, Any], ...] = (
    {"encoding": "float16"},
    {"encoding": "int8"},
    *({"encoding": "topk", "k": k} for k in (8, 16, 32)),
    *({"encoding": "packed", "k": k, "bits": 3} for k in (8, 12, 16, 17, 24, 32)),
    *({"encoding": "packed", "k": 16, "bits": bits} for bits in (4, 6)),
    *({"encoding": "sampled", "draws": draws, "seed": 0} for draws in (16, 32)),
)


def curve(
    folder: Path, settings: tuple[dict[str, Any], ...] = SETTINGS, samples: int = SAMPLES
) -> list[Figure]:
    """A figure for each setting, and how near the small one is to what it is to equal.

    Args:
        folder: a new one.
        settings: encodings with their parameters, as an entry of `identity["outputs"]` has them.
        samples: of each cache, in `VIEWS` views.
    """
    figures = {
        one.name: one for one in (measure(folder / str(at), of, samples) for at, of in enumerate(settings))
    }
    if BEFORE not in figures or SMALL not in figures:
        return list(figures.values())
    large = measure(folder / "large", SMALLEST, samples, 8192)  # the manifest has an entry a block
    mine, theirs = (figures[name].more["kl_t1"] for name in (SMALL, BEFORE))
    near = Figure(
        f"mean KL at T = 1, {SMALL}",
        rounded(mine),
        "nats",
        f"{BEFORE}: {rounded(theirs)}",
        rounded(mine / theirs),
        "<= 1",
    )
    return [*figures.values(), large, near]


def measure(folder: Path, setting: dict[str, Any], samples: int, block_samples: int = 1024) -> Figure:
    """Write a whole cache in both formats, and measure how near what it holds is.

    Returns:
        bytes a view in Zarr: all files, view parameters, keys and manifest too; in `more` `bytes_hdf5`, the
        bytes of `arrays` alone, before compression, and the mean divergences `kl_t1` and `kl_t4`, nats.
    """
    parameters = [f"{key}={value}" for key, value in setting.items() if key not in ("encoding", "seed")]
    name, views = " ".join([setting["encoding"], *parameters]), VIEWS * samples
    store = made_up_cache(
        folder,
        table(samples, CLASSES),
        VIEWS,
        RECIPE,
        of=imagenet_like,
        block_samples=block_samples,
        **setting,
    )
    convert(store, folder / "hdf5", "hdf5")
    hdf5 = sum(file.stat().st_size for file in (folder / "hdf5").rglob("*") if file.is_file())
    zarr = store.size_on_disk()[1]
    shutil.rmtree(folder)
    codec = encoding_for(setting)
    values = imagenet_like(np.random.default_rng(1), min(samples, MEASURED), CLASSES)
    found = kl(values, codec.decode("x", (CLASSES,), codec.encode("x", values)))
    more = {
        "bytes_hdf5": round(hdf5 / views, 1),
        "arrays": float(sum(spec.row_bytes for spec in codec.fields("x", (CLASSES,)).values())),
        "kl_t1": found["T=1"]["mean"],
        "kl_t4": found["T=4"]["mean"],
    }
    near = " and ".join(f"{rounded(more[f'kl_t{t}'])} at T = {t}" for t in (1, 4))
    beside = f"HDF5: {more['bytes_hdf5']}; mean KL {near}"
    goal = f"<= {GOAL}" if name == SMALL else ""
    if block_samples != 1024:
        name += f", block_samples={block_samples}"
    return Figure(name, round(zarr / views, 1), "bytes a view, Zarr", beside, None, goal, more=more)


def imagenet_like(random: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    """Made-up logits with the spread of an ImageNet teacher's, float32 [rows, classes].

    Every class has an exponential logit, so that sorted probabilities fall as a power of their rank, 1.2 to
    2.0 a row, as heavy tails do; and one class has 13 more, with a standard deviation of 4.5 between rows.
    Of 1,000 classes the likeliest is then 0.79 probable on average (median 0.93), and 3.2% lie outside the
    16 likeliest. No real teacher was looked at; a real one has classes that look alike, and here any two are
    as likely to come together as any others.
    """
    slopes = random.uniform(1.2, 2.0, (rows, 1))
    values = random.exponential(1, (rows, classes)) * slopes
    values[np.arange(rows), random.integers(0, classes, rows)] += random.normal(13, 4.5, rows)
    return values.astype(np.float32)
