"""Large caches: bytes a view, the speed of verifying, and a million samples in constant memory."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stillroom.cache.encodings import encoding_for
from stillroom.cache.format.divergence import kl
from stillroom.cache.format.layout import VIEWS, ArraySpec
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from stillroom.cache.stores import get as reader_of
from stillroom.cache.write.publish import publish
from stillroom.cache.write.staging import Staging
from stillroom.modalities.images.fields import View, pack
from stillroom.modalities.images.policies import make_recipe
from stillroom.modalities.images.samples import Sample

RECIPE = make_recipe({"name": "crop"})
PARAMETERS = {
    f"{VIEWS}{name}": ArraySpec(np.dtype(dtype).str, shape)
    for name, (dtype, shape) in RECIPE.fields().items()
}


def logits(random: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    """As in `benchmarks/ground.py`, which brings torch: a process whose memory is measured does without."""
    values = random.normal(-2, 2, (rows, classes)).astype(np.float32)
    for place in range(3):
        values[np.arange(rows), random.integers(0, classes, rows)] += random.uniform(2, 14 - 4 * place, rows)
    return values


def drawn_view(key: str, view: int) -> View:
    return RECIPE.draw(0, Sample(key, key, "train", 0, None, (500, 375), ""), view)


def small(folder: Path, views: int, samples: int = 4000) -> dict:
    """Caches of 40 classes as Stanford 40's: bytes a view, divergence, speed of verify, time to open."""
    found = {}
    keys = [f"sample_{index:05d}" for index in range(samples)]
    for encoding in ("float16", "int8"):
        output = {"encoding": encoding, "shape": [40]}
        codec = encoding_for(output)
        specs = codec.fields("logits", (40,)) | PARAMETERS
        identity = {"outputs": {"logits": output}}
        random = np.random.default_rng(0)
        with Staging(folder / "staging", identity, specs, keys, [0] * samples, 1024) as staging:
            for block in staging.blocks(views):
                values = logits(random, block.stop - block.start, 40)
                encoded = codec.encode("logits", values)
                views_drawn = [drawn_view(key, block.view) for key in keys[block.start : block.stop]]
                drawn = pack(views_drawn, RECIPE.KEEPS)
                arrays = encoded | {f"{VIEWS}{name}": part for name, part in drawn.items()}
                measured = kl(values, codec.decode("logits", (40,), encoded))
                staging.commit(block, arrays, {"logits": measured})
            for backend in ("zarr", "hdf5"):
                cache = folder / f"{encoding}-{backend}"
                manifest = publish([staging], cache, backend, views, {}, [])
                files = [str(file) for file in cache.rglob("*") if file.is_file()]
                size = sum(Path(file).stat().st_size for file in files)
                reader_of(backend)
                ours, theirs = [], []
                for _ in range(5):  # in turns, since machines are never quiet
                    ours.append(time_of(lambda cache=cache: verify(cache), 1))
                    hashes = ["sha256sum", *files]
                    theirs.append(
                        time_of(lambda h=hashes: subprocess.run(h, capture_output=True, check=True), 1)
                    )
                began = time.perf_counter()
                open_store(cache).logits(1)
                opening = time.perf_counter() - began
                found[f"{encoding} {backend}"] = {
                    "bytes_per_view": round(size / views / samples, 2),
                    "kl": manifest.quality["logits"]["T=1"]["mean"],
                    "verify_mb_s": round(size / np.median(ours) / 1e6),
                    "sha256sum_mb_s": round(size / np.median(theirs) / 1e6),
                    "ratio": round(float(np.median(theirs) / np.median(ours)), 2),
                    "open_and_plane_ms": round(1e3 * opening, 1),
                }
    return found


def time_of(work: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def large(folder: Path, samples: int, views: int = 4, classes: int = 1000) -> dict:
    """Write and verify `topk` of a synthetic teacher; runs in a process of its own, whose memory is its own.

    Returns:
        seconds, bytes a view, and the most memory in MB, of writing and of verifying.
    """
    found = {}
    for part in ("write", "verify"):
        arguments = [part, str(folder), str(samples), str(views), str(classes)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.size", *arguments], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        found[part] = json.loads(done.stdout)
    return found


def _write(folder: Path, samples: int, views: int, classes: int) -> dict:
    shutil.rmtree(folder, ignore_errors=True)
    output = {"encoding": "topk", "k": 16, "shape": [classes]}
    codec = encoding_for(output)
    specs = codec.fields("logits", (classes,)) | PARAMETERS
    keys = [f"{index:08d}" for index in range(samples)]
    random = np.random.default_rng(0)
    pool = logits(random, 8192, classes)
    drawn = pack([drawn_view(key, 0) for key in keys[:8192]], RECIPE.KEEPS)
    began = time.perf_counter()
    with Staging(
        folder / "staging", {"outputs": {"logits": output}}, specs, keys, [0] * samples, 8192
    ) as staging:
        for number, block in enumerate(staging.blocks(views)):
            rows = block.stop - block.start
            # each block has logits of its own: other classes, and a little more or less sure
            values = np.roll(pool[:rows], 7 * number, axis=1) * np.float32(1 + number % 13 / 50)
            encoded = codec.encode("logits", values)
            measured = kl(values[:512], codec.decode("logits", (classes,), _head(encoded)))
            parts = {f"{VIEWS}{name}": np.roll(part, number, axis=0)[:rows] for name, part in drawn.items()}
            staging.commit(block, encoded | parts, {"logits": measured})
        staged = time.perf_counter()
        publish([staging], folder / "cache", "zarr", views, {}, [])
    files = [file for file in (folder / "cache").rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "of_which_publishing": round(time.perf_counter() - staged, 1),
        "bytes_per_view": round(size / samples / views, 2),
        "files": len(files),
        "megabytes": _memory(),
    }


def _head(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values[:512] for name, values in arrays.items()}


def _verify(folder: Path) -> dict:
    began = time.perf_counter()
    damage = verify(folder / "cache")
    seconds = time.perf_counter() - began
    size = sum(file.stat().st_size for file in (folder / "cache").rglob("*") if file.is_file())
    return {
        "damage": len(damage),
        "seconds": round(seconds, 1),
        "mb_s": round(size / seconds / 1e6),
        "megabytes": _memory(),
    }


def _memory() -> int:
    """The most memory that this process took, in MB; getrusage would count what its parent took before."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) // 1000 if found else 0


if __name__ == "__main__":
    part, folder, *numbers = sys.argv[1:]
    work = _write(Path(folder), *map(int, numbers)) if part == "write" else _verify(Path(folder))
    print(json.dumps(work))
