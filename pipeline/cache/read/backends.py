"""The way into a published cache."""

from pathlib import Path

from stillroom.cache import stores
from stillroom.cache.format.manifest import NAME, Manifest
from stillroom.cache.read.remote import Remote
from stillroom.cache.read.store import Store
from stillroom.fetched import is_address


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
        return stores.get(manifest.backend)(folder, manifest, remote)
    path = Path(place)
    folder = path.parent if path.name == NAME else path
    manifest = Manifest.load(folder)
    return stores.get(manifest.backend)(folder, manifest)
