"""The formats of a store, one a file: `NAME.py` holds one subclass of `Store`.

A new file is a new format, which `cache.store` and manifests name.
"""

from typing import TYPE_CHECKING

from stillroom import registry
from stillroom.errors import CacheError

if TYPE_CHECKING:
    from stillroom.cache.read.store import Store

FIRST = ("zarr", "hdf5")  # of a list of names


def names() -> list[str]:
    """The names of all formats. Nothing is imported."""
    return registry.names(__name__, FIRST)


def check(name: str, key: str) -> None:
    """Refuse a format that is not there.

    Args:
        key: what names it, for the message.

    Raises:
        ParamsError: names the nearest one, and all.
    """
    registry.check(__name__, name, f"{key} = {name!r:.80}: there is no such store", FIRST)


def get(name: str) -> "type[Store]":
    """The class that reads and writes stores of a format; its library is imported now.

    Raises:
        CacheError: there is no such format.
    """
    from stillroom.cache.read.store import Store

    if name not in names():
        raise CacheError(f"there is no store {name!r}", fix=f"choose {' or '.join(names())}")
    return registry.entry(__name__, name, Store)
