"""Policies and corruptions of a modality by name: `NAME.py` in its package holds one subclass of its kind."""

import importlib.util
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from stillroom import registry
from stillroom.errors import ParamsError, StillroomError
from stillroom.params import Section
from stillroom.validation import validated

if TYPE_CHECKING:
    from stillroom.modalities.base import Corruption

Kind = TypeVar("Kind", bound=Section)


def made(
    package: str,
    kind: type[Kind],
    config: dict[str, Any],
    source: str,
    key: tuple[str, str],
    usual: str = "",
) -> Kind:
    """What plain data describes: `{"name": "crop", "scale": [0.35, 1.0], ...}`.

    Args:
        config: `name`, and what the entry of that name takes.
        source: where the data is from, for the message.
        key: where it stands in the parameters.
        usual: the name where none is given.

    Raises:
        ParamsError: there is no such entry, or it does not take these numbers; names the nearest valid ones.
    """
    from stillroom.modalities.params import keys_and_recipes

    values = dict(config)
    name, what = values.pop("name", usual), kind.__name__.lower()
    wrong = f"{source}: {'.'.join(key)}.name = {name!r:.80}: there is no such {what}"
    registry.check(package, str(name), wrong)
    return validated(registry.entry(package, str(name), kind), values, source, key, keys_and_recipes)


def keys(package: str, kind: type[Section]) -> list[str]:
    """What any entry of a package takes, each key once; a file that holds none takes nothing."""
    if importlib.util.find_spec(package) is None:
        return []
    taken: dict[str, None] = {}
    for name in registry.names(package):
        with suppress(StillroomError):
            taken |= dict.fromkeys(registry.entry(package, name, kind).model_fields)
    return list(taken)


def corruption(modality: str, config: dict[str, Any], source: str) -> "Corruption | None":
    """The corruption of a modality that `student.corruption` describes; None: it is empty.

    Args:
        modality: its package.

    Raises:
        ParamsError: see `made`; or the modality knows of none.
    """
    from stillroom.modalities.base import Corruption

    if not config:
        return None
    package = f"{modality}.corruptions"
    if importlib.util.find_spec(package) is None:
        raise ParamsError(
            f"{source}: student.corruption: {modality.rpartition('.')[2]} have no corruptions",
            fix="remove student.corruption",
        )
    return made(package, Corruption, config, source, ("student", "corruption"))
