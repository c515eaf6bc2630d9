"""Figures and how they are measured."""

import pytest

from stillroom.benchmarks.figure import Figure, alternate, ratios


@pytest.mark.parametrize(
    ("value", "ratio", "goal", "met"),
    [
        (709.0, 1.7, ">= 10", False),
        (709.0, 10.0, ">= 10", True),
        (5.0, 1.03, "<= 1.02", False),
        (5.0, 1.02, "<= 1.02", True),
        (80.3, None, "<= 92", True),
        (92.1, None, "<= 92", False),
        (92.1, None, "", True),
    ],
)
def test_a_goal_is_of_the_ratio_or_without_one_of_the_value(
    value: float, ratio: float | None, goal: str, met: bool
) -> None:
    figure = Figure("name", value, "unit", "other: 1", ratio, goal)
    assert figure.met is met and figure.to_json()["met"] is met


@pytest.mark.slow
def test_works_take_turns_and_the_first_call_is_not_counted() -> None:
    calls: list[tuple[str, int]] = []
    found = alternate(2, lambda turn: calls.append(("a", turn)), lambda turn: calls.append(("b", turn)))
    assert calls == [("a", -1), ("b", -1), ("a", 0), ("b", 0), ("b", 1), ("a", 1)]
    assert [len(seconds) for seconds in found] == [2, 2]


def test_a_ratio_is_the_median_of_the_turns_ratios() -> None:
    assert ratios([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == (2.0, (1.0, 3.0))
