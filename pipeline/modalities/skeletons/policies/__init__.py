"""Policies, one a file: `NAME.py` holds one subclass of `Policy`, chosen by `views.recipe.name`."""

from typing import Any

from stillroom import registry
from stillroom.modalities import named
from stillroom.modalities.skeletons.fields import Policy


def names() -> list[str]:
    """The names of all policies."""
    return registry.names(__name__)


def make_recipe(config: dict[str, Any], source: str = "params") -> Policy:
    """The recipe that plain data describes: `{"name": "move", "crop": [0.6, 1.0], ...}`."""
    return named.made(__name__, Policy, config, source, ("views", "recipe"), "move")


def keys() -> list[str]:
    """What any of the policies takes, each key once."""
    return named.keys(__name__, Policy)
