"""Images without a label: a folder of them, lines of a split file, shards; tables that hold them."""

import json
import tarfile

import pyarrow.parquet as pq
import pytest

from stillroom.errors import DataError, StillroomError
from stillroom.modalities import load_samples
from stillroom.modalities.duplicates import find, settle
from stillroom.modalities.images.datasets import folder, shards
from stillroom.modalities.images.preparation import prepare, summary
from stillroom.modalities.images.preparation.pack import pack
from stillroom.modalities.images.preparation.scan import Account
from stillroom.modalities.images.settings import Data
from stillroom.modalities.summary import finish
from stillroom.progress import Progress

LABELLED = ("train/cat/1.png", "train/dog/1.png", "test/cat/2.png", "test/dog/2.png")
LOOSE = ("unlabelled/1.jpg", "unlabelled/2024/may/1.PNG", "unlabelled/cat/9.png")


@pytest.fixture
def root(tmp_path, picture):
    for name in (*LABELLED, *LOOSE):
        picture(tmp_path / "set" / name)
    return tmp_path / "set"


def read(root, account=None, **options):
    return folder.read(root, progress=Progress(), options=folder.Options(**options), account=account)


def without(samples):
    return {row.key: (row.path, row.label) for row in samples.rows if row.split == "unlabelled"}


def test_a_folder_of_them_lies_beside_train_and_test(root):
    (root / "unlabelled/notes.txt").write_text("")
    (root / "unlabelled/.hidden").mkdir()
    (root / "unlabelled/.hidden/x.png").write_bytes(b"no image")
    account = Account()
    samples = read(root, account)
    assert samples.classes == ("cat", "dog") and len(samples) == 7
    assert without(samples) == {path.rpartition(".")[0]: (path, -1) for path in LOOSE}
    assert account.passed_over == {"of no format that is read": ["unlabelled/notes.txt"]}
    (root / "unlabelled").rename(root / "Unlabeled")
    assert len(without(read(root))) == 3
    (root / "Unlabeled").rename(root / "pool")
    assert not without(read(root))
    meant = {"train": "train", "test": "test", "pool": "unlabelled"}
    assert len(without(read(root, splits=meant))) == 3


def test_links_to_folders_and_images_that_cannot_be_read_are_named(root, tmp_path):
    (root / "unlabelled/back").symlink_to(root / "test")
    with pytest.raises(DataError, match="unlabelled/back"):
        read(root)
    (root / "unlabelled/back").unlink()
    (root / "unlabelled/bad.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"unlabelled/bad\.jpg"):
        read(root)
    (tmp_path / "skip").write_text("unlabelled/bad.jpg\n")
    assert len(without(read(root, skip=tmp_path / "skip"))) == 3


def test_lines_of_a_split_file_say_so(tmp_path, picture):
    for name in ("cat/1.png", "cat/2.png", "cat/3.png", "dog/1.png", "dog/2.png", "new/a/1.png", "4.png"):
        picture(tmp_path / "set" / name)
    lines = ["file,split", "cat/1.png,train", "cat/2.png,test", "dog/1.png,train", "dog/2.png,test"]
    lines += ["cat/3.png,unlabelled", "new/a/1.png,Unlabeled", "4.png,unlabelled"]
    table = tmp_path / "set/split.csv"
    table.write_text("\n".join(lines))
    samples = read(tmp_path / "set")
    assert samples.classes == ("cat", "dog")
    assert {*without(samples)} == {"cat/3", "new/a/1", "4"} and samples.splits()["train"] == 2
    picture(tmp_path / "set/unlabelled/5.png")
    assert {*without(read(tmp_path / "set"))} == {"cat/3", "new/a/1", "4", "unlabelled/5"}
    for path in ("../set/4.png", "/etc/4.png", "cat/../4.png", ".x/4.png", "cat\\4.png"):
        table.write_text("\n".join([*lines, f"{path},unlabelled"]))
        with pytest.raises(DataError, match="line 9"):
            read(tmp_path / "set")
    table.write_text("\n".join([*lines, "gone.png,unlabelled"]))
    with pytest.raises(DataError, match=r"gone\.png"):
        read(tmp_path / "set")


def test_shards_of_them_have_no_class(root, tmp_path):
    samples = read(root)
    pack(samples, tmp_path / "packed", 2**20, Progress())
    with tarfile.open(tmp_path / "packed/unlabelled-000000.tar") as archive:
        names = archive.getnames()
        about = json.load(archive.extractfile(next(name for name in names if name.endswith(".json"))))
    assert not [name for name in names if name.endswith(".cls")] and about["label"] is about["class"] is None
    data = Data(name="shards", path=str(tmp_path / "packed"))
    again = shards.load(data, tmp_path, Progress(), Account())
    assert again.digests() == samples.digests() and again.splits() == samples.splits()
    (tmp_path / "packed/unlabelled-000000.tar").rename(tmp_path / "packed/train-000007.tar")
    with pytest.raises(StillroomError, match="unlabelled"):
        shards.load(data, tmp_path, Progress(), Account())


def test_the_table_keeps_them_and_a_wrong_label_is_refused(root, tmp_path, listener):
    prepared = prepare(Data(name="folder", path=str(root)), tmp_path / "data", Progress())
    (tmp_path / "data").mkdir()
    finish(prepared, tmp_path / "data", listener, summary)
    assert "unlabelled   3 images without a label" in listener.notes
    samples = load_samples(tmp_path / "data", root)
    assert samples.digests() == prepared.samples.digests() and samples.unlabelled() == 3
    assert samples.in_cache().labels().tolist() == [0, 1, -1, -1, -1]
    assert {samples.class_of(row) for row in samples.rows} == {"cat", "dog", "unlabelled"}
    left = prepare(Data(name="folder", path=str(root), unlabelled="leave"), tmp_path, Progress()).samples
    assert left.splits() == {"train": 2, "test": 2}
    file = tmp_path / "data/samples.parquet"
    table = pq.read_table(file)
    for split, labels in (("unlabelled", [0, 0, 0]), ("train", [-1, 0])):
        wrong = table.to_pydict()["label"]
        rows = [number for number, one in enumerate(table.to_pydict()["split"]) if one == split]
        for number, label in zip(rows, labels, strict=True):
            wrong[number] = label
        place = table.schema.get_field_index("label")
        pq.write_table(table.set_column(place, table.schema.field("label"), [wrong]), file)
        with pytest.raises(DataError, match="damaged"):
            load_samples(tmp_path / "data", root)


def test_equal_files_with_and_without_a_label(root):
    """One that is in train too is there twice; one that is in test is measured after it was seen."""
    (root / "unlabelled/cat/9.png").write_bytes((root / "train/cat/1.png").read_bytes())
    (root / "unlabelled/1.jpg").write_bytes((root / "test/dog/2.png").read_bytes())
    samples = read(root)
    found = find(samples)
    assert found.groups["classes"] == [] and found.groups["same"] == [["train/cat/1", "unlabelled/cat/9"]]
    assert found.groups["splits"] == [["test/dog/2", "unlabelled/1"]]
    kept, _ = settle(samples, "drop", False)
    assert {*kept.keys()} == {*samples.keys()} - {"unlabelled/cat/9", "unlabelled/1"}
