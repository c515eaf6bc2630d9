"""From staged blocks to a store: assembled beside its place, manifest last, then put there by one rename."""

import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stillroom.cache import stores
from stillroom.cache.format.digests import rows_digest
from stillroom.cache.format.divergence import merge
from stillroom.cache.format.layout import ArraySpec, Block, Layout, blocks_per_file, runs
from stillroom.cache.format.manifest import NAME, Manifest
from stillroom.cache.format.rows import Rows
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checked_files import Kept, Reader
from stillroom.cache.write.staging import Staging
from stillroom.errors import CacheError, listing
from stillroom.files import carry, others, swap, sync
from stillroom.lock import claim
from stillroom.progress import Progress


def _store_files() -> re.Pattern[str]:
    """Matches every file of a store of any format."""
    return re.compile("|".join([re.escape(NAME), *(f"({stores.get(one).FILES})" for one in stores.names())]))


def publish(
    stagings: Sequence[Staging],
    folder: Path,
    backend: str,
    views: int,
    environment: dict[str, Any],
    probes: list[dict[str, Any]],
    progress: Progress | None = None,
) -> Manifest:
    """Assemble the first `views` views of the staged blocks into a store, and put it where an older one was.

    An earlier store in `folder` stays whole until the new one is in place. The same blocks give the same
    bytes, and a file that an earlier store holds already is copied, so the files of old views do not change
    when views are added. The staged blocks stay.

    Args:
        stagings: open, with every block of these views committed; one for each output, and all of the same
            samples and views. The parameters of the views are taken from the first.
        folder: where the store is to be.
        backend: the store's format, by name.
        views: V, at least 1.
        environment, probes: kept in the manifest (see `Manifest`), JSON.

    Raises:
        ValueError: the identity, arrays or probes cannot be in a manifest.
        CacheError: blocks are missing or damaged, `folder` holds something that is no cache, or the disk is
            full. What was in `folder` is untouched, and nothing else is left behind.
    """
    target = Path(os.path.abspath(folder))
    refuse_other_content(target)
    owners: dict[str, Staging] = {}
    for staging in reversed(stagings):
        owners |= dict.fromkeys(staging.arrays, staging)
    manifest = _describe(stagings, owners, backend, views, environment, probes)

    def read(name: str, view: int, start: int, stop: int) -> np.ndarray:
        parts = [Block(view, *run) for run in runs(start, stop, manifest.layout.block_samples)]
        return np.concatenate([owners[name].read(block, [name])[name] for block in parts])

    return assemble(manifest, stagings[0].rows, read, target, progress)


def assemble(
    manifest: Manifest, rows: Rows, read: Reader, folder: Path, progress: Progress | None = None
) -> Manifest:
    """Write the store that a manifest describes, and put it in its place by one rename.

    Args:
        manifest: all but `metadata`, which is filled in.
        rows: keys and labels.
        read: gives the values, checked.
        folder: where the store is to be; an earlier store there is replaced.

    Raises:
        as `publish`.
    """
    progress = progress or Progress()
    target, layout = Path(os.path.abspath(folder)), manifest.layout
    writer = stores.get(manifest.backend)
    manifest.check()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
        mark = temporary.with_suffix(".lock")
        held = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            claim(held, mark)  # shows `_sweep` that somebody is at work here
            temporary.mkdir()
            progress.start(
                "publishing", layout.views * sum(len(layout.parts(name)) for name in layout.arrays), "parts"
            )
            writer.write(temporary, layout, rows, read, _kept(target, manifest), progress)
            metadata = {
                name: hashlib.sha256((temporary / name).read_bytes()).hexdigest()
                for name in writer(temporary, manifest).metadata_files()
            }
            manifest = replace(manifest, metadata=metadata)
            _sync_all(temporary)
            manifest.save(temporary)
            _replace(temporary, target, progress)
        finally:
            _surely(_discard, temporary)
            mark.unlink(missing_ok=True)
            os.close(held)
    except OSError as error:
        raise CacheError(
            f"the store cannot be written to {target}",
            error.strerror or str(error),
            "free space or mend the permissions, then run the command again; the staged blocks are kept",
        ) from error
    progress.finish()
    return manifest


def _kept(target: Path, manifest: Manifest) -> Kept:
    """Which files of the store at `target` hold what the new store is to hold, byte for byte."""
    try:
        earlier = open_store(target)
    except CacheError:
        return lambda name, view, part: None
    new, old = manifest.layout, earlier.layout
    same = (
        earlier.manifest.backend == manifest.backend
        and (old.samples, old.block_samples) == (new.samples, new.block_samples)
        and (not stores.get(manifest.backend).TOGETHER or old.arrays == new.arrays)
    )

    def kept(name: str, view: int, part: int) -> Path | None:
        if not same or view >= old.views or name not in old.arrays or old.parts(name) != new.parts(name):
            return None
        start, stop = new.parts(name)[part]
        for run in runs(start, stop, new.block_samples):
            block = Block(view, *run)
            if earlier.manifest.blocks[block][name] != manifest.blocks[block][name]:
                return None
        if earlier.examine([name], view, part)[1]:
            return None
        return earlier.folder / earlier.file(name, view, part)

    return kept


def cut(backend: str, samples: int, block_samples: int, arrays: dict[str, ArraySpec]) -> dict[str, int]:
    """How many blocks of a plane share a file, by array name (`Layout.file_blocks`)."""
    if stores.get(backend).TOGETHER:
        row_bytes = sum(spec.row_bytes for spec in arrays.values())
        return dict.fromkeys(arrays, blocks_per_file(samples, block_samples, row_bytes))
    return {name: blocks_per_file(samples, block_samples, spec.row_bytes) for name, spec in arrays.items()}


def _describe(
    stagings: Sequence[Staging],
    owners: dict[str, Staging],
    backend: str,
    views: int,
    environment: dict[str, Any],
    probes: list[dict[str, Any]],
) -> Manifest:
    first = stagings[0]
    samples, size = len(first.rows.labels), first.block_samples
    for other in stagings[1:]:
        if other.block_samples != size:
            raise CacheError(
                f"the staged blocks in {other.folder} have {other.block_samples} samples, those in "
                f"{first.folder} have {size}",
                "blocks of one cache must be equal",
                f"remove one of the two folders (rm -r {other.folder}) and run the command again",
            )
    arrays = {name: owners[name].arrays[name] for name in sorted(owners)}
    layout = Layout(views, samples, size, arrays, cut(backend, samples, size, arrays))
    digests: dict[Block, dict[str, str]] = {}
    measured: dict[Block, dict[str, Any]] = {}
    faults = []
    for block in layout.blocks():
        try:
            block_digests: dict[str, str] = {}
            for staging in reversed(stagings):
                entry, values = staging.entry(block)
                block_digests |= entry
                measured.setdefault(block, {}).update(values)
            digests[block] = block_digests
        except CacheError as error:
            faults.append(error.what)
    if faults:
        why = f"{len(faults)} of {len(faults) + len(digests)} blocks are missing or damaged"
        fix = "run the command again; it computes what is missing"
        raise CacheError(f"the cache in {first.folder} is not whole:\n{listing(faults)}", why, fix)
    outputs = {name: out for staging in stagings for name, out in staging.identity["outputs"].items()}
    quality = {
        name: merge(
            (block.stop - block.start, measured[block][name]) for block in digests if name in measured[block]
        )
        for name in outputs
        if any(name in values for values in measured.values())
    }
    return Manifest(
        identity={**first.identity, "outputs": outputs},
        backend=backend,
        layout=layout,
        key_bytes=first.rows.keys.shape[1],
        rows=rows_digest(first.rows),
        blocks=digests,
        measured=measured,
        environment=environment,
        probes=probes,
        quality=quality,
    )


def refuse_other_content(target: Path) -> None:
    """A store replaces a store or nothing: a mistyped path must not mix anybody's files with one.

    Raises:
        CacheError: there is something else; names it. Hidden files do not count.
    """
    foreign = [target.name] if target.exists() and not target.is_dir() else []
    if target.is_dir() and not (target / NAME).exists():
        foreign = sorted(file.name for file in target.iterdir() if not file.name.startswith("."))
    if foreign:
        raise CacheError(
            f"{target} holds something that is no cache:\n{listing(foreign, 6)}",
            f"there is no {NAME} in it, and a cache is to be there",
            "move it away, or choose another place for the store",
        )


def _replace(temporary: Path, target: Path, progress: Progress) -> None:
    """Move what is at `target` aside, put `temporary` there, remove the old; undone if it fails half-way.

    Somebody's own files in the old store are put beside the new one: in a store each file counts.
    """
    if target.is_symlink() and not target.exists():  # the disk behind it may be away
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
    aside = temporary.with_suffix(".old")
    try:
        swap(temporary, target, aside, lambda: _keep_others(aside, target, progress))
        sync(target.parent)
    finally:
        _surely(_remove, aside)


def _keep_others(old: Path, target: Path, progress: Progress) -> None:
    ours = _store_files()
    kept = sorted(others(old, ours))
    if not kept:
        return
    number = 1
    while (path := target.with_name(f"{target.name}.others{number}")).exists():
        number += 1
    carry(old, path, ours)
    progress.note(f"no part of the cache, and moved to {path}:\n{listing(kept, 6)}")


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
    beside = f".{glob.escape(target.name)}.*"
    lefts = [*target.parent.glob(f"{beside}.new"), *target.parent.glob(f"{beside}.lock")]
    for left in {file.with_suffix(".new") for file in lefts}:
        mark = left.with_suffix(".lock")  # no lock on the folder: NFS locks only what is open for writing
        held = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            claim(held, mark)
            _remove(left)
            mark.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # its writer lives
        finally:
            os.close(held)


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
