"""One store from another: the same cache, id and block digests in the other format."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from stillroom.cache.format.manifest import Manifest
from stillroom.cache.read.store import Store
from stillroom.cache.write.publish import assemble, cut
from stillroom.errors import CacheError
from stillroom.progress import Progress


def convert(store: Store, folder: Path, backend: str, progress: Progress | None = None) -> Manifest:
    """Write a cache anew in the format `backend`; each block is checked against its digest on the way.

    Takes the memory of one file of each array (`layout.FILE_BYTES`), however large the cache is.

    Args:
        store: the cache to read; it is not changed.
        folder: where the new one is to be; it must not exist yet.
        backend: `zarr` or `hdf5`.

    Raises:
        CacheError: `folder` exists, the cache is damaged, or the disk is full. Nothing half-written is left.
    """
    if folder.exists() or folder.is_symlink():
        raise CacheError(
            f"{folder} exists already", "converting never replaces anything", "choose another place"
        )
    old = store.layout
    layout = replace(old, file_blocks=cut(backend, old.samples, old.block_samples, old.arrays))
    manifest = replace(store.manifest, backend=backend, layout=layout, metadata={})
    last: dict[str, tuple[tuple[int, int], np.ndarray]] = {}  # what was read last of each array

    def part(name: str, view: int, number: int) -> np.ndarray:
        if name not in last or last[name][0] != (view, number):
            values, damage = store.examine([name], view, number)
            if damage:
                raise store.refusal(damage)
            last[name] = (view, number), values[name]
        return last[name][1]

    def read(name: str, view: int, start: int, stop: int) -> np.ndarray:
        pieces = []
        for number, (first, end) in enumerate(old.parts(name)):
            if first < stop and start < end:
                pieces.append(part(name, view, number)[max(start, first) - first : min(stop, end) - first])
        return np.concatenate(pieces)

    return assemble(manifest, store.rows, read, folder, progress)
