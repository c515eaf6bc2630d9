"""Encodings keep what they say they keep, and refuse what they cannot."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stillroom.cache import encodings
from stillroom.cache.encodings import UnstorableError, encoding_for, names
from stillroom.cache.encodings.topk import TopK
from stillroom.cache.format.divergence import kl
from stillroom.errors import CacheError

finite = st.floats(-65504, 65504, width=32)
EACH = [
    {"encoding": "float16"},
    {"encoding": "int8"},
    {"encoding": "topk", "k": 3},
    {"encoding": "topk", "k": 7},
    {"encoding": "packed", "k": 3, "bits": 3},
    {"encoding": "packed", "k": 7, "bits": 6},
    {"encoding": "sampled", "draws": 5, "seed": 0},
]
each = pytest.mark.parametrize("output", EACH, ids=str)
exact = pytest.mark.parametrize("output", EACH[:-1], ids=str)


def again(output: dict[str, Any], values: np.ndarray) -> np.ndarray:
    codec = encoding_for(output)
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
    codec = encoding_for(output)
    stored, fields = codec.encode("logits", values), codec.fields("logits", (7,))
    assert {field: (array.dtype.str, array.shape) for field, array in stored.items()} == {
        field: (spec.dtype, (5, *spec.shape)) for field, spec in fields.items()
    }
    decoded = codec.decode("logits", (7,), stored)
    assert decoded.dtype == np.float32 and decoded.shape == values.shape and np.isfinite(decoded).all()


@each
@given(values=arrays(np.float32, (6, 7), elements=st.floats(-40, 40, width=32)), row=st.integers(0, 5))
@pytest.mark.slow
def test_a_row_is_stored_alike_whatever_the_others_are(output: dict, values: np.ndarray, row: int) -> None:
    """Or a block's digest would depend on how blocks are cut."""
    codec = encoding_for(output)
    whole, alone = codec.encode("x", values), codec.encode("x", values[row : row + 1])
    for name in whole:
        np.testing.assert_array_equal(whole[name][row], alone[name][0])


@each
def test_rows_are_encoded_a_few_at_a_time(output: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a block of many rows would take several times its size in memory."""
    values = realistic(50, 7)
    whole = encoding_for(output).encode("x", values)
    monkeypatch.setattr(encodings, "_VALUES", 8 * 7)
    cut = encoding_for(output).encode("x", values)
    for name in whole:
        np.testing.assert_array_equal(whole[name], cut[name])
    values[[21, 40], 3] = np.nan
    with pytest.raises(UnstorableError) as caught:
        encoding_for(output).encode("x", values)
    assert caught.value.row == 21


@exact
@given(values=arrays(np.float32, (5, 7), elements=st.floats(-60, 60, width=32)))
@pytest.mark.slow
def test_no_class_passes_the_largest(output: dict, values: np.ndarray) -> None:
    first = values.argmax(axis=1)[:, None]
    decoded = again(output, values)
    np.testing.assert_array_equal(np.take_along_axis(decoded, first, axis=1)[:, 0], decoded.max(axis=1))


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
    # rows below about 1e-36 become zero: their scale would leave the normal numbers of float32
    assert (apart <= largest / 127 * widest / 2 * (1 + 1e-4) + 2e-36).all()


@pytest.mark.parametrize("shape", [(50, 8), (50, 2, 4)])
@pytest.mark.parametrize("largest", [0.0, 1e-45, 1e-40, 1e-30, 3.3e38, float(np.finfo(np.float32).max)])
def test_int8_holds_the_smallest_and_the_largest_rows(largest: float, shape: tuple[int, ...]) -> None:
    values = (np.random.default_rng(0).uniform(-1, 1, shape) * largest).astype(np.float32)
    values.reshape(50, -1)[:, 0] = largest
    decoded = again({"encoding": "int8"}, values)
    np.testing.assert_allclose(decoded, values, rtol=0, atol=largest / 127 * 0.751 + 2e-36)


def test_int8_keeps_probabilities_better_than_the_plain_scale() -> None:
    values = realistic()
    scale = np.abs(values).max(axis=1, keepdims=True) / 127
    plain = (np.rint(values / scale) * scale).astype(np.float32)
    found, without = kl(values, again({"encoding": "int8"}, values)), kl(values, plain)
    assert found["T=1"]["mean"] < 2e-5
    assert found["T=1"]["mean"] < without["T=1"]["mean"] / 2


def test_int8_takes_the_scale_of_least_variance() -> None:
    """Half of the variance of the rounding errors is the divergence: what all share costs nothing."""
    values = realistic(100, 16)
    scales = encoding_for({"encoding": "int8"}).encode("x", values)["x_scale"]
    for row, taken in zip(values.astype(np.float64), scales, strict=True):
        p = np.exp(row - row.max())
        plain = np.abs(row).max() / 127

        def cost(scale: float, row: np.ndarray = row, p: np.ndarray = p) -> float:
            error = np.rint(row / scale) * scale - row
            return float(np.average((error - np.average(error, weights=p)) ** 2, weights=p))

        least = min(cost(np.float32(plain * (1 + step / 128))) for step in range(64))
        assert cost(taken) == pytest.approx(least, rel=1e-3, abs=1e-12)


@given(
    values=arrays(np.float32, (4, 9), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])), k=st.integers(1, 9)
)
def test_topk_keeps_the_largest_and_of_equal_ones_the_first(values: np.ndarray, k: int) -> None:
    stored = TopK(k).encode("x", values)
    expected = np.array([sorted(range(9), key=lambda c: (-row[c], c))[:k] for row in values])
    np.testing.assert_array_equal(stored["x_index"], expected)
    np.testing.assert_array_equal(stored["x"], np.take_along_axis(values, expected, axis=1))


def test_topk_finds_ties_among_many_classes() -> None:
    """Float16 autocast gives such logits: many rows have several that are equal to the k-th."""
    values = np.random.default_rng(2).normal(0, 2, (300, 1000)).astype(np.float16).astype(np.float32)
    for k in (1, 16, 400, 1000):
        expected = np.argsort(-values, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(TopK(k).encode("x", values)["x_index"], expected)


def masses(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The probability of what is not kept, in long double."""
    exact = values.astype(np.longdouble)
    raised = np.exp(exact - exact.max(axis=1, keepdims=True))
    return (raised * ~kept).sum(axis=1) / raised.sum(axis=1)


def check_mass(values: np.ndarray, k: int) -> None:
    """The mass of what is dropped is the teacher's; less only where one value would pass the k-th with it."""
    decoded = again({"encoding": "topk", "k": k}, values)
    kept = np.zeros(values.shape, bool)
    np.put_along_axis(kept, np.argsort(-values, axis=1, kind="stable")[:, :k], True, axis=1)
    lowest = np.where(kept, decoded, np.inf).min(axis=1)
    rest = np.where(kept, -np.inf, decoded).max(axis=1)
    assert (rest <= lowest).all()
    assert (rest == np.where(kept, np.inf, decoded).min(axis=1)).all()
    told, wanted = masses(decoded, kept), masses(values, kept)
    free = rest < lowest
    np.testing.assert_allclose(told[free].astype(float), wanted[free].astype(float), rtol=1e-5)
    assert (told[~free] <= wanted[~free] * (1 + 1e-5)).all()
    np.testing.assert_allclose(told[~free].astype(float), wanted[~free].astype(float), rtol=0.05)


@pytest.mark.parametrize("k", [1, 4, 16, 39])
def test_topk_keeps_the_mass_of_what_it_drops(k: int) -> None:
    """Renormalising the kept ones would give them the mass of the others: a biased target."""
    check_mass(realistic(), k)


@given(values=arrays(np.float32, (4, 6), elements=st.floats(-64, 64, width=32)), k=st.integers(1, 5))
def test_topk_keeps_the_mass_of_any_logits(values: np.ndarray, k: int) -> None:
    check_mass(values, k)


def test_topk_keeps_a_mass_that_float32_cannot_hold() -> None:
    values = np.array([[200.0, 0.0, -1.0, -1.0], [500.0, 499.0, -3e38, -3.4e38]], np.float32)
    decoded = again({"encoding": "topk", "k": 1}, values)
    np.testing.assert_allclose(decoded[0, 1:], np.log((1 + 2 * np.exp(-1)) / 3), rtol=1e-6)
    np.testing.assert_allclose(decoded[1, 1:], 499 - np.log(3), rtol=1e-6)
    decoded = again({"encoding": "topk", "k": 2}, values)
    np.testing.assert_allclose(decoded[1, 2:], -3e38, rtol=1e-6)


def test_topk_of_a_thousand_classes_takes_68_bytes() -> None:
    fields = TopK(16).fields("logits", (1000,))
    assert sum(spec.row_bytes for spec in fields.values()) == 68


@pytest.mark.parametrize(("classes", "dtype"), [(2**16, "<u2"), (2**16 + 1, "<u4")])
def test_the_last_of_very_many_classes_is_found_again(classes: int, dtype: str) -> None:
    values = np.zeros((2, classes), np.float32)
    values[:, -1] = 5
    stored = TopK(1).encode("x", values)
    assert stored["x_index"].dtype == dtype
    assert (TopK(1).decode("x", (classes,), stored).argmax(axis=1) == classes - 1).all()


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
        encoding_for(output).encode("logits", values)
    assert caught.value.row == 3
    assert repr(caught.value.value) == repr(float(value))


@pytest.mark.parametrize("output", [{"encoding": "float16"}, {"encoding": "topk", "k": 2}], ids=str)
@pytest.mark.parametrize("value", [65520.0, 3e38])
def test_an_overflow_of_float16_is_refused_with_its_row(output: dict, value: float) -> None:
    values = np.zeros((6, 4), np.float32)
    values[2, 1] = value
    with pytest.raises(UnstorableError, match="float16 ends at 65504") as caught:
        encoding_for(output).encode("logits", values)
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
        ({"encoding": "topk", "k": "16"}, "k = '16'"),
        ({"encoding": "topk", "k": 2**40, "shape": [40]}, "from 1 on"),
        ({"encoding": "topk", "k": 41, "shape": [40]}, "set cache.k to 40 or less"),
        ({"encoding": "topk", "k": 2, "shape": [4, 4]}, "shape [4, 4]"),
        ({"encoding": "topk", "k": 2, "shape": []}, "shape []"),
        ({"encoding": "topk", "k": 2, "shape": 40}, "shape 40"),
        ({"encoding": "topk", "k": 2, "shape": ["40"]}, "shape ['40']"),
        ({"encoding": "topk", "k": 2, "shape": None}, "shape None"),
        ({"encoding": "topk", "k": [[2]]}, "a nested list"),
        ({"encoding": {}}, "unknown"),
        ({"encoding": "x" * 10**6}, "unknown"),
        ({"encoding": "int8", "k": 2}, "only topk"),
        ({"encoding": "float16", "k": None}, "only topk"),
        (None, "must be a table"),
        (["topk"], "must be a table"),
    ],
)
def test_what_is_no_encoding_is_refused(output: Any, problem: str) -> None:
    with pytest.raises(CacheError) as caught:
        encoding_for(output)
    assert problem in str(caught.value) and len(str(caught.value)) < 400
    assert caught.value.why


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=4), values, max_size=3),
    max_leaves=6,
)


@given(
    output=st.fixed_dictionaries(
        {}, optional={"encoding": st.sampled_from(names()) | json, "k": json, "shape": json}
    )
)
def test_any_description_gives_an_encoding_or_a_refusal(output: Mapping[str, Any]) -> None:
    try:
        found = encoding_for(output)
    except CacheError:
        return
    assert isinstance(found, TopK) == (output["encoding"] == "topk")
    if isinstance(found, TopK) and "shape" in output:
        assert found.fields("x", tuple(output["shape"]))["x"].shape == (output["k"],)


def test_a_description_that_has_no_repr_is_refused() -> None:
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for output in ({"encoding": deep}, {"encoding": "topk", "k": deep}, {"encoding": "int8", "k": deep}):
        with pytest.raises(CacheError, match="a nested list"):
            encoding_for(output)


@pytest.mark.parametrize("shape", [(), (3,), (4, 4)])
def test_a_k_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="k = 4 does not fit"):
        TopK(4).fields("x", shape)
