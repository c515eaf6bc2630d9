"""Policies, one a file: `NAME.py` holds the class Name, chosen by `views.recipe.name`."""

import difflib
import importlib
import pkgutil
from typing import Any

from stillroom.errors import ParamsError
from stillroom.modalities.images.fields import Policy
from stillroom.params import validated


def names() -> list[str]:
    """The names of all policies."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def make_recipe(config: dict[str, Any], source: str = "params") -> Policy:
    """The recipe that plain data describes: `{"name": "crop", "scale": [0.35, 1.0], ...}`.

    Args:
        config: `name`, without which it is `crop`, and what that policy takes.
        source: where the data is from, for the message.

    Raises:
        ParamsError: there is no such policy, or it does not take these numbers; names the nearest valid ones.
    """
    values = dict(config)
    name = values.pop("name", "crop")
    known = names()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ParamsError(
            f"{source}: views.recipe.name = {name!r}: there is no such policy",
            fix=f"{hint}valid: {', '.join(known)}",
        )
    return validated(_kind(name), values, source, ("views", "recipe"))


def _kind(name: str) -> type[Policy]:
    module = importlib.import_module(f"{__name__}.{name}")
    found: type[Policy] = getattr(module, "".join(part.capitalize() for part in name.split("_")))
    return found


def keys(prefix: str) -> list[str]:
    """What any of the policies takes, each key once, after `prefix`."""
    found = dict.fromkeys(key for name in names() for key in _kind(name).model_fields)
    return [f"{prefix}{key}" for key in ("name", *found)]
