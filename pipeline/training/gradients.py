"""How the terms of a loss are put together: a way is called with them and leaves the gradients in `.grad`."""

from collections.abc import Mapping

import torch


def summed(terms: Mapping[str, torch.Tensor], scale: float) -> torch.Tensor:
    """One backward pass of the sum of all terms.

    Args:
        terms: scalars of one batch, by name.
        scale: what gradients are multiplied by.

    Returns:
        the sum, detached.
    """
    first, *others = terms.values()
    value = sum(others, first)
    (value * scale).backward()
    return value.detach()
