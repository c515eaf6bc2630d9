"""`packed` keeps the largest logits in a few bits, and the mass of all others."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stillroom.cache.encodings import encoding_for
from stillroom.cache.encodings._ascending import Ascending, ascending
from stillroom.cache.encodings._bits import Reader, pack
from stillroom.cache.encodings.packed import Packed
from stillroom.cache.encodings.topk import TopK
from stillroom.cache.format.divergence import kl
from stillroom.errors import CacheError
from tests.cache.test_encoding import masses, realistic


def again(values: np.ndarray, k: int, bits: int = 4) -> np.ndarray:
    codec = Packed(k, bits)
    return codec.decode("x", values.shape[1:], codec.encode("x", values))


def many(rows: int = 2000, classes: int = 1000) -> np.ndarray:
    """Logits whose largest is about 0.8 probable, and whose tail is heavy."""
    random = np.random.default_rng(1)
    values = random.exponential(1, (rows, classes)) * random.uniform(1.2, 2.0, (rows, 1))
    values[np.arange(rows), random.integers(0, classes, rows)] += random.normal(13, 4.5, rows)
    return values.astype(np.float32)


# Ascending numbers


@given(data=st.data(), count=st.integers(1, 80), top=st.integers(0, 2**17))
def test_ascending_numbers_are_read_back(data: st.DataObject, count: int, top: int) -> None:
    drawn = data.draw(arrays(np.int64, (3, count), elements=st.integers(0, top)))
    values, coded = np.sort(drawn, axis=1), ascending(count, top)
    reader = Reader(pack(coded.parts(values)) if coded.bits else np.zeros((3, 0), np.uint8))
    np.testing.assert_array_equal(coded.read(reader), values)
    reader.finish()


@pytest.mark.parametrize(("count", "top"), [(16, 984), (17, 983), (32, 999), (1, 999), (3, 2**17)])
def test_ascending_numbers_take_hardly_more_bits_than_any_code_needs(count: int, top: int) -> None:
    needed = math.log2(math.comb(count + top, count))
    assert needed <= ascending(count, top).bits < needed + 1 + 0.6 * count


def test_every_choice_of_a_few_numbers_has_its_own_rank() -> None:
    coded = Ascending(3, 4, 0, math.comb(7, 3))
    values = np.array([(a, b, c) for a in range(5) for b in range(a, 5) for c in range(b, 5)])
    ranks = coded.parts(values)[1][0][:, 0]
    assert sorted(ranks) == list(range(35))


@pytest.mark.parametrize(
    ("coded", "parts", "problem"),
    [
        (
            ascending(16, 984),
            lambda c: [(np.zeros((1, 16), int), c.low), (np.array([[c.ways]]), c._upper_bits)],
            "rank",
        ),
        (Ascending(2, 8, 1, 0), lambda c: [(np.zeros((1, 2), int), 1), (np.ones((1, 6), int), 1)], "bitmap"),
        (Ascending(2, 8, 1, 0), lambda c: c.parts(np.array([[3, 9]])), "ascend to 8"),
        (Ascending(2, 8, 1, 0), lambda c: c.parts(np.array([[5, 4]])), "ascend to 8"),
    ],
)
def test_bits_that_are_no_ascending_numbers_are_refused(coded: Ascending, parts, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        coded.read(Reader(pack(parts(coded))))


# What is kept


@given(
    values=arrays(np.float32, (4, 9), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])), k=st.integers(1, 9)
)
def test_the_classes_kept_are_those_of_topk(values: np.ndarray, k: int) -> None:
    """Ties too: what is not kept shares one value, and what is kept is at least that."""
    expected = np.sort(TopK(k).encode("x", values)["x_index"], axis=1)
    decoded = again(values, k, bits=8)
    for row, kept in zip(decoded, expected, strict=True):
        others = np.delete(row, kept)
        assert len(set(others.tolist())) <= 1
        assert others.size == 0 or row[kept].min() >= others.max()


@example(values=np.array([[-57, 57, 0, 0, 0, 0, 0]] * 5, np.float32), bits=7)
@given(values=arrays(np.float32, (5, 7), elements=st.floats(-60, 60, width=32)), bits=st.integers(2, 8))
def test_kept_logits_are_within_two_steps_and_the_largest_is_zero(values: np.ndarray, bits: int) -> None:
    decoded = again(values, 7, bits)
    depth = values.max(axis=1, keepdims=True) - values
    assert (decoded.max(axis=1) == 0).all()
    # the widest step, where levels are bent, is half as wide again; a scale up to half as large is tried too,
    # and none reaches further than is needed for a depth of 64
    span = np.maximum(depth.max(axis=1, keepdims=True), (2**bits - 1) / 128)
    reached = np.minimum(span, 64)
    allowed = np.where(depth <= reached / 2, 1.2 * reached / (2**bits - 1) + 1e-6, span)
    assert (np.abs(decoded + depth) <= allowed).all()
    assert (decoded[depth > 64] <= -40).all()


@pytest.mark.parametrize("k", [1, 4, 16, 39])
def test_the_mass_of_what_is_dropped_is_kept_as_near_as_it_says(k: int) -> None:
    values = realistic()
    decoded = again(values, k, bits=6).astype(np.float64)
    kept = np.zeros(values.shape, bool)
    np.put_along_axis(kept, TopK(k).encode("x", values)["x_index"].astype(int), True, axis=1)
    lowest = np.where(kept, decoded, np.inf).min(axis=1)
    rest = np.where(kept, -np.inf, decoded).max(axis=1)
    told, wanted = masses(decoded, kept), masses(values, kept)
    apart = np.log((told / (1 - told)).astype(float)) - np.log((wanted / (1 - wanted)).astype(float))
    free = rest < lowest
    assert free.mean() > 0.9
    assert (np.abs(apart) <= np.maximum(1 / 256, (lowest - rest) / 128) + 1e-4)[free].all()
    assert (apart[~free] <= 1 / 256 + 1e-4).all()


def test_17_logits_of_3_bits_in_24_bytes_are_no_worse_than_16_in_68() -> None:
    values = many()
    few = kl(values, again(values, 17, bits=3))
    assert Packed(17, 3).fields("x", (1000,))["x"].row_bytes == 24
    before = TopK(16)
    most = kl(values, before.decode("x", (1000,), before.encode("x", values)))
    for temperature in ("T=1", "T=4"):
        assert few[temperature]["mean"] <= most[temperature]["mean"]


def test_more_bits_are_nearer() -> None:
    values = many(500)
    found = [kl(values, again(values, 16, bits))["T=1"]["mean"] for bits in (2, 3, 4, 6)]
    assert found == sorted(found, reverse=True)


# Rows at the ends


@pytest.mark.parametrize(("classes", "k"), [(2**17, 16), (2**17, 1), (1000, 1000), (5, 5), (1, 1)])
def test_many_classes_one_and_all_of_them_are_kept(classes: int, k: int) -> None:
    values = np.random.default_rng(3).normal(0, 3, (3, classes)).astype(np.float32)
    values[:, -1] = 20
    decoded = again(values, k)
    assert (decoded.argmax(axis=1) == classes - 1).all() and np.isfinite(decoded).all()


def test_equal_logits_stay_equal() -> None:
    for value in (0.0, -7.5, 6e4):
        np.testing.assert_allclose(again(np.full((2, 50), value, np.float32), 5), 0, atol=1 / 128)


@pytest.mark.parametrize("size", [6e4, 1e30, 3.4e38])
def test_logits_of_any_size_keep_their_probabilities(size: float) -> None:
    values = (np.random.default_rng(4).uniform(-1, 1, (20, 30)) * size).astype(np.float32)
    decoded = again(values, 4)
    assert np.isfinite(decoded).all() and (decoded.argmax(axis=1) == values.argmax(axis=1)).all()
    if size < 1e38:
        assert kl(values, decoded)["T=1"]["max"] < 1e-4
    assert (np.sort(decoded, axis=1)[:, -2] < -2).all()


def test_a_logit_far_below_does_not_make_the_others_coarse() -> None:
    values = np.array([[10.0, 9.0, 8.0, -6e4, -6e4, -6e4]], np.float32)
    decoded = again(values, 4, bits=8)
    np.testing.assert_allclose(decoded[0, :3], [0, -1, -2], atol=0.15)
    assert (decoded[0, 3:] < -40).all()


# The bytes


def test_the_coding_never_changes() -> None:
    """The digest is of the bytes, and of what they are read as."""
    values = (np.arange(6 * 300).reshape(6, 300) * 7919 % 1009 / 64).astype(np.float32)
    digest = hashlib.sha256()
    for k, bits in ((1, 2), (17, 3), (16, 4), (100, 8), (300, 5)):
        stored = Packed(k, bits).encode("x", values)["x"]
        digest.update(stored.tobytes())
        digest.update(Packed(k, bits).decode("x", (300,), {"x": stored}).tobytes())
    assert digest.hexdigest() == "1cf00cfe003ac12dd5bfa52fbb700ed94328434037c35218164c7e485a26ac2f"


def test_what_old_bytes_say_is_read_for_ever() -> None:
    """Scale 6/128, bent towards the top, rest 2; classes 0, 2 and 3 of 4, at levels 0, 1 and 3."""
    codec = Packed(3, 2)
    reader_bits = [(np.array([[6]]), 6), (np.array([[1]]), 1), (np.array([[2]]), 10)]
    classes = codec._classes(4).parts(np.array([[0, 1, 1]]))
    stored = pack([*reader_bits, *classes, (np.array([[0, 1, 3]]), 2)])
    decoded = codec.decode("x", (4,), {"x": stored})
    step = 12 / 128 / 2  # 6 is 2^0 * (4 + 2) of 1/128
    heights = [0, 3 * (1 / 3 - 0.5 * 2 / 9), 3]
    np.testing.assert_allclose(
        decoded[0], [-0.0, -heights[2] * step - 2 / 128, -heights[1] * step, -heights[2] * step], rtol=1e-6
    )


@pytest.mark.parametrize("k", [2, 16])
def test_any_damage_is_refused_or_gives_finite_logits(k: int) -> None:
    codec, random = Packed(k, 3), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        stored = codec.encode("x", realistic(1))["x"]
        stored[0] = random.integers(0, 256, stored.shape[1])
        try:
            assert np.isfinite(codec.decode("x", (40,), {"x": stored})).all()
        except CacheError as error:
            assert "not sound" in error.why
            refused += 1
    assert refused


def test_a_class_that_is_none_is_refused() -> None:
    codec = Packed(2, 4)
    head = [(np.array([[1]]), 6), (np.array([[0]]), 1), (np.array([[0]]), 10)]
    coded = codec._classes(40)
    classes = coded.parts(np.array([[3, (40 - 2 | (1 << coded.low) - 1)]]))
    with pytest.raises(CacheError, match="ascend to 38"):
        codec.decode("x", (40,), {"x": pack([*head, *classes, (np.array([[0, 1]]), 4)])})


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ({"k": 2}, "bits = None"),
        ({"k": 2, "bits": 1}, "bits = 1"),
        ({"k": 2, "bits": 9}, "2 to 8"),
        ({"k": 2, "bits": True}, "bits = True"),
        ({"k": 0, "bits": 4}, "k = 0"),
        ({"bits": 4}, "packed has k = None"),
        ({"k": 41, "bits": 4, "shape": [40]}, "set cache.k to 40 or less"),
        ({"k": 2, "bits": 4, "shape": [4, 4]}, "shape [4, 4]"),
    ],
)
def test_what_packed_cannot_be_is_refused(output: dict, problem: str) -> None:
    with pytest.raises(CacheError) as caught:
        encoding_for({"encoding": "packed", **output})
    assert problem in str(caught.value) and caught.value.why
