"""What is found by name: a file `NAME.py` each, in one package. A new file is a new entry."""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Collection, Iterable
from types import ModuleType
from typing import Any, TypeVar

from stillroom.errors import ParamsError, StillroomError

Kind = TypeVar("Kind")


def names(package: str, first: tuple[str, ...] = ()) -> list[str]:
    """The names of a package's entries, `first` and then sorted; modules whose name begins with _ are none.
    Only the package itself is imported.
    """
    path = importlib.import_module(package).__path__
    entries = [module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_")]
    return [*(name for name in first if name in entries), *sorted(set(entries) - set(first))]


def check(package: str, name: str, message: str, first: tuple[str, ...] = ()) -> None:
    """Refuse a name that a package has no entry of.

    Args:
        message: what is wrong, for the error.
        first: names to list before the others.

    Raises:
        ParamsError: names the nearest one, and all.
    """
    known = names(package, first)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ParamsError(message, fix=f"{hint}valid: {', '.join(known)}")


def load(package: str, name: str) -> ModuleType:
    """The module of an entry that is there.

    Raises:
        StillroomError: it cannot be imported.
    """
    try:
        return importlib.import_module(f"{package}.{name}")
    except Exception as error:  # whatever somebody's file runs into
        folder = importlib.import_module(package).__path__[0]
        raise StillroomError(
            f"{folder}/{name}.py cannot be imported",
            f"{type(error).__name__}: {error}",
            "mend it, or take it away; a file that is no entry has a name that begins with _",
        ) from error


def entry(package: str, name: str, kind: Callable[..., Kind]) -> type[Kind]:
    """The class that an entry's file defines: one subclass of `kind`.

    Raises:
        ParamsError: the file defines none, or several.
        StillroomError: it cannot be imported.
    """
    module = load(package, name)
    base: Any = kind
    classes: list[Any] = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, base) and one.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise ParamsError(
            f"{module.__file__} defines {len(classes)} subclasses of {base.__name__}",
            fix="define one in it; a file that is no entry has a name that begins with _",
        )
    only: type[Kind] = classes[0]
    return only


def takes(function: Any, *given: Any, **named: Any) -> bool:
    """Whether something can be called with these arguments."""
    try:
        inspect.signature(function).bind(*given, **named)
    except (TypeError, ValueError):
        return False
    return True


def check_keys(keys: Iterable[str], valid: Collection[str], message: str) -> None:
    """Refuse a key that an entry does not take.

    Args:
        message: what is wrong, for the error, to which the key is added.

    Raises:
        ParamsError: names the nearest valid key, or all.
    """
    for key in keys:
        if key not in valid:
            near = difflib.get_close_matches(key, valid, n=1)
            hint = f"did you mean {near[0]}?" if near else f"valid keys: {', '.join(valid) or 'none'}"
            raise ParamsError(f"{message}{key}", fix=hint)
