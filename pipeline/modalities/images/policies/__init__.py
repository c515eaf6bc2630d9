"""Policies, one a file: `NAME.py` holds one subclass of `Policy`, chosen by `views.recipe.name`."""

from contextlib import suppress
from typing import Any

from stillroom import registry
from stillroom.errors import StillroomError
from stillroom.modalities.images.fields import Policy
from stillroom.validation import validated


def names() -> list[str]:
    """The names of all policies."""
    return registry.names(__name__)


def make_recipe(config: dict[str, Any], source: str = "params") -> Policy:
    """The recipe that plain data describes: `{"name": "crop", "scale": [0.35, 1.0], ...}`.

    Args:
        config: `name`, without which it is `crop`, and what that policy takes.
        source: where the data is from, for the message.

    Raises:
        ParamsError: there is no such policy, or it does not take these numbers; names the nearest valid ones.
    """
    from stillroom.modalities.params import keys_and_recipes

    values = dict(config)
    name = values.pop("name", "crop")
    wrong = f"{source}: views.recipe.name = {name!r}: there is no such policy"
    registry.check(__name__, str(name), wrong)
    return validated(
        registry.entry(__name__, str(name), Policy), values, source, ("views", "recipe"), keys_and_recipes
    )


def keys() -> list[str]:
    """What any of the policies takes, each key once; a file that holds none takes nothing."""
    taken: dict[str, None] = {}
    for name in names():
        with suppress(StillroomError):
            taken |= dict.fromkeys(registry.entry(__name__, name, Policy).model_fields)
    return list(taken)
