"""What a teacher changes in a loss: some need more classes, or more samples at a time, than there are."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from stillroom.errors import ParamsError
from stillroom.losses import Loss

AMPLE = (10, 32)  # classes and samples with which every loss has all of its parts
Shapes = tuple[tuple[int, ...], tuple[int, ...]]
MADE_UP = ((4, 5), (4, 5))  # features of a few nodes, where what a network gives is not known
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
    if not loss.reads:
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


def check_features(name: str, loss: Loss, own: Sequence[int], other: Sequence[int]) -> list[str]:
    """Refuse a loss that cannot compare features of these shapes.

    Args:
        name: the arm.
        own, other: of a sample, the student's and the teacher's.

    Returns:
        what to say of weights that have no effect on such features, as that of nodes has none on distances.

    Raises:
        ParamsError: the loss's own.
    """
    try:
        if loss.learned is not None:
            own = _through(loss.learned(own, other, 0), own)
        shapes = tuple(own), tuple(other)
        _gradient(loss, *AMPLE, shapes=shapes)
        return [
            f"note: student.losses.{name}.{key} has no effect on features of the shape {list(other)}"
            for key, value in loss.settings.items()
            if isinstance(value, float)
            and key != "alpha"
            # all of the gradient: of more values, each has less of it
            and _of_setting(loss, key, *AMPLE, shapes, True)
            < LEAST * _of_setting(loss, key, *AMPLE, whole=True)
        ]
    except ParamsError:
        raise
    except Exception:  # a broken loss of the user: training shows where
        return []


def _of_teacher(loss: Loss, classes: int, batch: int) -> float:
    """How far the gradient moves between a teacher and its opposite."""
    return float((_gradient(loss, classes, batch) - _gradient(loss, classes, batch, -1.0)).abs().max())


def _through(learned: torch.nn.Module, own: Sequence[int]) -> tuple[int, ...]:
    """The shape of what a module that is trained beside the student makes of its features."""
    with torch.no_grad():
        made: torch.Tensor = learned(torch.zeros(1, *own))
    return tuple(made.shape[1:])


def _of_setting(
    loss: Loss, key: str, classes: int, batch: int, shapes: Shapes = MADE_UP, whole: bool = False
) -> float:
    """How far the gradient moves where a setting is halved: where it moves most, or as a `whole`."""
    other = replace(loss, settings=loss.settings | {key: loss.settings[key] / 2})
    before, after = (_gradient(one, classes, batch, shapes=shapes) for one in (loss, other))
    moved = (before - after).abs()
    return float(moved.sum() if whole else moved.max())


def _gradient(
    loss: Loss, classes: int, batch: int, sign: float = 1.0, shapes: Shapes = MADE_UP
) -> torch.Tensor:
    """By all that the loss is given of the student, as one vector.

    Args:
        shapes: of the features of a sample, the student's and the teacher's.
    """
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, batch, classes, generator=generator, dtype=torch.float64)
    # distances between nodes, or samples, do not see a sign, but which are whose
    own, other = (torch.randn(batch, *one, generator=generator, dtype=torch.float64) for one in shapes)
    if len(shapes[0]) == 1:  # distances
        own, other = own.abs(), other.abs()
    student = {"logits": logits.requires_grad_(), "features": own.requires_grad_()}
    taught = {
        "logits": 3 * sign * teacher,
        "features": sign * (other if sign > 0 else other.roll((1, 1), (0, 2))),
    }
    labels = torch.arange(batch) % classes
    terms = loss(student, labels, taught, 0.5, 0.0)
    given = list(student.values())
    parts = torch.autograd.grad(torch.stack(list(terms.values())).sum(), given, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(one) if part is None else part).flatten()
            for one, part in zip(given, parts, strict=True)
        ]
    )
