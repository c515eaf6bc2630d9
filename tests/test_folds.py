"""Folds: a pure function of seed, keys, labels and groups; even in each class; nothing is torn apart."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.errors import ParamsError
from stillroom.folds import Folds, divide, well_formed
from stillroom.modalities.images.samples import Sample
from stillroom.params import MOST_FOLDS
from stillroom.samples import Samples


def table(
    classes: list[int], groups: dict[str, str] | None = None, equal: dict[str, str] | None = None
) -> Samples:
    """So many samples of each class; `equal` names those whose files are the same."""
    rows = []
    for label, count in enumerate(classes):
        for number in range(count):
            key = f"{label}_{number:03}"
            digest = (equal or {}).get(key, key).encode().hex().rjust(64, "0")
            rows.append(
                Sample(key, f"{key}.jpg", "train", label, None, (8, 8), digest, (groups or {}).get(key, ""))
            )
    return Samples("folder", tuple(f"class{label}" for label in range(len(classes))), tuple(rows), Path())


def fold_of(samples: Samples, folds: Folds) -> dict[str, int]:
    return {row.key: int(fold) for row, fold in zip(samples.rows, folds.of_row, strict=True)}


@given(st.lists(st.integers(7, 40), min_size=1, max_size=6), st.integers(2, 7), st.integers(0, 2**62))
def test_each_class_is_spread_evenly_and_so_are_all(classes: list[int], count: int, seed: int) -> None:
    samples = table(classes)
    folds = divide(samples, count, seed)
    labels = np.array(samples.labels())
    for label in range(len(classes)):
        sizes = np.bincount(folds.of_row[labels == label], minlength=count)
        assert sizes.max() - sizes.min() <= 1
    sizes = np.bincount(folds.of_row, minlength=count)
    assert sizes.max() - sizes.min() <= len(classes)
    assert sorted(row for fold in range(count) for row in folds.rows(fold)) == list(range(len(samples)))


def test_it_is_a_pure_function_of_seed_keys_and_labels() -> None:
    samples = table([12, 9])
    other = Samples("other", samples.classes, tuple(reversed(samples.rows)), Path("elsewhere"))
    assert fold_of(samples, divide(samples, 3, 0)) == fold_of(other, divide(other, 3, 0))
    assert divide(samples, 3, 0).digest == divide(other, 3, 0).digest
    assert divide(samples, 3, 0).digest != divide(samples, 3, 1).digest
    assert divide(samples, 3, 0).digest != divide(samples, 4, 0).digest


def test_the_folds_of_a_seed_stay_what_they_are() -> None:
    """Caches name them: a change of this division makes every cross-fitted teacher another one."""
    assert divide(table([7, 5]), 3, 0).of_row.tolist() == [0, 2, 0, 1, 2, 1, 0, 2, 1, 2, 1, 0]


@given(st.integers(0, 2**62))
def test_a_group_and_equal_files_stay_together(seed: int) -> None:
    groups = {"0_001": "ada", "0_004": "ada", "1_002": "ada", "1_005": "ben", "1_006": "ben"}
    samples = table([12, 12], groups, equal={"0_007": "0_002", "0_008": "0_002"})
    folds = divide(samples, 4, seed)
    found = fold_of(samples, folds)
    assert len({found[key] for key, name in groups.items() if name == "ada"}) == 1
    assert found["1_005"] == found["1_006"]
    assert found["0_002"] == found["0_007"] == found["0_008"]
    labels = np.array(samples.labels())
    for label in (0, 1):
        sizes = np.bincount(folds.of_row[labels == label], minlength=4)
        assert sizes.max() - sizes.min() <= 1


def test_more_folds_than_the_smallest_class_has_samples_are_refused() -> None:
    with pytest.raises(ParamsError) as caught:
        divide(table([9, 4, 3]), 5, 0)
    said = str(caught.value)
    assert "teacher.folds = 5" in said and "class1: 4" in said and "class2: 3" in said
    assert "class0" not in said and "teacher.folds to 3 or less" in said


def test_fewer_samples_without_a_label_than_folds_are_no_class() -> None:
    known = table([4, 4])
    alone = Sample("z", "z.jpg", "unlabelled", -1, None, (8, 8), "f" * 64)
    samples = Samples("folder", known.classes, (*known.rows, alone), Path())
    assert sorted(np.bincount(divide(samples, 2, 0).of_row).tolist()) == [4, 5]


def test_a_group_larger_than_a_fold_is_refused() -> None:
    groups = {f"0_{number:03}": "all of them" for number in range(8)}
    with pytest.raises(ParamsError) as caught:
        divide(table([8, 8], groups), 4, 0)
    assert "all of them: 8" in str(caught.value) and "folds of 4 samples" in str(caught.value)


@given(st.integers(0, 2**62))
def test_equal_files_of_two_groups_make_one_of_them(seed: int) -> None:
    groups = {"0_001": "ada", "0_004": "ada", "0_005": "ben", "0_006": "ben"}
    samples = table([12], groups, equal={"0_004": "same", "0_005": "same", "0_009": "same"})
    found = fold_of(samples, divide(samples, 2, seed))
    assert len({found[key] for key in (*groups, "0_009")}) == 1


def test_groups_that_leave_a_class_in_one_fold_or_a_fold_empty_are_refused() -> None:
    """A model would be asked of a class that it has never seen, or be fitted to all."""
    owls = {f"1_{number:03}": "owls" for number in range(6)}
    with pytest.raises(ParamsError, match="class1"):
        divide(table([54, 6], owls), 3, 0)
    few = {f"{label}_{number:03}": f"g{(6 * label + number) // 3}" for label in (0, 1) for number in range(6)}
    with pytest.raises(ParamsError, match="1 would be empty"):
        divide(table([6, 6], few), 5, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"count": 0}, {"count": 1}, {"count": 2.0}, {"count": True}, {"count": "2"},
        {"count": MOST_FOLDS + 1},
        {"seed": -1}, {"seed": 2**63}, {"seed": False}, {"seed": None}, {"digest": 3}, {"models": "ab"},
        {"models": ["a"]}, {"models": ["a", 2]},
    ],
)  # fmt: skip
def test_what_a_stranger_says_of_folds_is_checked(change: dict) -> None:
    recorded = {"count": 2, "seed": 0, "digest": "d", "models": ["a", "b"]}
    assert well_formed(recorded)
    assert not well_formed(recorded | change)
    assert not well_formed([*recorded]) and not well_formed(None)
