"""From staged blocks to a store: assembled beside its place, manifest last, then put there by one rename."""

import fcntl
import glob
import os
import secrets
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cache.backends import backend as backend_class
from pipeline.cache.layout import Block, Layout, blocks_per_file, runs
from pipeline.cache.manifest import NAME, Manifest, rows_digest
from pipeline.cache.staging import Staging, sync
from pipeline.errors import CacheError, listing
from pipeline.progress import Progress


def publish(
    staging: Staging,
    folder: Path,
    backend: str,
    views: int,
    environment: dict[str, Any],
    probes: list[dict[str, Any]],
    quality: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Assemble the first `views` views of the staged blocks into a store, and put it where an older one was.

    An earlier store in `folder` stays whole until the new one is in place. The same blocks give the same
    bytes, so the files of old views do not change when views are added. The staged blocks stay.

    Args:
        staging: open, with every block of these views committed.
        folder: where the store is to be.
        backend: `zarr` or `hdf5`.
        views: V, at least 1.
        environment, probes, quality: kept in the manifest (see `Manifest`), JSON.

    Raises:
        ValueError: the identity, arrays or probes cannot be in a manifest.
        CacheError: blocks are missing or damaged, `folder` holds something that is no cache, or the disk is
            full. What was in `folder` is untouched, and nothing else is left behind.
    """
    progress = progress or Progress()
    writer = backend_class(backend)
    target = Path(os.path.abspath(folder))
    _refuse_other_content(target)
    manifest = _describe(staging, backend, views, environment, probes, quality or {})
    manifest.check()
    layout = manifest.layout

    def read(name: str, view: int, start: int, stop: int) -> np.ndarray:
        parts = [Block(view, *run) for run in runs(start, stop, layout.block_samples)]
        return np.concatenate([staging.read(block, [name])[name] for block in parts])

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
        temporary.mkdir()
        claim = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)  # tells `_sweep` that somebody is at work here
            progress.start(
                "publishing", layout.views * sum(len(layout.parts(name)) for name in layout.arrays), "parts"
            )
            writer.write(temporary, layout, staging.rows, read, progress)
            _sync_all(temporary)
            manifest.save(temporary)
            sync(temporary)
            _replace(temporary, target)
        finally:
            os.close(claim)
            _surely(_discard, temporary)
    except OSError as error:
        raise CacheError(
            f"the store cannot be written to {target}",
            error.strerror or str(error),
            "free space or mend the permissions, then run the command again; the staged blocks are kept",
        ) from error
    progress.finish()
    return manifest


def _describe(
    staging: Staging,
    backend: str,
    views: int,
    environment: dict[str, Any],
    probes: list[dict[str, Any]],
    quality: dict[str, Any],
) -> Manifest:
    samples, size, arrays = len(staging.rows.labels), staging.block_samples, staging.arrays
    if backend == "hdf5":  # one file holds every array of its blocks
        together = blocks_per_file(samples, size, sum(spec.row_bytes for spec in arrays.values()))
        file_blocks = dict.fromkeys(arrays, together)
    else:
        file_blocks = {name: blocks_per_file(samples, size, spec.row_bytes) for name, spec in arrays.items()}
    layout = Layout(views, samples, size, arrays, file_blocks)
    digests, faults = {}, []
    for block in layout.blocks():
        try:
            digests[block] = staging.digests(block)
        except CacheError as error:
            faults.append(error.what)
    if faults:
        why = f"{len(faults)} of {len(faults) + len(digests)} blocks are missing or damaged"
        fix = "run the command again; it computes what is missing"
        raise CacheError(f"the cache in {staging.folder} is not whole:\n{listing(faults)}", why, fix)
    return Manifest(
        identity=staging.identity,
        backend=backend,
        layout=layout,
        key_bytes=staging.rows.keys.shape[1],
        rows=rows_digest(staging.rows),
        blocks=digests,
        environment=environment,
        probes=probes,
        quality=quality,
    )


def _refuse_other_content(target: Path) -> None:
    """A store replaces a store or nothing: a mistyped path must not cost anybody their files."""
    taken = target.exists() and not target.is_dir()
    if taken or (target.is_dir() and any(target.iterdir()) and not (target / NAME).exists()):
        raise CacheError(
            f"{target} holds something that is no cache",
            f"there is no {NAME} in it, and publishing would replace it",
            "move it away, or choose another place for the store",
        )


def _replace(temporary: Path, target: Path) -> None:
    """Move what is at `target` aside, put `temporary` there, remove the old; undone if it fails half-way."""
    aside = temporary.with_suffix(".old")
    try:
        if target.is_dir():
            target.rename(aside)
        temporary.rename(target)
        sync(target.parent)
    finally:
        if aside.exists() and not target.exists():
            aside.rename(target)
        _surely(_remove, aside)


def _surely(clear: Callable[[Path], None], folder: Path) -> None:
    """Clear away a folder to the end, even if Ctrl-C comes meanwhile."""
    try:
        clear(folder)
    except KeyboardInterrupt:
        clear(folder)
        raise


def _sweep(target: Path) -> None:
    """Remove what killed writers of this store left beside it; put back a store that they had moved aside."""
    for aside in target.parent.glob(f".{glob.escape(target.name)}.*.old"):
        if target.exists():
            _remove(aside)
        else:
            aside.rename(target)
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.new"):
        claim = os.open(left, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(left)
        except BlockingIOError:
            pass  # its writer lives
        finally:
            os.close(claim)


def _discard(temporary: Path) -> None:
    """Remove an unfinished store; it is gone already if all went well."""
    for _ in range(20):
        if not temporary.exists():
            return
        shutil.rmtree(temporary, ignore_errors=True)
        time.sleep(0.05)  # after Ctrl-C a thread of zarr's may still write a file, and make its folder again


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _sync_all(folder: Path) -> None:
    """Flush all files and folders in `folder` to the disk, so that no manifest arrives before its data."""
    paths = [Path(root, name) for root, _, names in os.walk(folder) for name in ("", *names)]
    with ThreadPoolExecutor(16) as pool:  # waiting for the disk one by one would take seconds a hundred views
        for _ in pool.map(sync, paths):
            pass
