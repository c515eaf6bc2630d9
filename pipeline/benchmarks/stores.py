"""What the store costs: time to read a plane, bytes a view, memory of a student run with many views."""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from stillroom.benchmarks.figure import Figure, alternate, ratios, rounded
from stillroom.benchmarks.ground import made_up_cache, photos, table
from stillroom.benchmarks.rendering import RECIPE
from stillroom.errors import StillroomError

READS = 200  # planes a repeat
MEMORY_TRAIN = {"epochs": 24, "batch_size": 100, "warmup_epochs": 0}


def reading(folder: Path, repeats: int) -> Figure:
    """One plane of 4,000 x 40 float16, digest checked, against `numpy.load` of the same array."""
    store = made_up_cache(folder / "reading", table(4000), 8, RECIPE, encoding="float16")
    file = folder / "plane.npy"
    np.save(file, store.read_plane(0, ["logits"])["logits"])

    def ours(repeat: int) -> None:
        for number in range(READS):
            store.read_plane(number % 8, ["logits"])

    def numpy(repeat: int) -> None:
        for _ in range(READS):
            np.load(file)

    mine, theirs = alternate(repeats, ours, numpy)
    ratio, spread = ratios(mine, theirs)
    values = [1e3 * statistics.median(seconds) / READS for seconds in (mine, theirs)]
    return Figure(
        "reading a plane",
        rounded(values[0]),
        "ms",
        f"numpy.load: {rounded(values[1])}",
        rounded(ratio),
        "<= 2",
        spread,
        "4,000 x 40 float16, read, checked against its SHA-256, decompressed; numpy.load of the same array",
    )


def bytes_a_view(folder: Path) -> list[Figure]:
    """Of a whole cache, files and manifest and view parameters: 4,000 samples, 64 views; 1,000 classes."""
    figures = []
    for name, samples, views, more, goal, known in (
        ("float16, 40 classes", 4000, 64, {"encoding": "float16"}, 92, ""),
        ("int8, 40 classes", 4000, 64, {"encoding": "int8"}, 58, ""),
        (
            "topk 16, 1,000 classes",
            20_000,
            4,
            {"encoding": "topk", "k": 16},
            80,
            "404 TinyViT, 37-104 ml-dr, 29-57 FKD",
        ),
    ):
        classes = 1000 if "1,000" in name else 40
        store = made_up_cache(folder / name, table(samples, classes), views, RECIPE, **more)
        _, size = store.size_on_disk()
        value = size / views / samples
        note = "published sizes; TinyViT's with K=100" if known else ""
        figures.append(
            Figure(f"bytes a view, {name}", round(value, 1), "bytes", known, None, f"<= {goal}", note=note)
        )
    return figures


def memory(folder: Path, pictures: int = 1000) -> Figure:
    """The largest resident memory of `stillroom student` with a cache of 512 views, and with one of 16.

    A micro ViT at 32 pixels, small pictures, 24 epochs: as many planes are read.

    Args:
        pictures: of the train split; with fewer, what a cache takes is less beside all else.
    """
    peaks = []
    for views in (16, 512):
        project = folder / f"of{views}"
        data = project / "artifacts/data"
        drawn = photos(data / "pictures", pictures + 40, size=(64, 48))
        rows = [replace(row, split="test" if index < 40 else "train") for index, row in enumerate(drawn.rows)]
        samples = replace(drawn, dataset="folder", rows=tuple(rows))
        samples.save(data)
        train = samples.in_splits("train")
        made_up_cache(project / "artifacts", train, views, RECIPE, size=32, encoding="float16")
        params = {
            "data": {"name": samples.dataset},
            "views": {"count": views, "recipe": RECIPE},
            "student": {"model": {"size": "micro", "image_size": 32}, "train": MEMORY_TRAIN},
        }
        (project / "params.yaml").write_text(json.dumps(params), encoding="utf-8")
        peaks.append(_peak(project, "student", "--family", "vit", "--arm", "kd"))
    return Figure(
        "student's memory, 512 views",
        rounded(peaks[1] / 2**20),
        "MiB",
        f"with 16 views: {rounded(peaks[0] / 2**20)}",
        round(peaks[1] / peaks[0], 4),
        "<= 1.05",
        note="the most that `stillroom student` held; micro ViT at 32 pixels, 24 epochs on "
        f"{pictures:,} pictures",
    )


# The largest memory as its own status reports it: `getrusage` would count its parent's before `exec` too.
_PROGRAM = """
import atexit, re, sys
from pathlib import Path
from stillroom_stages.cli import main

def tell():
    kilobytes = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
    Path("peak").write_text(kilobytes)

atexit.register(tell)
sys.exit(main())
"""


def _peak(project: Path, *words: str) -> int:
    """The most memory that a `stillroom` command held, in bytes.

    Raises:
        StillroomError: it failed; with its output.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", _PROGRAM, *words]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StillroomError(f"stillroom {' '.join(words)} failed", done.stderr[-500:])
    return int((project / "peak").read_text()) * 1024
