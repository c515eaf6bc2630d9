"""`sampled` keeps draws from the teacher's probabilities, whose mean those are."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stillroom.cache.encodings import encoding_for
from stillroom.cache.encodings._bits import pack
from stillroom.cache.encodings.sampled import Sampled
from stillroom.errors import CacheError


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def again(values: np.ndarray, draws: int, seed: int = 0) -> np.ndarray:
    codec = Sampled(draws, seed)
    return codec.decode("x", values.shape[1:], codec.encode("x", values))


def a_row(classes: int = 60) -> np.ndarray:
    values = np.random.default_rng(2).normal(0, 2, (1, classes)).astype(np.float32)
    values[0, 7] += 5
    return values


def test_the_mean_over_seeds_is_the_teacher_s_distribution() -> None:
    """And so is a student's gradient, which is softmax(student) - target: linear in the target."""
    values, draws, seeds = a_row(), 8, 4000
    p = softmax(values)[0]
    found = np.mean([softmax(again(values, draws, seed))[0] for seed in range(seeds)], axis=0)
    deviation = np.sqrt(p * (1 - p) / draws / seeds)  # of independent draws; ours scatter less
    assert (np.abs(found - p) <= 5 * deviation + 1e-6).all()
    student = softmax(np.random.default_rng(5).normal(0, 1, (1, 60)))[0]
    gradient = (student - found) - (student - p)
    assert np.square(gradient).sum() <= 3 * (p * (1 - p)).sum() / draws / seeds
    biased = np.where(p >= np.sort(p)[-8], p, 0)
    assert np.abs(biased / biased.sum() - p).max() > 20 * np.abs(gradient).max()  # the 8 largest are not


def test_the_mean_over_rows_is_the_mean_of_their_distributions() -> None:
    """With one seed, as a cache has: equal draws for all rows would not even out."""
    values = np.random.default_rng(6).normal(0, 2, (4000, 30)).astype(np.float32)
    p = softmax(values)
    apart = softmax(again(values, 4)).mean(axis=0) - p.mean(axis=0)
    assert (np.abs(apart) <= 5 * np.sqrt((p * (1 - p)).mean(axis=0) / 4 / 4000) + 1e-6).all()


@given(values=arrays(np.float32, (3, 9), elements=st.floats(-30, 30, width=32)), draws=st.integers(1, 70))
def test_no_class_is_drawn_two_times_more_or_less_often_than_it_should(
    values: np.ndarray, draws: int
) -> None:
    counts = np.rint(np.exp(np.where((x := again(values, draws)) > -20, x, -np.inf))).astype(int)
    assert (counts.sum(axis=1) == draws).all()
    assert (np.abs(counts - draws * softmax(values)) < 2).all()


def test_classes_that_were_not_drawn_keep_what_is_told_and_no_more() -> None:
    values = np.random.default_rng(7).normal(0, 1, (50, 1000)).astype(np.float32)
    decoded = again(values, 32)
    missing = np.where(decoded == np.float32(-20), softmax(decoded), 0).sum(axis=1)
    assert (missing <= 1000 / 32 * 2.1e-9).all()


@given(values=arrays(np.float32, (4, 11), elements=st.floats(-60, 60, width=32)), row=st.integers(0, 3))
def test_draws_are_a_function_of_row_and_seed_alone(values: np.ndarray, row: int) -> None:
    whole, alone = (
        Sampled(5, 3).encode("x", values)["x"],
        Sampled(5, 3).encode("x", values[row : row + 1])["x"],
    )
    np.testing.assert_array_equal(whole[row], alone[0])


def test_another_seed_and_another_row_have_other_draws() -> None:
    flat = np.zeros((1, 1000), np.float32)
    other = flat.copy()
    other[0, 0] = 1e-6
    one = again(flat, 32)
    assert (one != again(flat, 32, seed=1)).any() and (one != again(other, 32)).any()
    np.testing.assert_array_equal(one, again(-flat, 32))  # minus zero is zero


@pytest.mark.parametrize(("classes", "draws"), [(1, 4), (1000, 1), (2**17, 16), (40, 300)])
def test_one_class_one_draw_and_very_many_are_read_back(classes: int, draws: int) -> None:
    values = np.zeros((2, classes), np.float32)
    values[:, -1] = 40
    decoded = again(values, draws)
    assert (decoded.argmax(axis=1) == classes - 1).all()
    np.testing.assert_allclose(decoded[:, -1], np.log(draws), rtol=1e-6)


@pytest.mark.parametrize("size", [6e4, 3.4e38])
def test_logits_of_any_size_are_drawn_from(size: float) -> None:
    values = np.array([[-size, 0, size]], np.float32)
    np.testing.assert_allclose(softmax(again(values, 8)), [[0, 0, 1]], atol=1e-8)


def test_the_coding_and_the_draws_never_change() -> None:
    values = (np.arange(6 * 300).reshape(6, 300) * 7919 % 1009 / 128).astype(np.float32)
    digest = hashlib.sha256()
    for draws, seed in ((1, 0), (32, 0), (32, 7), (100, 0)):
        stored = Sampled(draws, seed).encode("x", values)["x"]
        digest.update(stored.tobytes())
        digest.update(Sampled(draws, seed).decode("x", (300,), {"x": stored}).tobytes())
    assert digest.hexdigest() == "dde8d42ac15f7f40e5cab0bfcea8201f2c2698a3c6820311757a89325e4ad84d"


def test_32_draws_of_a_thousand_classes_take_28_bytes() -> None:
    assert Sampled(32).fields("x", (1000,))["x"].row_bytes == 28


def test_draws_of_a_class_that_is_none_are_refused() -> None:
    codec = Sampled(2)
    stored = pack(codec._classes(38).parts(np.array([[3, 39]])))  # its upper part is that of 37
    with pytest.raises(CacheError, match="holds no draws as it must"):
        codec.decode("x", (38,), {"x": stored})
    stored = codec.encode("x", np.zeros((1, 40), np.float32))["x"]
    stored[0, -1] |= 0x80
    with pytest.raises(CacheError, match="holds no draws as it must"):
        codec.decode("x", (40,), {"x": stored})


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ({"seed": 0}, "draws = None"),
        ({"draws": 0, "seed": 0}, "draws = 0"),
        ({"draws": 65537, "seed": 0}, "65536"),
        ({"draws": 8, "seed": -1}, "seed = -1"),
        ({"draws": 8, "seed": 2**63}, "seed"),
        ({"draws": 8, "seed": 0, "shape": [2, 2]}, "shape [2, 2]"),
        ({"draws": 8, "seed": 0, "shape": []}, "shape []"),
        ({"draws": 8, "seed": 0, "k": 3}, "only topk"),
    ],
)
def test_what_sampled_cannot_be_is_refused(output: dict, problem: str) -> None:
    with pytest.raises(CacheError) as caught:
        encoding_for({"encoding": "sampled", **output})
    assert problem in str(caught.value) and caught.value.why
