"""What `prepare` does of every data set of skeletons: files by key, digests, splits, equal clips, order."""

import dataclasses
import hashlib
import shutil

import numpy as np
import pytest

from stillroom.errors import DataError, ParamsError
from stillroom.modalities import source
from stillroom.modalities.skeletons import datasets
from stillroom.modalities.skeletons.datasets import penn_action
from stillroom.modalities.skeletons.preparation import clips, prepare, summary
from stillroom.modalities.skeletons.reader import Clips
from stillroom.progress import Progress
from tests.modalities.skeletons.datasets.clips_on_disk import (
    clip_of,
    counts,
    loaded,
    penn,
    penn_folder,
    prepared,
    refused,
    walk,
)


@pytest.fixture
def root(tmp_path):
    return penn_folder(tmp_path / "set")


def keyed(tmp_path, keys):
    """A data set of clips with these keys."""
    file = tmp_path / "clips.npz"
    count = len(keys)
    np.savez(
        file,
        key=np.array(keys),
        keypoints=np.stack([walk(seed, 2, 17, 2) for seed in range(count)]),
        split=np.array([("train", "test")[number % 2] for number in range(count)]),
        label=np.array([str(number // 2 % 2) for number in range(count)]),
    )
    return str(file)


def penn_data(root, **keys):
    return datasets.section("penn_action")(name="penn_action", path=str(root), official=False, **keys)


def test_the_table_and_the_files_are_the_same_each_time(tmp_path, root):
    def all_bytes(folder):
        return {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }

    prepared("penn_action", tmp_path / "one", path=str(root), official=False, val_fraction=0.4)
    again = tmp_path / "elsewhere"
    shutil.copytree(root, again)
    prepared("penn_action", tmp_path / "two", path=str(again), official=False, val_fraction=0.4)
    one, two = all_bytes(tmp_path / "one"), all_bytes(tmp_path / "two")
    assert one == two and len(one) == 2


def test_rows_describe_their_files(tmp_path, root):
    prepared("penn_action", tmp_path / "data", path=str(root), official=False)
    samples = loaded(tmp_path / "data")
    assert samples.modality == "skeletons" and samples.root == tmp_path / "data" / "clips"
    for row in samples.rows:
        content = samples.content(row)
        assert hashlib.sha256(content).hexdigest() == row.sha256
        clip = clip_of(samples, row.key)
        assert clip.shape == row.shape and clip.dtype == np.dtype("<f4") and clip.flags.c_contiguous
        absent = clip[..., 2] == 0
        assert np.isnan(clip[absent][:, :2]).all() and not np.isnan(clip[~absent]).any()


def test_a_validation_slice_is_taken_of_train(tmp_path, root):
    done = prepared("penn_action", tmp_path / "data", path=str(root), official=False, val_fraction=0.34)
    assert counts(done.samples) == {"train": 4, "val": 2, "test": 6}
    message = refused("penn_action", tmp_path / "none", path=str(root), official=False, val_fraction=0.01)
    assert "takes no clip of some classes" in message


def test_a_validation_split_told_twice_is_refused(tmp_path):
    keys = [f"k{number}" for number in range(12)]
    file = keyed(tmp_path, keys)
    with np.load(file) as arrays:
        changed = {name: arrays[name] for name in arrays.files}
    changed["split"] = np.array(["train", "test", "train", "test", "val", "val"] * 2)
    np.savez(file, **changed)
    with pytest.raises(ParamsError, match="a validation split of its own"):
        prepared("poses", tmp_path / "data", path=file, val_fraction=0.5)


def test_equal_clips_are_warned_of_refused_or_dropped(tmp_path, root):
    labels = root / "labels"
    train, test = labels / "0001.mat", labels / "0004.mat"  # both bowl
    test.write_bytes(penn(1, "bowl", -1))
    data = tmp_path / "data"
    done = prepared("penn_action", data, path=str(root), official=False)
    assert done.duplicates.groups["splits"] == [["0001", "0004"]] and train.is_file()
    report = summary.describe(done, data / "samples.parquet")
    assert report["leaks"] == 1
    assert dict(summary.lines(report))["equal files"].startswith("1 pair in two splits")
    with pytest.raises(DataError, match="0001 = 0004"):
        prepare(penn_data(root, duplicates="refuse"), tmp_path / "none", Progress())
    dropped = prepared("penn_action", data, path=str(root), official=False, duplicates="drop")
    assert dropped.duplicates.dropped == ("0001",) and len(dropped.samples) == 11
    assert "0001" not in list(loaded(data).keys()) and clip_of(loaded(data), "0004").size


def test_dropping_never_empties_a_class_or_the_published_set(tmp_path, root, monkeypatch):
    for number in (1, 2, 3):
        (root / "labels" / f"{number + 3:04d}.mat").write_bytes(penn(number, "bowl", -1))
    with pytest.raises(DataError, match="bowl: no clip in train"):
        prepare(penn_data(root, duplicates="drop"), tmp_path / "data", Progress())
    module = "stillroom.modalities.skeletons.datasets.penn_action"
    for name, count in (("TRAIN_CLIPS", 6), ("TEST_CLIPS", 6), ("CLASSES", 2)):
        monkeypatch.setattr(f"{module}.{name}", count)
    message = refused("penn_action", tmp_path / "data", path=str(root), duplicates="drop")
    assert "would drop clips of the published data set" in message


def test_groups_are_named_by_path(tmp_path, root):
    groups = tmp_path / "groups.csv"
    groups.write_text("file,group\nlabels/0001.mat,ann\nlabels/0002.mat,ann\n")
    done = prepared("penn_action", tmp_path / "data", path=str(root), official=False, groups=str(groups))
    assert {row.key: row.group for row in done.samples.rows if row.group} == {"0001": "ann", "0002": "ann"}
    groups.write_text("file,group\nlabels/9999.mat,ann\n")
    message = refused("penn_action", tmp_path / "none", path=str(root), official=False, groups=str(groups))
    assert "labels/9999.mat" in message


def test_a_skip_list_names_what_is_there(tmp_path, root):
    (tmp_path / "skip").write_text("# bad\nlabels/0001.mat\n")
    done = prepared(
        "penn_action", tmp_path / "data", path=str(root), official=False, skip=str(tmp_path / "skip")
    )
    assert len(done.samples) == 11 and done.account.skipped == ["labels/0001.mat"]
    (tmp_path / "skip").write_text("labels/9999.mat\n")
    message = refused(
        "penn_action", tmp_path / "none", path=str(root), official=False, skip=str(tmp_path / "skip")
    )
    assert "labels/9999.mat" in message and "such as labels/0001.mat" in message


def test_a_class_that_is_in_one_split_alone_is_refused(tmp_path, root):
    (root / "labels" / "0099.mat").write_bytes(penn(99, "pullup", 1))
    message = refused("penn_action", tmp_path / "data", path=str(root), official=False)
    assert "pullup: no clip in test" in message


ODD = [
    "a/b",
    "../up",
    ".hidden",
    "-dash",
    "a b",
    "a%2Fb",
    "ü",
    "x" * 300,
    "x" * 301,
    "CON",
    "a\\b",
    "~",
    "A/B",
]


def test_any_key_is_read_back_and_names_no_file(tmp_path):
    samples = prepared("poses", tmp_path / "data", path=keyed(tmp_path, ODD[:12])).samples
    assert {row.path for row in samples.rows} == {"00000.npys"}
    assert [file.name for file in (tmp_path / "data" / "clips").iterdir()] == ["00000.npys"]
    again = loaded(tmp_path / "data")
    assert set(again.rows) == set(samples.rows)
    assert len({clip_of(again, key).tobytes() for key in ODD[:12]}) == 12


def test_two_clips_of_one_key_are_refused(tmp_path):
    assert "1 key is used twice" in refused(
        "poses", tmp_path / "data", path=keyed(tmp_path, [*"abcdefg", "a"])
    )


def test_many_clips_lie_in_few_files_one_behind_the_other(tmp_path, monkeypatch, root):
    one = prepared("penn_action", tmp_path / "one", path=str(root), official=False).samples
    length = one.rows[0].span[1]
    monkeypatch.setattr(clips, "PACK", 2 * length + 1)
    some = prepared("penn_action", tmp_path / "some", path=str(root), official=False).samples
    files = sorted((tmp_path / "some" / "clips").iterdir())
    assert [file.name for file in files] == [f"{number:05d}.npys" for number in range(len(files))]
    assert 1 < len(files) < len(some) and some.digests() == one.digests()
    read = [(row.path, *row.span) for row in sorted(some.rows, key=lambda row: (row.path, row.span))]
    ends = {file.name: 0 for file in files}
    for path, start, size in read:  # no byte belongs to none, or to two
        assert start == ends[path]
        ends[path] += size
    assert ends == {file.name: file.stat().st_size for file in files}


def test_a_table_with_a_file_a_clip_is_still_read(tmp_path, root):
    """As earlier versions wrote it."""
    new = prepared("penn_action", tmp_path / "data", path=str(root), official=False).samples
    rows = []
    for row in new.rows:
        (tmp_path / "data/clips" / f"{row.key}.npy").write_bytes(new.content(row))
        rows.append(dataclasses.replace(row, path=f"{row.key}.npy", span=None))
    (tmp_path / "data/clips/00000.npys").unlink()
    dataclasses.replace(new, rows=rows).save(tmp_path / "data")
    old = loaded(tmp_path / "data")
    assert old.digests() == new.digests()
    for row in old.rows:
        assert Clips(old)[row].shape == row.shape


class StopError(Exception):
    """Stands for a kill."""


class Stopping(Progress):
    """Stops at a clip."""

    def __init__(self, at: int) -> None:
        self.at = at

    def start(self, what: str, total: int, unit: str) -> None:
        self.left = self.at if what == "read" else total + 1

    def advance(self, count: int = 1, status: str = "") -> None:
        self.left -= count
        if self.left < 0:
            raise StopError


def test_an_interrupted_run_leaves_the_old_table_with_its_clips(tmp_path, root):
    old = prepared("penn_action", tmp_path / "data", path=str(root), official=False).samples
    (root / "labels" / "0001.mat").write_bytes(penn(77, "bowl", 1))
    with pytest.raises(StopError):
        prepare(penn_data(root), tmp_path / "data", Stopping(5))
    samples = loaded(tmp_path / "data")
    assert samples.rows == old.rows
    assert all(hashlib.sha256(samples.content(row)).hexdigest() == row.sha256 for row in samples.rows)
    with pytest.raises(StopError):
        prepare(penn_data(root), tmp_path / "new", Stopping(5))
    assert not list((tmp_path / "new").iterdir()), "nothing that could be taken for a data set"


def test_new_clips_never_stand_beside_the_table_of_older_ones(tmp_path, root):
    folder = tmp_path / "data"
    old = prepared("penn_action", folder, path=str(root), official=False).samples
    (root / "labels" / "0001.mat").write_bytes(penn(77, "bowl", 1))
    prepare(penn_data(root), folder, Progress())  # killed before the table is saved
    with pytest.raises(DataError, match="is not there"):
        loaded(folder)
    new = prepared("penn_action", folder, path=str(root), official=False).samples
    assert new.rows != old.rows and loaded(folder).rows == new.rows


def test_all_faults_are_named_at_once(tmp_path, root):
    for number in (2, 5):
        (root / "labels" / f"{number:04d}.mat").write_bytes(penn(number, frames=0))
    message = refused("penn_action", tmp_path / "data", path=str(root), official=False)
    assert "2 clips of" in message and "0002.mat: no frame" in message and "0005.mat: no frame" in message


def test_a_key_that_a_data_set_does_not_look_at_is_refused(root, monkeypatch):
    monkeypatch.setattr(penn_action, "TAKES", ())
    with pytest.raises(ParamsError, match=r"data\.skip = 'list'.*takes no such key"):
        datasets.load(penn_data(root, skip="list"), Progress(), clips.Account())


def test_what_lies_at_the_path_is_digested_be_it_a_folder_or_a_file(tmp_path, root):
    before = source.look(penn_data(root), tmp_path / "memory", (), "clip", True)
    (root / "labels" / "0001.mat").write_bytes(penn(5))
    after = source.look(penn_data(root), tmp_path / "memory", (), "clip", True)
    assert before["files"] == after["files"] == 12 and before["digest"] != after["digest"]
    (tmp_path / "t.csv").write_text("key,split,label\n")
    data = datasets.section("poses")(name="poses", path=keyed(tmp_path, [*"abcdefgh"]))
    with_table = data.model_copy(update={"table": str(tmp_path / "t.csv")})
    one = source.look(data, tmp_path / "memory", [None], "clip", True)
    two = source.look(with_table, tmp_path / "memory", [with_table.table], "clip", True)
    assert one["files"] == two["files"] == 1 and one["digest"] != two["digest"]
    with pytest.raises(DataError, match="is not a folder, and no file"):
        source.look(penn_data(tmp_path / "none"), tmp_path / "memory", (), "clip", True)


def test_a_report_can_be_made_of_the_table_alone(tmp_path, root):
    samples = prepared("penn_action", tmp_path / "data", path=str(root), official=False).samples
    lines = dict(summary.lines(summary.of_samples(samples)))
    assert lines["train"] == "6 clips of 2 classes, 3 each"
    assert (lines["frames"], lines["persons"], lines["joints"]) == ("6", "1", "13 of penn13, 2-D")
    assert summary.read(tmp_path / "data") is None
