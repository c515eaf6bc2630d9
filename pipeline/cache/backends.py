"""Which store reads and writes which format, and the way into a published cache."""

from pathlib import Path

from pipeline.cache.manifest import Manifest
from pipeline.cache.store import Store
from pipeline.errors import CacheError


def backend(name: str) -> type[Store]:
    """The class that reads and writes stores of a backend, `zarr` or `hdf5`."""
    if name == "zarr":  # imported when needed: each library takes a while to load
        from pipeline.cache.zarr_store import ZarrStore

        return ZarrStore
    if name == "hdf5":
        from pipeline.cache.hdf5_store import Hdf5Store

        return Hdf5Store
    raise CacheError(f"there is no store {name!r}", fix="choose zarr or hdf5")


def open_store(path: Path) -> Store:
    """Open a published cache for reading.

    Args:
        path: its folder, the one with `manifest.json`.

    Raises:
        CacheError: there is none, or its manifest is not sound.
    """
    manifest = Manifest.load(path)
    return backend(manifest.backend)(path, manifest)
