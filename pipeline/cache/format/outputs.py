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
