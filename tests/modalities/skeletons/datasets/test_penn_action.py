"""Penn Action: the whole official annotation by its published numbers, its quirks read, bad files named."""

import struct
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io

from stillroom.errors import DataError, ParamsError
from stillroom.modalities.skeletons import datasets
from stillroom.modalities.skeletons.datasets import penn_action
from stillroom.modalities.skeletons.preparation import summary
from stillroom.modalities.skeletons.preparation.clips import Account
from stillroom.modalities.summary import write
from stillroom.progress import Progress
from tests.modalities.skeletons.datasets.clips_on_disk import (
    SHARED,
    clip_of,
    counts,
    needs,
    penn,
    penn_folder,
    prepared,
    refused,
)

WHOLE = SHARED / "penn_action"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return prepared("penn_action", tmp_path_factory.mktemp("penn"), path=str(WHOLE))


@needs("penn_action")
def test_the_official_split_and_classes_are_the_published_ones(whole):
    samples = whole.samples
    assert counts(samples) == {"train": 1258, "val": 0, "test": 1068}
    assert len(samples.classes) == 15 and {"bowl", "pullup", "strum_guitar"} <= set(samples.classes)
    for split, few, many in (("train", 40, 135), ("test", 42, 117)):
        sizes = np.bincount(samples.in_splits(split).labels(), minlength=15)
        assert (sizes.min(), sizes.max()) == (few, many)


@needs("penn_action")
def test_frames_and_missing_joints_are_as_published(whole):
    rows = whole.samples.rows
    frames = sorted(row.frames for row in rows)
    assert (sum(frames), frames[0], frames[-1], frames[len(frames) // 2]) == (163_841, 18, 663, 56)
    assert {(row.persons, row.joints, row.dims, row.layout) for row in rows} == {(1, 13, 2, "penn13")}
    account = whole.account
    assert round(100 * sum(account.missing.values()) / sum(account.joints.values()), 1) == 8.8
    assert account.nobody == 2
    shares = {
        name: account.missing[label] / account.joints[label]
        for label, name in enumerate(whole.samples.classes)
    }
    assert max(shares, key=shares.__getitem__) == "strum_guitar" and 0.39 < shares["strum_guitar"] < 0.41
    assert max(shares[name] for name in ("baseball_pitch", "baseball_swing", "tennis_serve")) < 0.001


@needs("penn_action")
def test_whole_numbers_are_made_floats_and_scores_tell_the_occluded(whole):
    with zipfile.ZipFile(WHOLE / "labels.zip") as archive:
        kinds = set()
        for number in (1, 2, 700, 1605, 1833, 2326):
            with archive.open(f"labels/{number:04d}.mat") as file:
                fields = scipy.io.loadmat(file)
            kinds.add(fields["x"].dtype.kind)
            x, y = fields["x"].astype(float), fields["y"].astype(float)
            nowhere = (x < 3) & (y < 3)
            clip = clip_of(whole.samples, f"{number:04d}")[:, 0]
            assert np.isnan(clip[nowhere, :2]).all() and not clip[nowhere, 2].any()
            assert np.array_equal(clip[~nowhere, 0], x[~nowhere].astype(np.float32))
            assert np.array_equal(clip[~nowhere, 1], y[~nowhere].astype(np.float32))
            expected = np.where(fields["visibility"] > 0, 1.0, 0.5)
            assert np.array_equal(clip[~nowhere, 2], expected[~nowhere])
            row = whole.samples.rows[whole.samples.row_of(f"{number:04d}")]
            assert row.size == (fields["dimensions"][0, 1], fields["dimensions"][0, 0])


@needs("penn_action")
def test_the_report_says_what_is_missing(whole, tmp_path):
    whole.samples.save(tmp_path)
    report = summary.describe(whole, tmp_path / "samples.parquet")
    write(report, tmp_path)
    assert summary.read(tmp_path) == report
    lines = dict(summary.lines(report))
    assert lines["train"] == "1,258 clips of 15 classes, 40 (jump_rope) to 135 (bowl) a class"
    assert lines["frames"] == "18 to 663 a clip, median 56"
    assert lines["missing"].startswith("8.8% of the joints, 0.0% (") and "(strum_guitar)" in lines["missing"]
    assert lines["missing"].endswith("; nobody in 2 of 163,841 frames")


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float64"])
def test_small_whole_numbers_do_not_wrap(kind):
    x = np.full((2, 13), 250).astype(kind)
    clip = penn_action.parse(penn(x=x, y=x, visibility=np.zeros((2, 13), np.uint8))).joints
    assert (clip[..., :2] == 250).all() and (clip[..., 2] == 0.5).all()


def test_a_joint_beside_the_edge_is_one_and_a_constant_is_none():
    x, y = np.full((1, 13), 1.5), np.full((1, 13), 1.5)
    y[0, :6] = 200
    clip = penn_action.parse(penn(x=x, y=y, visibility=np.zeros((1, 13), np.uint8))).joints
    assert (clip[0, 0, :6, 2] == 0.5).all() and not clip[0, 0, 6:, 2].any()


def test_a_folder_and_a_zip_file_give_one_table(tmp_path):
    root = penn_folder(tmp_path / "set")
    prepared("penn_action", tmp_path / "folder", path=str(root), official=False)
    packed = tmp_path / "packed"
    packed.mkdir()
    with zipfile.ZipFile(packed / "labels.zip", "w") as archive:
        for file in sorted((root / "labels").iterdir(), reverse=True):
            archive.write(file, f"labels/{file.name}")
        archive.writestr("labels/readme.txt", "")
    done = prepared("penn_action", tmp_path / "zip", path=str(packed), official=False)
    table = (tmp_path / "zip" / "samples.parquet").read_bytes()
    assert table == (tmp_path / "folder" / "samples.parquet").read_bytes()
    assert done.account.passed_over == {"no clip, in labels.zip": ["labels/readme.txt"]}


def test_another_number_of_clips_is_not_the_published_set(tmp_path):
    root = penn_folder(tmp_path / "set")
    message = refused("penn_action", tmp_path / "data", path=str(root))
    assert "expected 1,258 clips in train, found 6" in message and "expected 15 actions, found 2" in message
    assert "data.official: false" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (penn()[:700], "truncated"),
        (penn()[:100], "no MATLAB 5 file"),
        (b"", "is empty"),
        (penn(x=None), "lacks x"),
        (penn(x=np.ones((6, 12)), y=np.ones((6, 12)), visibility=np.ones((6, 12))), "12 joints"),
        (penn(x=np.ones((5, 13))), "shapes"),
        (penn(x=np.ones((0, 13)), y=np.ones((0, 13)), visibility=np.ones((0, 13))), "no frame"),
        (penn(x=np.ones((2, 13)), y=np.ones((2, 13)), visibility=np.ones((2, 13))), "nobody"),
        (penn(x=np.full((6, 13), np.inf)), "infinite"),
        (penn(x=np.full((6, 13), np.nan)), "not a number"),
        (penn(x="text"), "holds no numbers"),
        (penn(x=np.array([[{}]], object)), "lacks x"),
        (penn(action=np.ones((2, 2))), "`action` is no text"),
        (penn(train=3), "neither 1 nor -1"),
        (penn(dimensions=np.array([[0, 0, 1]])), "expected height, width"),
    ],
    ids=[
        "truncated",
        "header",
        "empty",
        "field",
        "joints",
        "shapes",
        "frames",
        "nobody",
        "infinite",
        "nan",
        "text",
        "cell",
        "action",
        "train",
        "size",
    ],
)
def test_a_bad_file_is_named(tmp_path, content, words):
    root = penn_folder(tmp_path / "set")
    (root / "labels" / "0002.mat").write_bytes(content)
    message = refused("penn_action", tmp_path / "data", path=str(root), official=False)
    assert "labels/0002.mat: " in message and words in message and "0003" not in message
    skip = tmp_path / "skip.txt"
    skip.write_text("labels/0002.mat\n")
    done = prepared("penn_action", tmp_path / "data", path=str(root), official=False, skip=str(skip))
    assert len(done.samples) == 11 and done.account.skipped == ["labels/0002.mat"]


def array(shape: tuple[int, int], kind: int = 6, data: bytes = b"") -> bytes:
    """A MATLAB 5 file with an array `x` that claims a shape."""
    body = struct.pack("<IIII", 6, 8, kind, 0) + struct.pack("<IIii", 5, 8, *shape)
    body += struct.pack("<HH4s", 1, 1, b"x") + struct.pack("<II", 9, len(data)) + data
    packed = zlib.compress(struct.pack("<II", 14, len(body)) + body)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    return header + struct.pack("<II", 15, len(packed)) + packed


@pytest.mark.parametrize("kind", [4, 6], ids=["text", "numbers"])
def test_an_array_that_claims_to_be_huge_takes_no_memory(kind):
    with pytest.raises(ValueError, match=r"truncated: an array of 1000000000 x 1000"):
        penn_action.read_mat(array((10**9, 1000), kind), ("x",))
    assert penn_action.read_mat(array((1, 2), 6, bytes(16)), ("x",))["x"].shape == (1, 2)


def test_a_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(penn_action, "MOST_BYTES", 10_000)
    with pytest.raises(ValueError, match=r"more than a clip can have|truncated"):
        penn_action.read_mat(array((1, 10**6), 6, bytes(8 * 10**6)), ("x",))


@pytest.mark.parametrize("name", ["../0001.mat", "/labels/0001.mat", "labels\\0001.mat"])
def test_a_zip_file_that_leaves_its_folder_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as archive:
        archive.writestr(name, penn())
    message = refused("penn_action", tmp_path / "data", path=str(tmp_path), official=False)
    assert "is not a plain archive" in message and "leaves the folder" in message


def test_a_zip_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "labels.zip").write_bytes(b"PK\3\4 and no more")
    assert "cannot be read" in refused("penn_action", tmp_path / "data", path=str(tmp_path))


def test_it_needs_a_path_and_labels_there(tmp_path):
    with pytest.raises(ParamsError, match=r"needs data\.path"):
        prepared("penn_action", tmp_path / "data")
    assert "neither labels/ nor labels.zip" in refused("penn_action", tmp_path / "data", path=str(tmp_path))


def test_its_layout_is_known_without_reading_it():
    layout, dims = datasets.layout_of(penn_action.Data(name="penn_action", path="nowhere"))
    assert (layout.name, dims) == ("penn13", 2)
    with pytest.raises(DataError):
        datasets.load(penn_action.Data(name="penn_action", path="nowhere"), Progress(), Account())
