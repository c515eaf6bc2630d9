"""Encodings keep what they say they keep, and refuse what they cannot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.cache.encoding import ENCODINGS, UnstorableError, encoding
from pipeline.errors import CacheError

finite = st.floats(-65504, 65504, width=32)


@pytest.mark.parametrize("name", ENCODINGS)
@given(values=arrays(np.float32, (5, 7), elements=finite))
def test_the_arrays_are_those_announced_and_decode_to_float32(name: str, values: np.ndarray) -> None:
    stored = ENCODINGS[name].encode("logits", values)
    fields = ENCODINGS[name].fields("logits", (7,))
    assert {field: (array.dtype.str, array.shape) for field, array in stored.items()} == {
        field: (spec.dtype, (5, *spec.shape)) for field, spec in fields.items()
    }
    decoded = ENCODINGS[name].decode("logits", (7,), stored)
    assert decoded.dtype == np.float32
    assert decoded.shape == values.shape


@given(values=arrays(np.float32, (5, 2, 3), elements=finite))
def test_float16_is_as_near_as_it_says(values: np.ndarray) -> None:
    codec = ENCODINGS["float16"]
    error = np.abs(codec.decode("x", (2, 3), codec.encode("x", values)) - values)
    assert (error <= np.maximum(np.abs(values) * 2.0**-11, 2.0**-25)).all()


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_row(name: str, value: float) -> None:
    values = np.zeros((6, 4), np.float32)
    values[3, 1] = values[5, 0] = value
    with pytest.raises(UnstorableError) as caught:
        ENCODINGS[name].encode("logits", values)
    assert caught.value.row == 3
    assert repr(caught.value.value) == repr(float(value))


@pytest.mark.parametrize("value", [65520.0, -1e6, 3e38])
def test_an_overflow_of_float16_is_refused_with_its_row(value: float) -> None:
    values = np.zeros((6, 4), np.float32)
    values[2, 1] = value
    with pytest.raises(UnstorableError, match="float16 ends at 65504") as caught:
        ENCODINGS["float16"].encode("logits", values)
    assert (caught.value.row, caught.value.value) == (2, np.float32(value))


def test_the_largest_float16_is_kept() -> None:
    values = np.array([[65504.0, -65504.0]], np.float32)
    codec = ENCODINGS["float16"]
    np.testing.assert_array_equal(codec.decode("x", (2,), codec.encode("x", values)), values)


def test_an_unknown_encoding_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CacheError, match="float16"):
        encoding("float8")
