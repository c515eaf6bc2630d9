"""Is a published cache still what was written? Reads every byte that a reader would believe."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from stillroom.cache.format.manifest import NAME
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.damage import Damage
from stillroom.cache.read.store import Store
from stillroom.errors import CacheError, fetch
from stillroom.fetched import is_address
from stillroom.progress import Progress

SURPLUS = "belongs to no part of this cache"
# What the Hub and `stillroom share` put beside a cache, and where `hf download` keeps its notes
_ABOUT, _NOTES = {"README.md", ".gitattributes"}, ".cache/huggingface/"
_WORTHWHILE = 2**22  # bytes of a plane from which on threads gain
_TURN = 64  # planes handed to the threads at a time


def verify(location: Path | str, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Check a cache against its manifest: every block, keys, labels, metadata, and that no file is too many.

    Args:
        location: the folder of the cache, or its address.

    Returns:
        The damage, empty if there is none: `block` ({"views": [v, v+1], "samples": [start, stop]}, or None
        where it is not about a block), `file` (relative to the folder), `reason`.

    Raises:
        CacheError: there is no such folder.
    """
    progress = progress or Progress()
    if not is_address(location) and not Path(location).is_dir():
        raise CacheError(f"{location} is no folder", fix=fetch(location))
    try:
        store = open_store(location)
    except CacheError as error:
        if is_address(location):
            raise
        return [_entry(Damage(None, NAME, f"{error.what}; {error.why}"))]
    if store.remote:  # what lies there is asked about, not what was fetched of it earlier
        store.remote.forget(store.files())
    layout = store.layout
    damage = [*store.structure(), *(() if store.remote else _surplus(store))]
    named = {fault.file for fault in damage}
    damage += [fault for fault in store.examine_rows()[1] if fault.file not in named]  # store.h5 is both
    units = store.units(sorted(layout.arrays))
    progress.start("verifying", layout.views * sum(len(names) for names, _ in units), "parts")

    def look(view: int) -> list[Damage]:
        return [fault for names, part in units for fault in store.check(names, view, part)]

    # Hashing and decompressing leave other threads their turn; a plane a thread, so that memory stays small.
    # Small planes leave it too shortly to gain anything.
    size = layout.samples * sum(spec.row_bytes for spec in layout.arrays.values())
    with ThreadPoolExecutor(store.threads if size >= _WORTHWHILE else 1) as pool:
        for view in range(0, layout.views, _TURN):
            for faults in pool.map(look, range(view, min(view + _TURN, layout.views))):
                damage += faults
                progress.advance(sum(len(names) for names, _ in units))
    progress.finish()
    return [_entry(fault) for fault in dict.fromkeys(damage)]


def _surplus(store: Store) -> list[Damage]:
    """What lies in the folder and is no part of the cache. An empty folder holds nothing: DVC leaves some."""
    known = store.files() | {NAME} | _ABOUT
    folders = {parent.as_posix() for name in known for parent in PurePosixPath(name).parents}
    surplus: list[str] = []
    left = [""]
    while left:
        folder = left.pop()
        with os.scandir(f"{store.folder}/{folder}") as entries:
            for entry in entries:
                name = f"{folder}{entry.name}"
                # A folder of the store may be a link, as its files may; another link is not followed.
                if entry.is_dir(follow_symlinks=name in folders):
                    left.append(f"{name}/")
                elif name not in known and not name.startswith(_NOTES):
                    surplus.append(name)
    return [Damage(None, name, SURPLUS) for name in sorted(surplus)]


def _entry(fault: Damage) -> dict[str, Any]:
    block = fault.block
    ranges = (
        None
        if block is None
        else {"views": [block.view, block.view + 1], "samples": [block.start, block.stop]}
    )
    return {"block": ranges, "file": fault.file, "reason": fault.reason}
