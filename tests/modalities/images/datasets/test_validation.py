"""The validation slice is a pure function of seed and keys, stratified, and taken from train alone."""

import random
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.errors import DataError
from stillroom.modalities.holdout import hold_out
from stillroom.modalities.images.samples import Sample
from stillroom.samples import Samples

COUNTS = st.lists(st.integers(5, 40), min_size=1, max_size=4)


def table(counts, test=3, shuffle=0):
    rows = [
        Sample(
            f"c{label}_{number:03d}",
            f"c{label}_{number:03d}.jpg",
            "test" if number < test else "train",
            label,
            None,
            (9, 9),
            "",
        )
        for label, count in enumerate(counts)
        for number in range(count + test)
    ]
    random.Random(shuffle).shuffle(rows)
    return Samples("made", tuple(f"c{label}" for label in range(len(counts))), tuple(rows), Path("root"))


def held(samples):
    return {row.key for row in samples.rows if row.split == "val"}


@given(counts=COUNTS, fraction=st.floats(0.15, 0.95), seed=st.integers(0, 2**63 - 1))
def test_each_class_gives_its_rounded_share_and_keeps_one(counts, fraction, seed):
    samples = table(counts)
    split = hold_out(samples, fraction, seed)
    for label, count in enumerate(counts):
        taken = sum(row.label == label and row.split == "val" for row in split.rows)
        assert taken == min(round(count * fraction), count - 1)
    assert [row.key for row in split.rows] == [row.key for row in samples.rows]
    assert {row.key for row in split.in_splits("test").rows} == {
        row.key for row in samples.in_splits("test").rows
    }


@given(counts=COUNTS, seed=st.integers(0, 9), order=st.integers(0, 99))
def test_order_other_classes_and_global_generators_change_nothing(counts, seed, order):
    alone = held(hold_out(table(counts[:1]), 0.3, seed))
    random.seed(order)
    numpy.random.seed(order)
    before = random.getstate()
    assert {
        key for key in held(hold_out(table(counts, shuffle=order), 0.3, seed)) if key.startswith("c0")
    } == alone
    assert random.getstate() == before


@given(counts=COUNTS, seed=st.integers(0, 9))
def test_a_larger_fraction_only_adds(counts, seed):
    assert held(hold_out(table(counts), 0.2, seed)) <= held(hold_out(table(counts), 0.5, seed))


def test_the_slice_is_the_published_function_of_seed_and_key():
    # ranked with sha256sum: `printf "0 c0_003" | sha256sum`, and so on to c0_010, sorted
    assert held(hold_out(table([8]), 0.25, 0)) == {"c0_004", "c0_007"}
    assert held(hold_out(table([8]), 0.25, 1)) == {"c0_003", "c0_010"}


def test_the_largest_fraction_leaves_one_image_of_each_class_in_train():
    split = hold_out(table([5, 9]), 0.999, 0)
    assert sorted(row.label for row in split.in_splits("train").rows) == [0, 1]


def test_no_fraction_no_slice():
    samples = table([5, 6])
    assert hold_out(samples, 0.0, 0) == samples


def test_a_fraction_that_gives_nothing_is_an_error_naming_the_classes():
    with pytest.raises(DataError) as caught:
        hold_out(table([40, 5, 1]), 0.05, 0)
    assert "c1: 5 in train" in caught.value.what
    assert "c2: 1 in train" in caught.value.what
    assert "c0" not in caught.value.what
    assert "val_fraction" in caught.value.fix
