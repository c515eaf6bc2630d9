"""Clips are read once, checked, and kept within a budget; a bad file is named, and never unpickled."""

import os
import pickle
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from stillroom.errors import AccessError, DataError
from stillroom.modalities.skeletons.reader import Clips, decode
from stillroom.samples import Samples
from tests.modalities.skeletons.drawn import clip, sample, written

CLIPS = [clip(seed, frames=10 + seed) for seed in range(4)]


def saved(array: np.ndarray) -> bytes:
    stream = BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    return written(tmp_path, CLIPS)


def test_a_clip_is_what_was_written(samples: Samples) -> None:
    reader = Clips(samples)
    for row, made in zip(samples.rows, CLIPS, strict=True):
        np.testing.assert_array_equal(reader[row], made)
        assert reader[row].nbytes == Clips.kept_bytes(row) and not reader[row].flags.writeable


def test_what_the_budget_takes_is_read_once(samples: Samples) -> None:
    first, second, *_ = samples.rows
    reader = Clips(samples, budget=Clips.kept_bytes(first))
    assert reader[first] is reader[first]
    assert reader[second] is not reader[second]
    again = pickle.loads(pickle.dumps(reader))  # as a spawned worker has it: the budget whole, nothing kept
    assert again[second] is not again[second] and again[first] is again[first]


def test_preloading_reads_up_to_the_budget(samples: Samples) -> None:
    reader = Clips(samples, budget=sum(map(Clips.kept_bytes, samples.rows[:2])))
    reader.preload(samples.rows)
    for row in samples.rows[:2]:
        samples.file(row).unlink()
        assert reader[row] is not None
    samples.file(samples.rows[2]).unlink()
    with pytest.raises(DataError):
        reader[samples.rows[2]]


@pytest.mark.parametrize("damage", ["missing", "replaced", "cut"])
def test_a_file_that_is_not_the_one_prepared_is_named(samples: Samples, damage: str) -> None:
    row = samples.rows[1]
    file = samples.file(row)
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(saved(CLIPS[0]) if damage == "replaced" else file.read_bytes()[:-4])
    with pytest.raises(DataError) as told:
        Clips(samples)[row]
    assert str(file) in str(told.value)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(samples: Samples) -> None:
    file = samples.file(samples.rows[0])
    file.chmod(0)
    with pytest.raises(AccessError, match=file.name):
        Clips(samples)[samples.rows[0]]


def test_a_clip_of_another_shape_than_its_row_is_named(samples: Samples) -> None:
    row = replace(samples.rows[0], frames=11)
    with pytest.raises(DataError, match=r"(?s)clip_0\.npy.*shape \[10, .*expected \[11, 1, 13, 3\]"):
        Clips(samples)[row]


def promising(shape: tuple[int, ...]) -> bytes:
    """A header alone, of an array that is not there."""
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "magic"),
        (b"no array", "magic"),
        (saved(CLIPS[0])[:40], "header"),
        (saved(np.array([{}, None])), "type object"),
        (saved(CLIPS[0].astype(np.float64)), "type float64"),
        (saved(np.asfortranarray(CLIPS[0])), "by column"),
        (saved(CLIPS[0][0]), r"shape \[1, 13, 3\]"),
        (saved(CLIPS[0][:0]), r"shape \[0, 1, 13, 3\]"),
        (saved(CLIPS[0][..., :2]), r"shape \[10, 1, 13, 2\]"),
        (saved(CLIPS[0])[:-1], "bytes"),
        (saved(CLIPS[0]) + b"0", "bytes"),
        (promising((2**40, 2**10, 2**10, 3)), "bytes"),
        (promising((-1, 1, 13, 3)), "shape|bytes"),
    ],
    ids=[
        *("empty", "text", "cut_header", "objects", "float64", "by_column", "three_axes", "no_frames"),
        *("no_score", "cut", "longer", "enormous", "negative"),
    ],
)
def test_a_file_that_is_no_clip_is_refused(content: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        decode(content)


def test_a_row_knows_the_shape_of_its_file() -> None:
    assert sample(CLIPS[2]).shape == CLIPS[2].shape == decode(saved(CLIPS[2])).shape
