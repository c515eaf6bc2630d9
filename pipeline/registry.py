"""What is found by name: a file `NAME.py` each, in one package. A new file is a new entry."""

import difflib
import importlib
import pkgutil
from types import ModuleType

from stillroom.errors import ParamsError


def names(package: str, first: tuple[str, ...] = ()) -> list[str]:
    """The names of a package's entries, `first` and then sorted; modules whose name begins with _ are none.
    Only the package itself is imported.
    """
    path = importlib.import_module(package).__path__
    entries = [module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_")]
    return sorted(entries, key=lambda name: (name not in first, name))


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
    """The module of an entry that is there."""
    return importlib.import_module(f"{package}.{name}")
