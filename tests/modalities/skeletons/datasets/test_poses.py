"""People's own clips: each format gives the same clips, splits and labels can be told, bad files named."""

import csv
import json
import pickle
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from stillroom.errors import ParamsError
from stillroom.modalities.skeletons import datasets, layouts
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.preparation.pose_files import Forward
from tests.modalities.skeletons.datasets.clips_on_disk import (
    SHARED,
    clip_of,
    counts,
    needs,
    ntu,
    penn,
    prepared,
    refused,
    walk,
)

KEYS = [f"{split}_{label}_{number}" for split in ("train", "test") for label in "ab" for number in (0, 1)]
SPLITS = [key.split("_")[0] for key in KEYS]
LABELS = [key.split("_")[1] for key in KEYS]
CLIPS = np.stack([walk(seed, 5, 17, 2)[:, None] for seed in range(len(KEYS))])  # [N, 5, 1, 17, 2]


def npz(file, **changed):
    arrays = {"key": np.array(KEYS), "keypoints": CLIPS, "split": np.array(SPLITS), "label": np.array(LABELS)}
    np.savez_compressed(file, **{name: one for name, one in (arrays | changed).items() if one is not None})
    return file


def as_json(file, clips=CLIPS, **changed):
    rows = [
        {"key": key, "keypoints": clip.tolist(), "split": split, "label": label} | changed
        for key, clip, split, label in zip(KEYS, clips, SPLITS, LABELS, strict=True)
    ]
    file.write_text(json.dumps(rows))
    return file


def pyskl(file, clips=CLIPS, **changed):
    annotations = [
        {
            "frame_dir": key,
            "label": "ab".index(label),
            "img_shape": (240, 320),
            "total_frames": len(clip),
            "keypoint": clip.swapaxes(0, 1).astype(np.float32),
            "keypoint_score": np.ones((1, len(clip), 17), np.float16),
        }
        | changed
        for key, label, clip in zip(KEYS, LABELS, clips, strict=True)
    ]
    split = {name: [key for key in KEYS if key.startswith(name)] for name in ("train", "test")}
    file.write_bytes(pickle.dumps({"split": split, "annotations": annotations}))
    return file


def table(file, rows, header=("key", "split", "label")):
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return str(file)


@pytest.mark.parametrize("write", [npz, as_json, pyskl], ids=["npz", "json", "pkl"])
def test_each_format_gives_the_clips_that_were_written(tmp_path, write):
    suffix = {npz: "npz", as_json: "json", pyskl: "pkl"}[write]
    file = write(tmp_path / f"clips.{suffix}")
    samples = prepared("poses", tmp_path / "data", path=str(file)).samples
    assert counts(samples) == {"train": 4, "val": 0, "test": 4}
    assert samples.classes == (("0", "1") if write is pyskl else ("a", "b"))
    for key, label, clip in zip(KEYS, LABELS, CLIPS, strict=True):
        row = samples.rows[samples.row_of(key)]
        assert row.label == "ab".index(label) and row.layout == "coco17"
        assert row.size == ((320, 240) if write is pyskl else (0, 0))
        made = clip_of(samples, key)
        assert np.array_equal(made[..., :2], clip.astype(np.float32)) and (made[..., 2] == 1).all()


def test_parquet_gives_the_same_table(tmp_path):
    rows = json.loads(as_json(tmp_path / "clips.json").read_text())
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "clips.parquet")
    for name in ("json", "parquet"):
        prepared("poses", tmp_path / name, path=str(tmp_path / f"clips.{name}"))
    tables = [(tmp_path / name / "samples.parquet").read_bytes() for name in ("json", "parquet")]
    assert tables[0] == tables[1]
    (tmp_path / "clips.parquet").write_bytes((tmp_path / "clips.parquet").read_bytes()[:500])
    assert "clips.parquet cannot be used" in refused(
        "poses", tmp_path / "data", path=str(tmp_path / "clips.parquet")
    )


def test_a_joint_that_is_nan_null_zero_or_of_score_zero_is_not_there(tmp_path):
    clips, scores = CLIPS.copy(), np.full(CLIPS.shape[:-1], 0.7)
    clips[0, 0, 0, 3, 0] = np.nan
    scores[0, 1, 0, 4] = 0
    scored = prepared(
        "poses", tmp_path / "npz", path=str(npz(tmp_path / "c.npz", keypoints=clips, scores=scores))
    )
    made = clip_of(scored.samples, KEYS[0])
    assert np.isnan(made[0, 0, 3, :2]).all() and np.isnan(made[1, 0, 4, :2]).all()
    assert (made[..., 2] == 0).sum() == 2 and made[..., 2].max() == np.float32(0.7)
    clips[0, 2, 0, 5] = 0
    file = as_json(tmp_path / "c.json", clips)
    file.write_text(file.read_text().replace("NaN", "null"))
    made = clip_of(prepared("poses", tmp_path / "json", path=str(file)).samples, KEYS[0])
    assert np.argwhere(made[:, 0, :, 2] == 0).tolist() == [[0, 3], [2, 5]]


def test_scores_may_be_a_further_coordinate_and_persons_may_be_left_out(tmp_path):
    scored = np.concatenate([CLIPS, np.full((*CLIPS.shape[:-1], 1), 0.25)], axis=-1)[:, :, 0]
    samples = prepared(
        "poses", tmp_path / "data", path=str(npz(tmp_path / "c.npz", keypoints=scored))
    ).samples
    made = clip_of(samples, KEYS[3])
    assert made.shape == (5, 1, 17, 3) and (made[..., 2] == 0.25).all()


def test_clips_of_one_array_have_frames_of_their_own(tmp_path):
    frames = np.array([5, 4, 3, 2, 1, 5, 5, 5])
    samples = prepared("poses", tmp_path / "data", path=str(npz(tmp_path / "c.npz", frames=frames))).samples
    assert [samples.rows[samples.row_of(key)].frames for key in KEYS] == frames.tolist()
    assert np.array_equal(clip_of(samples, KEYS[2])[..., :2], CLIPS[2, :3].astype(np.float32))


@needs("stanford40")
def test_poses_of_photographs_are_clips_of_one_frame(tmp_path):
    folder = SHARED / "stanford40"
    rows = [
        (name[:-4], split, name[:-4].rpartition("_")[0])
        for split in ("train", "test")
        for name in (folder / "ImageSplits" / f"{split}.txt").read_text().split()
    ]
    done = prepared(
        "poses",
        tmp_path / "data",
        path=str(folder / "poses_coco17.npz"),
        table=table(tmp_path / "splits.csv", rows),
    )
    samples = done.samples
    assert len(samples) == 9509 and len(samples.classes) == 40
    assert {(row.frames, row.persons, row.joints) for row in samples.rows} == {(1, 1, 17)}
    assert len(done.account.passed_over["not valid"]) == 23
    with np.load(folder / "poses_coco17.npz") as arrays:
        row = list(arrays["stem"]).index("watching_TV_061")
        assert np.array_equal(clip_of(samples, "watching_TV_061")[0, 0, :, :2], arrays["keypoints"][row])
        assert samples.rows[samples.row_of("watching_TV_061")].size == tuple(arrays["size_wh"][row])


@needs("stanford40")
def test_a_file_without_splits_says_how_to_give_them(tmp_path):
    file = SHARED / "stanford40" / "poses_coco17.npz"
    message = refused("poses", tmp_path / "data", path=str(file))
    assert "it has no splits" in message and "data.table" in message and "key, split and label" in message


def test_a_table_says_splits_and_labels_and_leaves_the_others_out(tmp_path):
    file = npz(tmp_path / "c.npz", split=None, label=None)
    rows = [(key, split, label) for key, split, label in zip(KEYS, SPLITS, LABELS, strict=True)][:-1]
    with_group = [(*row, f"g{number % 2}") for number, row in enumerate(reversed(rows))]
    path = table(tmp_path / "t.csv", with_group, ("key", "split", "label", "group"))
    done = prepared("poses", tmp_path / "data", path=str(file), table=path)
    assert counts(done.samples) == {"train": 4, "val": 0, "test": 3}
    assert done.account.passed_over == {"not in t.csv": [KEYS[-1]]}
    assert {row.group for row in done.samples.rows} == {"g0", "g1"}


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        (
            [("nobody", "train", "a")],
            ("key", "split", "label"),
            "names clips that are not there:\n    nobody",
        ),
        ([(KEYS[0], "train", "a")] * 2, ("key", "split", "label"), "names clips twice"),
        ([(KEYS[0], "train")], ("name", "split"), "has the columns name, split"),
        ([(KEYS[0], "train")], ("key", "split"), "does not say of which class"),
        ([(KEYS[0], "left", "a")], ("key", "split", "label"), "its words for splits are left"),
    ],
    ids=["unknown", "twice", "columns", "labels", "splits"],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, rows, header, words):
    file = npz(tmp_path / "c.npz", split=None, label=None)
    path = table(tmp_path / "t.csv", rows, header)
    assert words in refused("poses", tmp_path / "data", path=str(file), table=path)


def test_words_for_splits_can_be_told(tmp_path):
    file = npz(tmp_path / "c.npz", split=np.array([f"xsub_{split}" for split in SPLITS]))
    message = refused("poses", tmp_path / "data", path=str(file))
    assert "xsub_test, xsub_train" in message and "data.splits" in message
    done = prepared(
        "poses", tmp_path / "data", path=str(file), splits={"xsub_train": "train", "xsub_test": "test"}
    )
    assert counts(done.samples) == {"train": 4, "val": 0, "test": 4}


def test_a_val_without_a_test_asks_which_it_is(tmp_path):
    file = npz(tmp_path / "c.npz", split=np.array([split.replace("test", "val") for split in SPLITS]))
    message = refused("poses", tmp_path / "data", path=str(file))
    assert "--set 'data.splits={train: train, val: test}'" in message


def test_a_clip_of_two_splits_is_refused(tmp_path):
    file = pyskl(tmp_path / "c.pkl")
    tree = pickle.loads(file.read_bytes())
    tree["split"]["val"] = tree["split"]["test"]
    file.write_bytes(pickle.dumps(tree))
    assert "into two splits" in refused("poses", tmp_path / "data", path=str(file))
    names = {"train": "train", "val": "test"}
    done = prepared("poses", tmp_path / "data", path=str(file), splits=names)
    assert counts(done.samples) == {"train": 4, "val": 0, "test": 4}


def test_numbers_as_labels_get_the_names_of_the_classes(tmp_path):
    numbers = np.array(["cab".index(label) for label in LABELS])
    file = npz(tmp_path / "c.npz", label=numbers, classes=np.array(["cycle", "archery", "bow"]))
    samples = prepared("poses", tmp_path / "data", path=str(file)).samples
    assert samples.classes == ("archery", "bow"), "in the file's order, those with clips"
    file = npz(tmp_path / "c.npz", label=numbers * 10)
    assert prepared("poses", tmp_path / "more", path=str(file)).samples.classes == ("10", "20")
    file = npz(tmp_path / "c.npz", label=numbers, classes=np.array(["only"]))
    assert "not among its classes" in refused("poses", tmp_path / "none", path=str(file))


def test_ctr_gcns_arrays_are_read(tmp_path):
    def part(seed, count):
        clips = np.zeros((count, 7, 2, 25, 3), np.float32)
        clips[:, :5, 0] = [walk(seed + one, 5, 25, 3) for one in range(count)]
        return clips.reshape(count, 7, 150), np.eye(2, dtype=np.float32)[np.arange(count) % 2]

    (x_train, y_train), (x_test, y_test) = part(0, 4), part(100, 2)
    np.savez(tmp_path / "NTU60.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    samples = prepared(
        "poses", tmp_path / "data", path=str(tmp_path / "NTU60.npz"), layout="ntu25", dims=3
    ).samples
    assert counts(samples) == {"train": 4, "val": 0, "test": 2} and samples.classes == ("0", "1")
    made = clip_of(samples, "test_000001")
    assert made.shape == (5, 1, 25, 4), "frames and bodies of zeros are none"
    assert np.array_equal(made[:, 0, :, :3], x_test[1, :5].reshape(5, 2, 25, 3)[:, 0])


def test_a_folder_of_classes_is_read_whatever_the_format(tmp_path):
    root = tmp_path / "set"
    for split in ("train", "test"):
        for seed, name in enumerate(("wave", "jump")):
            (root / split / name).mkdir(parents=True)
            np.save(root / split / name / "one.npy", walk(seed, 4, 13, 2))
            (root / split / name / "two.mat").write_bytes(penn(seed))
            described = {"keypoints": walk(seed + 9, 3, 13, 2).tolist(), "size": [320, 240]}
            (root / split / name / "three.json").write_text(json.dumps(described))
    np.save(root / "loose.npy", walk(0, 4, 13, 2))
    done = prepared("poses", tmp_path / "data", path=str(root), layout="penn13")
    assert counts(done.samples) == {"train": 6, "val": 0, "test": 6}
    assert done.samples.classes == ("jump", "wave")
    assert done.account.passed_over == {"in no class folder of a split": ["loose.npy"]}
    assert done.samples.rows[done.samples.row_of("test/jump/three")].size == (320, 240)


def test_a_folder_of_files_may_have_a_table(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    for seed in range(4):
        (root / f"{seed}.skeleton").write_text(ntu(seed))
    rows = [("0", "train", "a"), ("1.skeleton", "train", "b"), ("2", "test", "a"), ("3", "test", "b")]
    path = table(tmp_path / "t.csv", rows)
    done = prepared("poses", tmp_path / "data", path=str(root), layout="ntu25", dims=3, table=path)
    assert counts(done.samples) == {"train": 2, "val": 0, "test": 2}


def test_a_folder_without_classes_says_what_it_wants(tmp_path):
    np.save(tmp_path / "1.npy", walk(0, 4, 17, 2))
    message = refused("poses", tmp_path / "data", path=str(tmp_path))
    assert "no clip in a class folder" in message and "data.table" in message


def test_a_layout_is_a_name_or_a_section(tmp_path):
    own = {
        "name": "stick",
        "joints": [f"j{number}" for number in range(17)],
        "bones": [["j1", "j0"]],
        "centre": "j0",
    }
    section = datasets.section("poses")
    layout, dims = datasets.layout_of(section(name="poses", layout=own))
    assert (len(layout.joints), dims) == (17, 2) and layout.name.startswith("stick-")
    # described again it has the same name; with another bone it has another
    assert layouts.read(layout.describe()) == layout
    other = layouts.read({**own, "bones": [["j2", "j0"]]})
    assert other.name != layout.name and other.name.startswith("stick-")
    assert datasets.layout_of(section(name="poses", layout="halpe26"))[0] == LAYOUTS["halpe26"]
    done = prepared("poses", tmp_path / "data", path=str(npz(tmp_path / "c.npz")), layout=own)
    assert {row.layout for row in done.samples.rows} == {layout.name}
    with pytest.raises(ParamsError, match=r"did you mean coco17"):
        datasets.layout_of(section(name="poses", layout="coco71"))
    assert "17 joints, and the layout penn13 has 13" in refused(
        "poses", tmp_path / "none", path=str(npz(tmp_path / "c.npz")), layout="penn13"
    )


BAD = {
    "joints": (npz, {"keypoints": CLIPS[:, :, :, :16]}, "16 joints, and the layout coco17 has 17"),
    "dims": (npz, {"keypoints": np.ones((8, 5, 1, 17, 5))}, "have the shape [5, 1, 17, 5]"),
    "flat": (npz, {"keypoints": np.ones((8, 17))}, "have the shape [17]"),
    "frames": (npz, {"keypoints": CLIPS[:, :0]}, "no frame"),
    "nobody": (npz, {"keypoints": CLIPS * 0}, "nobody is in it"),
    "persons": (npz, {"keypoints": CLIPS[:, :, :0]}, "nobody is in it"),
    "infinite": (npz, {"keypoints": CLIPS * np.inf}, "infinite"),
    "large": (npz, {"keypoints": CLIPS * 1e39}, "infinite, or too large"),
    "score": (npz, {"scores": -np.ones(CLIPS.shape[:-1])}, "score is below 0"),
    "scores": (npz, {"scores": np.ones((8, 5, 1, 16))}, "the scores are float64 [5, 1, 16]"),
    "text": (npz, {"keypoints": np.array(["a"] * 8)}, "expected numbers"),
    "rows": (npz, {"keypoints": CLIPS[:7]}, "expected numbers in 8 rows"),
    "column": (npz, {"split": np.array(SPLITS[:7])}, "and there are 8 keys"),
    "cut": (npz, {"frames": np.full(8, 6)}, "`frames` says 6"),
    "objects": (npz, {"key": np.array(KEYS, object)}, "holds Python objects"),
    "lacking": (npz, {"key": None}, "expected `key`"),
    "label": (npz, {"label": np.arange(8) - 9}, "is no class"),
    "float": (npz, {"label": np.arange(8) / 2}, "is no text"),
    "ragged": (as_json, {"keypoints": [[1, 2], [3]]}, "lists of numbers, all of one length"),
    "word": (as_json, {"keypoints": [["a", "b"]] * 17}, "lists of numbers"),
    "size": (as_json, {"size": [1]}, "the size is [1]"),
    "no side": (as_json, {"size": [None, 1]}, "the size is [None, 1]"),
    "endless": (as_json, {"size": [float("inf"), 1]}, "the size is [inf, 1]"),
    "words": (as_json, {"size": ["a", 1]}, "the size is ['a', 1]"),
    "sides": (npz, {"size": np.full((8, 2), np.inf)}, "the size is array([inf, inf])"),
    "many sides": (npz, {"size": np.ones((8, 3))}, "`size` has the shape [8, 3]"),
    "frames of two": (npz, {"frames": np.ones((8, 2), int)}, "`frames` has the shape [8, 2]"),
    "valid of two": (npz, {"valid": np.ones((8, 2), bool)}, "`valid` has the shape [8, 2]"),
    "one class": (npz, {"classes": np.array("ab")}, "`classes` has the shape []"),
    "far": (npz, {"keypoints": CLIPS + 1e10}, "infinite, or too large"),
    "surrogate": (as_json, {"label": "\ud800"}, "classes that are empty"),
    "nameless": (as_json, {"label": ""}, "classes that are empty"),
    "long": (as_json, {"label": "b" * 1001}, "too long"),
    "key": (as_json, {"key": 3}, "expected [{"),
    "same": (as_json, {"key": "same"}, "used twice"),
    "annotation": (pyskl, {"frame_dir": 3}, "has no frame_dir"),
    "keypoint": (pyskl, {"keypoint": None}, "has no `keypoint`"),
    "order": (pyskl, {"keypoint_score": np.ones(5)}, "is not [persons, frames, joints]"),
    "shape": (pyskl, {"img_shape": (-1, 5)}, "the size is"),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_what_cannot_be_a_clip_is_refused_by_name(tmp_path, kind):
    write, changed, words = BAD[kind]
    file = tmp_path / f"clips.{ {npz: 'npz', as_json: 'json', pyskl: 'pkl'}[write] }"
    message = refused("poses", tmp_path / "data", path=str(write(file, **changed)))
    assert words in message


def test_a_control_character_in_a_key_is_refused(tmp_path):
    keys = np.array([f"{key}\n" for key in KEYS])
    assert "control characters" in refused(
        "poses", tmp_path / "data", path=str(npz(tmp_path / "c.npz", key=keys))
    )


@pytest.mark.parametrize("suffix", ["npz", "json", "pkl"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path, suffix, share):
    file = {"npz": npz, "json": as_json, "pkl": pyskl}[suffix](tmp_path / f"c.{suffix}")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert f"c.{suffix}" in refused("poses", tmp_path / "data", path=str(file))


def test_a_header_that_claims_to_be_huge_takes_no_memory(tmp_path):
    file = npz(tmp_path / "c.npz")
    with zipfile.ZipFile(file) as archive:
        arrays = {name: archive.read(name) for name in archive.namelist()}
    shape, claimed = b"(8, 5, 1, 17, 2)", b"(8, 99999999999)"
    assert shape in arrays["keypoints.npy"]
    arrays["keypoints.npy"] = arrays["keypoints.npy"].replace(shape, claimed)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    assert "truncated: its header promises" in refused("poses", tmp_path / "data", path=str(file))


def test_another_suffix_is_refused(tmp_path):
    (tmp_path / "clips.csv").write_text("")
    assert "ends in none of .npz" in refused("poses", tmp_path / "data", path=str(tmp_path / "clips.csv"))


def test_a_key_that_it_does_not_take_is_refused():
    with pytest.raises(ValueError, match="bodies"):
        datasets.section("poses").model_validate({"name": "poses", "bodies": 2})


def test_clips_can_be_asked_for_in_any_order():
    beginnings = []
    clips = Forward(lambda: (beginnings.append(1), iter("abcd"))[1])
    assert [clips[number] for number in (1, 3, 0, 0, 2)] == ["b", "d", "a", "a", "c"]
    assert len(beginnings) == 3, "read again only to go back"
    with pytest.raises(ValueError, match="truncated"):
        clips[4]


def test_the_layout_of_ntu_has_three_coordinates_unless_it_is_said_otherwise() -> None:
    section = datasets.section("poses")

    def dims(**said: object) -> int:
        return datasets.layout_of(section(name="poses", **said))[1]

    assert (dims(layout="ntu25"), dims(layout="coco17"), dims()) == (3, 2, 2)
    assert (dims(layout="ntu25", dims=2), dims(layout="coco17", dims=3)) == (2, 3)
