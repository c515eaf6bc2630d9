"""Data sets of a modality by name: `NAME.py` in its `datasets` holds `load`, and perhaps a class `Data`."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeVar

from stillroom import params, registry
from stillroom.errors import ParamsError, StillroomError
from stillroom.fetched import is_address, masked

Section = TypeVar("Section", bound=params.Data)
Kind = TypeVar("Kind")


def section(package: str, name: str, usual: type[Section]) -> type[Section]:
    """What `params.yaml` may say of a data set, which must be there.

    Args:
        usual: of those that say nothing; others' `Data` are subclasses of it.

    Raises:
        StillroomError: the data set's own is none.
    """
    module = registry.load(package, name)
    own: Any = getattr(module, "Data", usual)
    if not (isinstance(own, type) and issubclass(own, usual)):
        raise StillroomError(
            f"{module.__file__}: Data is no subclass of {usual.__module__}.{usual.__name__}",
            fix="make it one: its fields are the keys of `data`",
        )
    return own


def load(
    package: str, data: params.Data, some: Sequence[str], form: str, gives: type[Kind], *given: Any
) -> Kind:
    """What a data set's `load` returns.

    Args:
        some: keys of `data` that a data set looks at if its TAKES names them.
        form: how `load` is defined, for the message.
        gives: what it has to return.
        given: what it is called with.

    Raises:
        ParamsError: a key is given that the data set does not look at: nobody would heed it, in silence.
        StillroomError: the file of the data set holds none.
    """
    module: ModuleType = registry.load(package, data.name)
    for name in some:
        if getattr(data, name) and name not in getattr(module, "TAKES", ()):
            raise ParamsError(
                f"data.{name} = {getattr(data, name)!r}, but data.name = {data.name!r} takes no such key",
                fix=f"remove data.{name}, or take a data set that has it",
            )
    if data.path is not None and is_address(data.path) and not getattr(module, "ADDRESSES", False):
        raise ParamsError(
            f"data.path = {masked(data.path)!r}, but data.name = {data.name!r} reads folders of this machine",
            fix="pack the data set (`stillroom prepare --pack`), put the shards there, and set data.name to "
            "shards",
        )
    read: Any = getattr(module, "load", None)
    if not registry.takes(read, *given):
        raise StillroomError(f"{module.__file__} holds no data set", fix=f"define {form} in it")
    found = read(*given)
    if not isinstance(found, gives):
        raise StillroomError(
            f"{module.__file__}: load returned {type(found).__name__}",
            fix=f"return {gives.__module__}.{gives.__name__}",
        )
    return found
