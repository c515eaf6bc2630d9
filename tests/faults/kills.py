"""SIGKILL at random moments of `stillroom cache`: what was committed stays, and the end is the same."""

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from tests import warm
from tests.processes import kill_all

# Many small blocks: 2 classes' worth of pictures would do, but views are what takes time.
PARAMS = """
data: {name: sketch40, train_per_class: 2, test_per_class: 1, image_size: 64}
views: {count: 60, size: 64}
teacher:
  arch: convnext_atto
  overrides: {patch_size: 4, depths: [1, 1, 1, 1], dims: [8, 16, 24, 32]}
  train: {epochs: 1, batch_size: 80, warmup_epochs: 0}
cache: {store: zarr, block_samples: 16, batch_size: 16}
"""


def project(folder: Path) -> Path:
    """Samples and a teacher that learned for one step: what its logits are is no matter here."""
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(PARAMS)
    for stage in ("prepare", "teacher"):
        run(folder, "stillroom", stage)
    return folder


def run(folder: Path, *command: str) -> str:
    done = warm.run(command, folder, environment())
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{warm.path()}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}


def command(backend: str, ranks: int) -> tuple[str, ...]:
    start = ("torchrun", "--no-python", "--nproc-per-node", str(ranks)) if ranks > 1 else ()
    return (*start, "stillroom", "cache", "--set", f"cache.store={backend}")


def committed(folder: Path) -> dict[str, tuple[int, int]]:
    """Each staged block with its inode and time: one that is computed again has others."""
    files = (folder / "artifacts/.staging").glob("*/*.block")
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def unfinished(folder: Path) -> set[str]:
    """Stores that a run was writing, or had left behind."""
    return {path.name for path in (folder / "artifacts").glob(".cache.*")}


def kills(folder: Path, count: int, seed: int = 0) -> dict:
    """Kill `count` runs of both formats and one and two ranks, each going on where the last was killed.

    Returns:
        how many were killed at work on blocks, while publishing or before, and `faults`: blocks that were
        lost or computed again, stores with other digests than an undisturbed run's.
    """
    project(folder)
    chance = random.Random(seed)
    cache, staging = folder / "artifacts/cache", folder / "artifacts/.staging"
    run(folder, *command("zarr", 1))
    expected = open_store(cache).manifest.blocks
    found = {"kills": 0, "starting": 0, "computing": 0, "publishing": 0, "finished": 0}
    faults: list[str] = []
    turns = [(backend, ranks) for backend in ("zarr", "hdf5") for ranks in (1, 2)]
    while found["kills"] < count:
        backend, ranks = turns[chance.randrange(len(turns))]
        complete = len(committed(folder)) == len(expected)
        if cache.exists() or (complete and chance.random() < 0.7):  # begin anew
            shutil.rmtree(staging, ignore_errors=True)
            shutil.rmtree(cache, ignore_errors=True)
        before, stores = committed(folder), unfinished(folder)
        process = warm.start(command(backend, ranks), folder, environment())
        # Most kills wait for work to begin, and then for a random while.
        patience = time.monotonic() + (60 if chance.random() < 0.9 else chance.uniform(0, 5))
        while process.poll() is None and time.monotonic() < patience:
            if committed(folder).keys() != before.keys() or unfinished(folder) - stores:
                break
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 3))
        ended = process.poll()
        if ended is None:
            kill_all(process)
            found["kills"] += 1
            after = committed(folder)
            publishing = unfinished(folder) - stores
            state = "publishing" if publishing else "computing" if after != before else "starting"
            found[state] += 1
        else:
            after = committed(folder)
            if ended:
                faults.append(f"a run ended with {ended}: {process.stderr[-400:]}")
            found["finished"] += 1
        for name, mark in before.items():
            if name not in after:
                faults.append(f"lost: {name}")
            elif after[name] != mark:
                faults.append(f"computed again: {name}")
        if (cache / "manifest.json").exists():
            if open_store(cache).manifest.blocks != expected or verify(cache):
                faults.append(f"{backend}, {ranks} ranks: other digests than an undisturbed run's")
        elif cache.exists():
            faults.append("a store without a manifest is in place")
    for backend, ranks in turns[: count // 4]:  # however often it was killed, every way ends with the same
        shutil.rmtree(cache, ignore_errors=True)
        run(folder, *command(backend, ranks))
        if open_store(cache).manifest.blocks != expected or verify(cache):
            faults.append(f"{backend}, {ranks} ranks: other digests at the end")
    return {**found, "blocks": len(expected), "faults": faults}


if __name__ == "__main__":
    print(json.dumps(kills(Path(sys.argv[1]), int(sys.argv[2])), indent=2))
