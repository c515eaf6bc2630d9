"""What an output is: an entry of `identity["outputs"]`."""

from collections.abc import Iterable, Mapping
from typing import Any

from stillroom.errors import CacheError

# What to do where a teacher elsewhere would have to be asked
EXPORT = (
    "ask it where it is: `stillroom cache export-views` writes the views, `stillroom cache import` takes the "
    "logits"
)


def kind_of(output: Mapping[str, Any]) -> str:
    """`logits`, or `features` of a layer."""
    return str(output.get("kind", "logits"))


def source_of(output: Mapping[str, Any]) -> str:
    """What its teacher's model calls it: `logits`, or the name of the layer."""
    return str(output.get("take", "logits"))


def layers(outputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The layers that outputs of one teacher are the features of."""
    return sorted({source_of(output) for output in outputs.values()} - {"logits"})


def origin_of(output: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where an output came from that no teacher of ours gave (`stillroom cache import`): `text`, and `sha256`
    of the file; None: a teacher gave it.
    """
    origin = output.get("origin")
    return dict(origin) if isinstance(origin, Mapping) else None


def imported(outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """By each output that was imported, where it came from, for people."""
    origins = {name: origin_of(output) for name, output in outputs.items()}
    return {name: f"{origin.get('text', '?')}" for name, origin in origins.items() if origin is not None}


def refuse_imported(
    outputs: Mapping[str, Mapping[str, Any]], names: Iterable[str], wanted: str, fix: str = EXPORT
) -> None:
    """Refuse what needs the teacher of outputs that were imported.

    Args:
        names: the outputs.
        wanted: what the teacher would be asked for, for the message.
        fix: what to do instead.

    Raises:
        CacheError: one of them was imported.
    """
    origins = imported(outputs)
    names = [name for name in names if name in origins]
    if names:
        raise CacheError(
            f"output {names[0]} of this cache was imported from {origins[names[0]]}: no teacher is here",
            wanted,
            fix,
        )
