"""Calibration and agreement, against their definitions written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stillroom.evaluation.agreement import agreement
from stillroom.evaluation.calibration import Calibration


@given(
    confidence=arrays(np.float64, 40, elements=st.floats(1e-3, 1)),
    right=arrays(np.bool_, 40),
    bins=st.integers(1, 20),
    cut=st.integers(0, 40),
)
def test_the_calibration_error_is_the_one_of_the_paper(
    confidence: np.ndarray, right: np.ndarray, bins: int, cut: int
) -> None:
    found = Calibration(bins)
    found.add(confidence[:cut], right[:cut])
    found.add(confidence[cut:], right[cut:])
    expected = 0.0
    for number in range(bins):
        inside = np.ceil(confidence * bins).astype(int) - 1 == number
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert found.result() == pytest.approx(100 * expected, abs=1e-9)


def test_a_sure_and_wrong_model_is_off_by_all_and_an_honest_one_by_nothing() -> None:
    wrong, honest = Calibration(), Calibration()
    wrong.add(np.ones(10), np.zeros(10, bool))
    honest.add(np.full(10, 0.7), np.arange(10) < 7)
    assert wrong.result() == pytest.approx(100)
    assert honest.result() == pytest.approx(0, abs=1e-9)
    assert Calibration().result() == 0


@given(answers=arrays(np.uint32, (5, 7), elements=st.integers(0, 3)))
def test_agreement_is_the_share_of_equal_pairs(answers: np.ndarray) -> None:
    pairs = [(a, b) for a in range(5) for b in range(a)]
    expected = np.mean([[answers[a, i] == answers[b, i] for a, b in pairs] for i in range(7)])
    assert agreement(answers) == pytest.approx(100 * expected)


def test_one_view_agrees_with_nothing() -> None:
    assert agreement(np.zeros((1, 4), int)) is None


def test_two_models_agree_on_the_samples_that_both_give_the_same_class() -> None:
    assert agreement(np.array([[0, 1, 2, 3], [0, 1, 3, 2]])) == 50
