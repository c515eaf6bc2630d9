"""Encodings keep what they say they keep, and refuse what they cannot."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.cache.divergence import measure
from pipeline.cache.encoding import TopK, UnstorableError, of
from pipeline.errors import CacheError

finite = st.floats(-65504, 65504, width=32)
EACH = [
    {"encoding": "float16"},
    {"encoding": "int8"},
    {"encoding": "topk", "k": 3},
    {"encoding": "topk", "k": 7},
]
each = pytest.mark.parametrize("output", EACH, ids=str)


def again(output: dict[str, Any], values: np.ndarray) -> np.ndarray:
    codec = of(output)
    return codec.decode("x", values.shape[1:], codec.encode("x", values))


def realistic(rows: int = 4000, classes: int = 40) -> np.ndarray:
    """Logits as a fine-tuned CNN gives them: one to three classes stand out, in a range of about 16."""
    random = np.random.default_rng(5)
    values = random.normal(-2, 2, (rows, classes))
    for place in range(3):
        values[np.arange(rows), random.integers(0, classes, rows)] += random.uniform(2, 12 - 4 * place, rows)
    return values.astype(np.float32)


@each
@given(values=arrays(np.float32, (5, 7), elements=finite))
def test_the_arrays_are_those_announced_and_decode_to_float32(output: dict, values: np.ndarray) -> None:
    codec = of(output)
    stored, fields = codec.encode("logits", values), codec.fields("logits", (7,))
    assert {field: (array.dtype.str, array.shape) for field, array in stored.items()} == {
        field: (spec.dtype, (5, *spec.shape)) for field, spec in fields.items()
    }
    decoded = codec.decode("logits", (7,), stored)
    assert decoded.dtype == np.float32 and decoded.shape == values.shape and np.isfinite(decoded).all()


@each
@given(values=arrays(np.float32, (6, 7), elements=st.floats(-40, 40, width=32)), row=st.integers(0, 5))
def test_a_row_is_stored_alike_whatever_the_others_are(output: dict, values: np.ndarray, row: int) -> None:
    """Or a block's digest would depend on how blocks are cut."""
    whole, alone = of(output).encode("x", values), of(output).encode("x", values[row : row + 1])
    for name in whole:
        np.testing.assert_array_equal(whole[name][row], alone[name][0])


@given(values=arrays(np.float32, (5, 2, 3), elements=finite))
def test_float16_is_as_near_as_it_says(values: np.ndarray) -> None:
    error = np.abs(again({"encoding": "float16"}, values) - values)
    assert (error <= np.maximum(np.abs(values) * 2.0**-11, 2.0**-25)).all()


@pytest.mark.parametrize("shape", [(5, 7), (5, 2, 3)])
@given(data=st.data())
def test_int8_is_as_near_as_it_says(shape: tuple[int, ...], data: st.DataObject) -> None:
    values = data.draw(arrays(np.float32, shape, elements=st.floats(-1e6, 1e6, width=32)))
    largest = np.abs(values).reshape(5, -1).max(axis=1)
    apart = np.abs(again({"encoding": "int8"}, values) - values).reshape(5, -1).max(axis=1)
    widest = 1.5 if len(shape) == 2 else 1
    assert (apart <= largest / 127 * widest / 2 * (1 + 1e-5) + 1e-37).all()


@pytest.mark.parametrize("value", [0.0, 1e-45, -1e-40, 3.4e38])
def test_int8_holds_the_smallest_and_the_largest_rows(value: float) -> None:
    values = np.full((2, 4), value, np.float32)
    np.testing.assert_allclose(again({"encoding": "int8"}, values), values, rtol=0.02, atol=1e-36)


def test_int8_keeps_probabilities_better_than_the_plain_scale() -> None:
    values = realistic()
    scale = np.abs(values).max(axis=1, keepdims=True) / 127
    plain = (np.rint(values / scale) * scale).astype(np.float32)
    found, without = measure(values, again({"encoding": "int8"}, values)), measure(values, plain)
    assert found["T=1"]["mean"] < 2e-5
    assert found["T=1"]["mean"] < without["T=1"]["mean"] / 2


@given(
    values=arrays(np.float32, (4, 9), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])), k=st.integers(1, 9)
)
def test_topk_keeps_the_largest_and_of_equal_ones_the_first(values: np.ndarray, k: int) -> None:
    stored = TopK(k).encode("x", values)
    expected = np.array([sorted(range(9), key=lambda c: (-row[c], c))[:k] for row in values])
    np.testing.assert_array_equal(stored["x_index"], expected)
    np.testing.assert_array_equal(stored["x"], np.take_along_axis(values, expected, axis=1))


@pytest.mark.parametrize("k", [1, 4, 16, 39])
def test_topk_keeps_the_mass_of_what_it_drops(k: int) -> None:
    """Renormalising the kept ones would give them the mass of the others: a biased target."""
    values = realistic()
    decoded = again({"encoding": "topk", "k": k}, values).astype(np.float64)
    exact = values.astype(np.float64)
    kept = np.zeros(values.shape, bool)
    np.put_along_axis(kept, np.argsort(-exact, axis=1)[:, :k], True, axis=1)
    p, q = (np.exp(v - v.max(axis=1, keepdims=True)) for v in (exact, decoded))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    np.testing.assert_allclose((q * ~kept).sum(axis=1), (p * ~kept).sum(axis=1), atol=2e-3)
    assert (decoded.argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.999
    assert (np.where(kept, -np.inf, decoded).max(axis=1) <= np.where(kept, decoded, np.inf).min(axis=1)).all()


def test_topk_of_a_thousand_classes_takes_68_bytes() -> None:
    fields = TopK(16).fields("logits", (1000,))
    assert sum(spec.row_bytes for spec in fields.values()) == 68
    assert TopK(16).fields("logits", (2**16 + 1,))["logits_index"].dtype == "<u4"


def test_topk_with_a_class_that_is_none_is_refused() -> None:
    stored = TopK(2).encode("x", realistic(3))
    stored["x_index"][1, 0] = 40
    with pytest.raises(CacheError, match="class 40 of 40"):
        TopK(2).decode("x", (40,), stored)


@each
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_row(output: dict, value: float) -> None:
    values = np.zeros((6, 7), np.float32)
    values[3, 1] = values[5, 0] = value
    with pytest.raises(UnstorableError, match="finite") as caught:
        of(output).encode("logits", values)
    assert caught.value.row == 3
    assert repr(caught.value.value) == repr(float(value))


@pytest.mark.parametrize("output", [{"encoding": "float16"}, {"encoding": "topk", "k": 2}], ids=str)
@pytest.mark.parametrize("value", [65520.0, 3e38])
def test_an_overflow_of_float16_is_refused_with_its_row(output: dict, value: float) -> None:
    values = np.zeros((6, 4), np.float32)
    values[2, 1] = value
    with pytest.raises(UnstorableError, match="float16 ends at 65504") as caught:
        of(output).encode("logits", values)
    assert (caught.value.row, caught.value.value) == (2, np.float32(value))


def test_the_largest_float16_is_kept() -> None:
    values = np.array([[65504.0, -65504.0]], np.float32)
    np.testing.assert_array_equal(again({"encoding": "float16"}, values), values)


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ({"encoding": "float8"}, "float16, int8, topk"),
        ({}, "None is unknown"),
        ({"encoding": ["float16"]}, "unknown"),
        ({"encoding": "topk"}, "k = None"),
        ({"encoding": "topk", "k": 0}, "k = 0"),
        ({"encoding": "topk", "k": True}, "k = True"),
        ({"encoding": "topk", "k": 2.0}, "k = 2.0"),
        ({"encoding": "int8", "k": 2}, "only topk"),
    ],
)
def test_what_is_no_encoding_is_refused(output: dict, problem: str) -> None:
    with pytest.raises(CacheError) as caught:
        of(output)
    assert problem in str(caught.value)


@pytest.mark.parametrize("shape", [(), (3,), (4, 4)])
def test_a_k_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="k = 4 does not fit"):
        TopK(4).fields("x", shape)
