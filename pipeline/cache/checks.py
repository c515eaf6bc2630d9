"""Is a published cache still what was written? Reads every byte that a reader would believe."""

import os
from pathlib import Path
from typing import Any

from pipeline.cache.backends import open_store
from pipeline.cache.manifest import NAME
from pipeline.cache.store import Damage, Store
from pipeline.errors import CacheError
from pipeline.progress import Progress


def verify(path: Path, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Check a cache against its manifest: every block, keys, labels, metadata, and that no file is too many.

    Args:
        path: the folder of the cache.

    Returns:
        The damage, empty if there is none: `block` ({"views": [v, v+1], "samples": [start, stop]}, or None
        where it is not about a block), `file` (relative to the folder), `reason`.

    Raises:
        CacheError: there is no such folder.
    """
    progress = progress or Progress()
    if not path.is_dir():
        raise CacheError(f"{path} is no folder", fix="give the folder of a cache")
    try:
        store = open_store(path)
    except CacheError as error:
        return [_entry(Damage(None, NAME, f"{error.what}; {error.why}"))]
    layout = store.layout
    damage = [*store.structure(), *store.examine_rows()[1], *_surplus(store)]
    progress.start(
        "verifying", layout.views * sum(len(layout.parts(name)) for name in layout.arrays), "parts"
    )
    for view in range(layout.views):
        for name in sorted(layout.arrays):
            for part in range(len(layout.parts(name))):
                damage += store.examine(name, view, part)[1]
                progress.advance()
    progress.finish()
    return [_entry(fault) for fault in dict.fromkeys(damage)]


def _surplus(store: Store) -> list[Damage]:
    known = store.files() | {NAME}
    found = (Path(root, name) for root, _, names in os.walk(store.folder) for name in names)
    names = sorted(file.relative_to(store.folder).as_posix() for file in found)
    return [Damage(None, name, "belongs to no part of this cache") for name in names if name not in known]


def _entry(fault: Damage) -> dict[str, Any]:
    block = fault.block
    ranges = (
        None
        if block is None
        else {"views": [block.view, block.view + 1], "samples": [block.start, block.stop]}
    )
    return {"block": ranges, "file": fault.file, "reason": fault.reason}
