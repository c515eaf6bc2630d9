"""One clip's file, in any format, gives what the data sets give; what it cannot be is said in words."""

import json
import zipfile

import numpy as np
import pytest

from stillroom.modalities.skeletons.arrays import sound
from stillroom.modalities.skeletons.clip_files import SUFFIXES, read_clip
from stillroom.modalities.skeletons.datasets import kinetics_skeleton, ntu, penn_action
from stillroom.modalities.skeletons.layouts import LAYOUTS
from tests.modalities.skeletons.datasets.clips_on_disk import SHARED, needs, walk
from tests.modalities.skeletons.datasets.clips_on_disk import kinetics as kinetics_clip
from tests.modalities.skeletons.datasets.clips_on_disk import ntu as ntu_clip
from tests.modalities.skeletons.datasets.clips_on_disk import penn as penn_clip

COCO = LAYOUTS["coco17"]


def saved(file, array):
    np.save(file, array)
    return file


@pytest.mark.parametrize(
    "shape",
    [(17, 2), (4, 17, 2), (4, 17, 3), (4, 2, 17, 2), (4, 2, 17, 3)],
    ids=["picture", "frames", "scores", "persons", "both"],
)
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<u2"])
def test_an_array_may_leave_out_what_there_is_one_of(tmp_path, shape, dtype):
    array = np.arange(1, 1 + np.prod(shape)).reshape(shape).astype(dtype)
    clip = read_clip(saved(tmp_path / "clip.npy", array), COCO, 2)
    assert clip.dtype == np.float32 and clip.ndim == 4 and clip.shape[2:] == (17, 3)
    assert np.array_equal(clip.reshape(-1, 17, 3)[..., : shape[-1]], array.reshape(-1, 17, shape[-1]))


def test_what_prepare_wrote_is_read_as_it_is(tmp_path):
    clip = np.concatenate([walk(0, 4, 17, 2), np.ones((4, 17, 1))], axis=-1)[:, None]
    clip[1, 0, 3] = (np.nan, np.nan, 0)
    clip = sound(clip, COCO, 2)
    assert np.array_equal(read_clip(saved(tmp_path / "clip.npy", clip), COCO, 2), clip, equal_nan=True)


def test_each_published_format_is_known_by_its_suffix(tmp_path):
    (tmp_path / "a.skeleton").write_text(ntu_clip())
    (tmp_path / "b.MAT").write_bytes(penn_clip())
    (tmp_path / "c.json").write_text(json.dumps(kinetics_clip()))
    for name, layout, dims, parsed in (
        ("a.skeleton", "ntu25", 3, ntu.parse(ntu_clip().encode())),
        ("b.MAT", "penn13", 2, penn_action.parse(penn_clip())),
        ("c.json", "openpose18", 2, kinetics_skeleton.parse(kinetics_clip())),
    ):
        clip = read_clip(tmp_path / name, LAYOUTS[layout], dims)
        assert np.array_equal(clip, sound(parsed.joints, LAYOUTS[layout], dims), equal_nan=True)
        with pytest.raises(ValueError, match=rf"{layout}.*\(coco17\) in 2 are wanted"):
            read_clip(tmp_path / name, COCO, 2)
    assert {".npy", ".skeleton", ".json", ".mat"} == set(SUFFIXES)


@needs("ntu_sample")
@needs("penn_action")
@needs("kinetics_skeleton_sample")
def test_genuine_files_are_read(tmp_path):
    with zipfile.ZipFile(SHARED / "penn_action" / "labels.zip") as archive:
        (tmp_path / "0001.mat").write_bytes(archive.read("labels/0001.mat"))
    assert read_clip(tmp_path / "0001.mat", LAYOUTS["penn13"], 2).shape == (151, 1, 13, 3)
    file = SHARED / "ntu_sample" / "S001C003P008R002A058.skeleton"
    assert read_clip(file, LAYOUTS["ntu25"], 3).shape == (70, 2, 25, 4)
    file = SHARED / "kinetics_skeleton_sample" / "kinetics_val" / "__lt03EF4ao.json"
    assert read_clip(file, LAYOUTS["openpose18"], 2).shape == (249, 2, 18, 3)


def header(text: str) -> bytes:
    padded = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(padded).to_bytes(2, "little") + padded


BAD = {
    "joints": (walk(0, 4, 13, 2), "13 joints, and the layout coco17 has 17"),
    "dims": (walk(0, 4, 17, 4), "the shape [4, 17, 4]"),
    "flat": (np.ones(34), "the shape [34]"),
    "frames": (np.ones((0, 17, 2)), "no frame"),
    "persons": (np.ones((4, 0, 17, 2)), "nobody is in it"),
    "nobody": (np.zeros((4, 17, 2)), "nobody is in it"),
    "nan": (np.full((4, 17, 2), np.nan), "nobody is in it"),
    "infinite": (np.full((4, 17, 2), -np.inf), "infinite"),
    "scores": (np.full((4, 17, 3), -1.0), "score is below 0"),
    "infinite score": (np.full((4, 17, 3), np.inf), "infinite"),
    "text": (np.full((4, 17, 2), "a"), "expected numbers"),
    "complex": (np.ones((4, 17, 2), complex), "expected numbers"),
    "fortran": (np.asfortranarray(walk(0, 4, 17, 2)), "Fortran order"),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_an_array_that_is_no_clip_is_refused(tmp_path, kind):
    array, words = BAD[kind]
    with pytest.raises(ValueError) as caught:
        read_clip(saved(tmp_path / "clip.npy", array), COCO, 2)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy", b"", "no sound .npy"),
        ("a.npy", header("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 17"), "no sound .npy"),
        ("a.npy", header("{'descr': '|O', 'fortran_order': False, 'shape': (4, 17, 2)}"), "Python objects"),
        (
            "a.npy",
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 17, 2)}"),
            "truncated: its header promises",
        ),
        ("a.json", b'{"keypoints": 3}', "the shape []"),
        ("a.json", b'{"keypoints": [[1, "a"]]}', "no list of lists of numbers"),
        ("a.json", b'{"keypoints": [[[1, 2]', "perhaps truncated"),
        ("a.csv", b"", "ends in none of .npy"),
        ("a.pkl", b"", "ends in none of .npy"),
    ],
    ids=["empty", "header", "objects", "huge", "number", "word", "json", "csv", "pickle"],
)
def test_a_file_that_is_no_clip_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_clip(tmp_path / name, COCO, 2)
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_no_fault_of_its_content(tmp_path):
    with pytest.raises(OSError):
        read_clip(tmp_path / "none.npy", COCO, 2)
