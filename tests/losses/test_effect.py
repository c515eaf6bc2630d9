"""A loss that learns nothing from the teacher is refused; a part of one without effect is named."""

import pytest

from stillroom import losses
from stillroom.errors import ParamsError
from stillroom.losses._effect import check_effect

TAUGHT = [name for name in losses.names() if name != "ce"]


def notes(name: str, classes: int, batch: int, **settings: object) -> list[str]:
    return check_effect(name, losses.load(name, settings), classes, batch)


@pytest.mark.parametrize("name", TAUGHT)
def test_every_loss_learns_from_enough_classes_and_samples(name: str) -> None:
    for classes, batch in ((3, 3), (3, 40), (40, 3), (1000, 8)):
        assert notes(name, classes, batch) == []


@pytest.mark.parametrize("name", ["kd", "soft", "mse", "hard"])
def test_two_classes_and_one_sample_are_enough_for_most(name: str) -> None:
    assert notes(name, 2, 1) == []


@pytest.mark.parametrize(
    ("name", "classes", "batch", "settings"),
    [
        ("standardised", 2, 8, {}),  # two z-scores are constant
        ("dist", 2, 1, {}),  # two classes, and two samples, are always correlated
        ("dist", 2, 2, {}),
        ("dist", 2, 8, {"intra": 0.0}),
        ("dist", 3, 1, {"inter": 0.0}),
        ("dkd", 2, 8, {"target_weight": 0.0}),  # within the rest there is one class
        ("kd", 40, 8, {"alpha": 0.0}),
        ("mse", 40, 8, {"alpha": (0.0, 0.0)}),
        ("standardised", 40, 8, {"weight": 0.0}),
        ("dist", 40, 8, {"inter": 0.0, "intra": 0.0}),
        ("dkd", 40, 8, {"target_weight": 0.0, "other_weight": 0.0}),
        ("kd", 1, 8, {}),
    ],
)
def test_a_loss_that_learns_nothing_is_refused(
    name: str, classes: int, batch: int, settings: dict[str, object]
) -> None:
    with pytest.raises(ParamsError, match=f"the arm {name} would learn nothing") as caught:
        notes(name, classes, batch, **settings)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("name", "classes", "batch", "lost"),
    [
        ("dkd", 2, 8, "other_weight"),
        ("dist", 2, 8, "inter"),
        ("dist", 40, 1, "intra"),
        ("dist", 40, 2, "intra"),
    ],
)
def test_a_part_without_effect_is_named(name: str, classes: int, batch: int, lost: str) -> None:
    [line] = notes(name, classes, batch)
    assert f"student.losses.{name}.{lost} has no effect with {classes} classes" in line


def test_a_small_weight_and_a_schedule_that_ends_at_nothing_are_taken() -> None:
    assert notes("kd", 40, 8, alpha=0.001) == []
    assert notes("kd", 40, 8, alpha=(0.9, 0.0)) == []
    assert notes("kd", 40, 8, temperature=100.0) == []


def test_labels_alone_need_no_teacher() -> None:
    assert notes("ce", 2, 1) == []
