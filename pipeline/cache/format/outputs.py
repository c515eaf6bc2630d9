"""What an output is: an entry of `identity["outputs"]`."""

from collections.abc import Mapping
from typing import Any


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
