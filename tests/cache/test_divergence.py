"""The measured divergence is the one of the books."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr, softmax

from stillroom.cache.format import divergence
from stillroom.cache.format.divergence import kl, merge

logits = arrays(np.float32, (6, 5), elements=st.floats(-30, 30, width=32))


@given(truth=logits, stored=logits)
def test_it_is_what_scipy_says(truth: np.ndarray, stored: np.ndarray) -> None:
    found = kl(truth, stored)
    for temperature in (1, 4):
        p, q = (softmax(x.astype(np.float64) / temperature, axis=1) for x in (truth, stored))
        expected = rel_entr(p, q).sum(axis=1)
        told = found[f"T={temperature}"]
        assert told["mean"] == pytest.approx(expected.mean(), rel=1e-9, abs=1e-12)
        assert told["max"] == pytest.approx(expected.max(), rel=1e-9, abs=1e-12)


@given(truth=logits)
def test_equal_logits_diverge_by_nothing_and_none_by_less(truth: np.ndarray) -> None:
    assert kl(truth, truth)["T=1"] == {"mean": 0.0, "max": 0.0}
    near = kl(truth, np.nextafter(truth, np.float32(100)))
    assert 0 <= near["T=1"]["mean"] <= near["T=1"]["max"] < 1e-9


@pytest.mark.parametrize("noise", [1e-6, 1e-3, 5.0])
def test_small_divergences_are_no_rounding_noise(noise: float) -> None:
    random = np.random.default_rng(1)
    truth = random.normal(0, 4, (50, 300)).astype(np.float32)
    stored = truth + random.normal(0, noise, truth.shape).astype(np.float32)
    for temperature in (1, 4):
        p, q = (x.astype(np.longdouble) / temperature for x in (truth, stored))
        p, q = (x - x.max(axis=1, keepdims=True) for x in (p, q))
        p, q = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in (p, q))
        expected = (np.exp(p) * (p - q)).sum(axis=1)
        told = kl(truth, stored)[f"T={temperature}"]
        assert abs(told["mean"] - float(expected.mean())) < 1e-14
        assert abs(told["max"] - float(expected.max())) < 2e-14


def test_extreme_logits_give_finite_numbers() -> None:
    truth = np.array([[60000.0, -60000.0], [0.0, 0.0]], np.float32)
    found = kl(truth, -truth)
    assert np.isfinite([found["T=1"]["max"], found["T=4"]["max"]]).all()
    assert found["T=1"]["max"] == pytest.approx(120000.0)
    assert found["T=4"]["max"] == pytest.approx(30000.0)
    farthest = np.array([[3.4e38, -3.4e38]], np.float32)
    assert kl(farthest, -farthest)["T=1"]["max"] == pytest.approx(6.8e38)


def test_cutting_the_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    truth, stored = (random.normal(0, 3, (50, 7)).astype(np.float32) for _ in range(2))
    whole = kl(truth, stored)
    monkeypatch.setattr(divergence, "_VALUES", 21)
    cut = kl(truth, stored)
    assert cut["T=1"]["mean"] == pytest.approx(whole["T=1"]["mean"], rel=1e-12) and whole == cut
    parts = [(len(truth[s]), kl(truth[s], stored[s])) for s in (slice(0, 11), slice(11, 50))]
    merged = merge(parts)
    assert merged["T=4"]["max"] == whole["T=4"]["max"]
    assert merged["T=4"]["mean"] == pytest.approx(whole["T=4"]["mean"], rel=1e-12)


def test_what_is_no_vector_of_logits_is_not_measured() -> None:
    features = np.zeros((4, 2, 3), np.float32)
    assert kl(features, features) == {} == merge([]) == merge([(3, {})])
