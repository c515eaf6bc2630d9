"""What a teacher changes in a loss: some need more classes, or more samples at a time, than there are."""

from dataclasses import replace

import torch

from stillroom.errors import ParamsError
from stillroom.losses import Loss

AMPLE = (10, 32)  # classes and samples with which every loss has all of its parts
LEAST = 1e-3  # less than this share of what a change does there is rounding


def check_effect(name: str, loss: Loss, classes: int, batch: int) -> list[str]:
    """Refuse a loss whose gradient is the same whatever the teacher says; measured, not derived.

    Args:
        name: the arm.
        classes: C of the data.
        batch: B, the fewest samples that one forward pass sees.

    Returns:
        what to say of parameters that have no effect: the standardised logits of two classes are constant,
        and so is what `dkd` compares within the rest of two; two samples are always correlated.

    Raises:
        ParamsError: says what to use instead.
    """
    if not loss.outputs:
        return []
    where = f"student.losses.{name}"
    try:
        ample = _of_teacher(loss, *AMPLE)
    except Exception:  # a broken loss of the user: training shows where
        return []
    if ample == 0:
        raise ParamsError(
            f"the arm {name} would learn nothing from the teacher",
            f"{where} gives its part no weight: "
            + ", ".join(f"{key} = {value}" for key, value in loss.settings.items()),
            "raise alpha and the weights, or train the arm ce",
        )
    if _of_teacher(loss, classes, batch) < LEAST * ample:
        raise ParamsError(
            f"the arm {name} would learn nothing from the teacher",
            f"with {classes} classes and {batch} samples at a time its gradient is the same whatever the "
            "teacher says",
            "take another arm for so few: kd, soft, mse or hard",
        )
    return [
        f"note: {where}.{key} has no effect with {classes} classes and {batch} samples at a time"
        for key, value in loss.settings.items()
        if isinstance(value, float)
        and key != "alpha"
        and _of_setting(loss, key, classes, batch) < LEAST * _of_setting(loss, key, *AMPLE)
    ]


def _of_teacher(loss: Loss, classes: int, batch: int) -> float:
    """How far the gradient moves between a teacher and its opposite."""
    return float((_gradient(loss, classes, batch) - _gradient(loss, classes, batch, -1.0)).abs().max())


def _of_setting(loss: Loss, key: str, classes: int, batch: int) -> float:
    """How far the gradient moves where a setting is halved."""
    other = replace(loss, settings=loss.settings | {key: loss.settings[key] / 2})
    return float((_gradient(loss, classes, batch) - _gradient(other, classes, batch)).abs().max())


def _gradient(loss: Loss, classes: int, batch: int, sign: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, batch, classes, generator=generator, dtype=torch.float64)
    logits.requires_grad_()
    labels = torch.arange(batch) % classes
    terms = loss({"logits": logits}, labels, {"logits": 3 * sign * teacher}, 0.5, 0.0)
    torch.stack(list(terms.values())).sum().backward()
    gradient: torch.Tensor | None = logits.grad
    assert gradient is not None
    return gradient
