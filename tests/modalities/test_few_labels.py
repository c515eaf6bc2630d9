"""Fewer labels than there are: which samples keep theirs is a pure function, and the others lose them."""

from pathlib import Path

import numpy as np
import pytest

from stillroom.errors import DataError
from stillroom.modalities.few_labels import few_labels, without_unlabelled
from stillroom.modalities.holdout import hold_out
from stillroom.modalities.images.samples import Sample
from stillroom.samples import Samples


def table(counts: tuple[int, ...] = (9, 5, 7)) -> Samples:
    rows = [
        Sample(f"{'abc'[label]}{number}", f"{label}/{number}.png", split, label, None, (9, 9), 64 * "0")
        for label, count in enumerate(counts)
        for split in ("train", "test")
        for number in (range(count) if split == "train" else range(100, 102))
    ]
    return Samples("folder", ("a", "b", "c"), tuple(rows), Path("x"))


def kept(samples: Samples) -> set[str]:
    return {row.key for row in samples.rows if row.split == "train"}


def test_so_many_of_each_class_keep_their_label_and_no_other_has_one() -> None:
    samples = few_labels(table(), 3, 0)
    assert samples.splits() == {"train": 9, "test": 6, "unlabelled": 12} and samples.unlabelled() == 12
    assert np.bincount(samples.in_splits("train").labels()).tolist() == [3, 3, 3]
    assert all((row.label == -1) == (row.split == "unlabelled") for row in samples.rows)
    assert samples.in_splits("test").digests() == table().in_splits("test").digests()
    assert len(samples.in_cache()) == 21 and len(without_unlabelled(samples)) == 15


def test_which_follows_from_seed_and_keys_alone() -> None:
    few, more = few_labels(table(), 2, 4), few_labels(table(), 4, 4)
    assert kept(few) < kept(more) and kept(few) != kept(few_labels(table(), 2, 5))
    other = few_labels(table((9, 5, 6)), 2, 4)  # another class changed
    assert {key for key in kept(other) if key[0] != "c"} == {key for key in kept(few) if key[0] != "c"}
    held = hold_out(table(), 0.2, 4)
    assert few_labels(held, 2, 4).in_splits("val") == held.in_splits("val")


def test_none_keeps_all_and_too_many_are_refused_by_class() -> None:
    assert few_labels(table(), None, 0) == table()
    with pytest.raises(DataError) as caught:
        few_labels(table(), 6, 0)
    assert "b: 5" in str(caught.value) and "5 or less" in caught.value.fix
