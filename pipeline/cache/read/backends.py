"""Which store reads and writes which format, and the way into a published cache."""

from pathlib import Path

from stillroom.cache.format.manifest import NAME, Manifest
from stillroom.cache.read.remote import Remote, is_address
from stillroom.cache.read.store import Store
from stillroom.errors import CacheError


def backend(name: str) -> type[Store]:
    """The class that reads and writes stores of a backend, `zarr` or `hdf5`."""
    if name == "zarr":  # imported when needed: each library takes a while to load
        from stillroom.cache.read.zarr_store import ZarrStore

        return ZarrStore
    if name == "hdf5":
        from stillroom.cache.read.hdf5_store import Hdf5Store

        return Hdf5Store
    raise CacheError(f"there is no store {name!r}", fix="choose zarr or hdf5")


def open_store(place: Path | str) -> Store:
    """Open a published cache for reading.

    Args:
        place: its folder, the one with `manifest.json`; or an address such as `s3://bucket/cache`. Either may
            also name the `manifest.json` itself.

    Raises:
        CacheError: there is none, its manifest is not sound, or the address cannot be reached.
    """
    if is_address(place):
        remote = Remote(str(place))
        folder, manifest = remote.open()
        return backend(manifest.backend)(folder, manifest, remote)
    path = Path(place)
    folder = path.parent if path.name == NAME else path
    manifest = Manifest.load(folder)
    return backend(manifest.backend)(folder, manifest)
