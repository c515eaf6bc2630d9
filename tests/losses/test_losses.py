"""Losses against values worked out in float64 from their papers' formulas."""

import numpy as np
import pytest
import torch

from pipeline.losses import LOSSES


def softmax(values: np.ndarray) -> np.ndarray:
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(0, 3, (6, 9)), random.integers(0, 9, 6), random.normal(0, 3, (6, 9))


@pytest.mark.parametrize("temperature", [1.0, 4.0, 10.0])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_kd_is_hintons_formula(drawn: tuple, temperature: float, alpha: float, smoothing: float) -> None:
    student, labels, teacher = drawn
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    divergence = (p * (np.log(p) - np.log(q))).sum(axis=1).mean()
    target = np.eye(9)[labels] * (1 - smoothing) + smoothing / 9
    hard = -(target * np.log(softmax(student))).sum(axis=1).mean()
    found = LOSSES["kd"](
        torch.tensor(student),
        torch.tensor(labels),
        torch.tensor(teacher),
        alpha=alpha,
        temperature=temperature,
        label_smoothing=smoothing,
    )
    assert float(found) == pytest.approx(alpha * temperature**2 * divergence + (1 - alpha) * hard, rel=1e-5)


def test_ce_is_kd_without_a_teacher(drawn: tuple) -> None:
    student, labels, teacher = (torch.tensor(values) for values in drawn)
    plain = LOSSES["ce"](student, labels)
    assert float(plain) == pytest.approx(
        float(LOSSES["kd"](student, labels, teacher, alpha=0.0, temperature=3.0))
    )


def test_extreme_logits_stay_finite() -> None:
    student = torch.tensor([[6e4, -6e4, 0.0]], requires_grad=True)
    teacher = torch.tensor([[-6e4, 6e4, 0.0]])
    value = LOSSES["kd"](student, torch.tensor([1]), teacher, alpha=0.5, temperature=1.0)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()


def test_a_student_that_equals_its_teacher_has_no_gradient_from_it() -> None:
    logits = torch.randn(4, 5, requires_grad=True)
    LOSSES["kd"](
        logits, torch.zeros(4, dtype=torch.long), logits.detach(), alpha=1.0, temperature=2.0
    ).backward()
    assert logits.grad.abs().max() < 1e-6
