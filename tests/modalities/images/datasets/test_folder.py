"""Images of one's own, one folder a class, split by folders or by split.csv."""

import os

import pytest

from stillroom.errors import StillroomError
from stillroom.modalities.images.datasets import folder
from stillroom.modalities.images.preparation.scan import Account
from stillroom.progress import Progress


@pytest.fixture
def split_folders(tmp_path, picture):
    for name in (
        "train/dog/1.jpg",
        "train/dog/2.JPEG",
        "train/cat/1.PNG",
        "test/cat/1.bmp",
        "test/dog/9.WebP",
    ):
        picture(tmp_path / "set" / name)
    return tmp_path / "set"


@pytest.fixture
def split_table(tmp_path, picture):
    for name in ("dog/1.jpg", "dog/2.jpg", "cat/1.png", "cat/2.png"):
        picture(tmp_path / "set" / name)
    rows = ["file,split", "dog/1.jpg,train", "dog/2.jpg,test", "cat/1.png,test", "cat/2.png,train"]
    (tmp_path / "set" / "split.csv").write_text("\r\n".join(rows) + "\r\n")
    return tmp_path / "set"


def read(root, account=None, **options):
    return folder.read(root, progress=Progress(), options=folder.Options(**options), account=account)


@pytest.fixture
def account():
    return Account()


def refused(root, **options) -> str:
    with pytest.raises(StillroomError) as caught:
        read(root, **options)
    return str(caught.value)


def summary(samples):
    return [(row.key, row.path, row.split, samples.classes[row.label]) for row in samples.rows]


def test_train_and_test_folders_make_the_split(split_folders, account):
    samples = read(split_folders, account)
    assert samples.dataset == "folder"
    assert samples.classes == ("cat", "dog")
    assert samples.root == split_folders
    assert summary(samples) == [
        ("test/cat/1", "test/cat/1.bmp", "test", "cat"),
        ("test/dog/9", "test/dog/9.WebP", "test", "dog"),
        ("train/cat/1", "train/cat/1.PNG", "train", "cat"),
        ("train/dog/1", "train/dog/1.jpg", "train", "dog"),
        ("train/dog/2", "train/dog/2.JPEG", "train", "dog"),
    ]
    assert {row.box for row in samples.rows} == {None}
    assert account.passed_over == {}


def test_a_table_makes_the_split(split_table, account):
    samples = read(split_table, account)
    assert samples.classes == ("cat", "dog")
    assert summary(samples) == [
        ("cat/1", "cat/1.png", "test", "cat"),
        ("cat/2", "cat/2.png", "train", "cat"),
        ("dog/1", "dog/1.jpg", "train", "dog"),
        ("dog/2", "dog/2.jpg", "test", "dog"),
    ]
    assert account.passed_over == {}


def test_a_table_from_a_spreadsheet_reads_alike(split_table):
    expected = read(split_table)
    table = split_table / "split.csv"
    lines = [f'"{line.split(",")[0]}",{line.split(",")[1]},x' for line in table.read_text().split()]
    table.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    assert read(split_table) == expected


def test_hidden_files_are_skipped_and_other_files_are_told(split_folders, account):
    for name in (
        "train/dog/.hidden.jpg",
        "train/.cache/x.jpg",
        ".git/config",
        "test/dog/note.txt",
        "README.md",
        "train/list.txt",
    ):
        (split_folders / name).parent.mkdir(exist_ok=True)
        (split_folders / name).write_text("no image")
    assert len(read(split_folders, account)) == 5
    assert account.passed_over == {
        "neither a split nor in one": ["README.md"],
        "in no class folder": ["train/list.txt"],
        "of no format that is read": ["test/dog/note.txt"],
    }


def test_images_that_the_table_leaves_out_are_told(split_table, picture, account):
    picture(split_table / "dog" / "3.jpg")
    assert len(read(split_table, account)) == 4
    assert account.passed_over == {"not in split.csv": ["dog/3.jpg"]}


def test_two_files_with_one_key_are_refused_by_both_names(split_folders, picture):
    picture(split_folders / "train" / "dog" / "1.png")
    assert "train/dog/1: train/dog/1.jpg (train) and train/dog/1.png (train)" in refused(split_folders)


def test_a_file_named_twice_in_the_table_is_refused(split_table):
    with (split_table / "split.csv").open("a") as table:
        table.write("dog/1.jpg,test\n")
    assert "dog/1: dog/1.jpg (test) and dog/1.jpg (train)" in refused(split_table)


def test_a_class_missing_in_train_or_test_is_refused(split_folders, picture):
    picture(split_folders / "train" / "eel" / "1.jpg")
    picture(split_folders / "test" / "fox" / "1.jpg")
    (split_folders / "train" / "gnu").mkdir()
    message = refused(split_folders)
    assert "eel: no image in test" in message
    assert "fox: no image in train" in message
    assert "gnu: no image in train" in message
    assert "cat" not in message


def test_a_class_missing_in_one_split_of_the_table_is_refused(split_table):
    table = split_table / "split.csv"
    table.write_text(table.read_text().replace("cat/1.png,test\n", ""))
    assert "cat: no image in test" in refused(split_table)


def test_every_bad_line_of_the_table_is_named(split_table):
    with (split_table / "split.csv").open("a") as table:
        table.write(
            "dog/3.jpg,vla\n3.jpg,train\n../set/dog/1.jpg,train\n/etc/passwd.jpg,test\ndog/4.heic,train\n"
        )
        table.write("dog/5.jpg\n../x.jpg,train\ndog/6.jpg,val\n")
    message = refused(split_table)
    assert "line 6: unknown split 'vla', expected train, val, test\n" in message
    assert "line 7: '3.jpg' is not of the form CLASS/IMAGE" in message
    assert "line 8: '../set/dog/1.jpg' is not" in message
    assert "line 9: '/etc/passwd.jpg' is not" in message
    assert "line 10: 'dog/4.heic' does not end in .jpg" in message
    assert "line 11: unknown split ''" in message
    assert "line 12: '../x.jpg' is not" in message
    assert "line 13" not in message


def test_files_of_the_table_that_are_not_there_are_all_named(split_table):
    with (split_table / "split.csv").open("a") as table:
        table.write("dog/8.jpg,train\ncat/9.jpg,test\n")
    message = refused(split_table)
    assert "dog/8.jpg" in message
    assert "cat/9.jpg" in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has the columns (none)"),
        (b"name;split\n", "has the columns name;split"),
        (b"file,split\n", "names no image"),
        (b"\xff\xfe\n", "cannot be read"),
    ],
)
def test_a_table_that_is_none_is_refused(split_table, content, reason):
    (split_table / "split.csv").write_bytes(content)
    assert reason in refused(split_table)


def test_a_folder_without_a_split_or_with_two_is_refused(split_folders, tmp_path):
    assert f"{tmp_path / 'gone'} is not a folder" in refused(tmp_path / "gone")
    assert "found neither" in refused(split_folders / "train")
    (split_folders / "split.csv").write_text("file,split\n")
    assert "the split is told twice" in refused(split_folders)
    (split_folders / "split.csv").unlink()
    (split_folders / "test").rename(tmp_path / "elsewhere")
    assert "found only train" in refused(split_folders)


def test_folders_inside_class_folders_are_all_named(split_folders, picture):
    picture(split_folders / "train" / "dog" / "deep" / "1.jpg")
    picture(split_folders / "train" / "cat" / "deeper" / "1.jpg")
    message = refused(split_folders)
    assert "train/dog/deep/" in message
    assert "train/cat/deeper/" in message


def test_a_link_to_a_file_counts_as_the_file_and_a_link_to_a_folder_is_refused(
    split_folders, picture, tmp_path
):
    target = picture(tmp_path / "elsewhere" / "x.jpg", (33, 7))
    (split_folders / "train" / "dog" / "linked.jpg").symlink_to(target)
    (row,) = [row for row in read(split_folders).rows if row.key == "train/dog/linked"]
    assert row.size == (33, 7)
    (split_folders / "train" / "fox").symlink_to(split_folders / "test" / "dog")
    assert "train/fox -> " in refused(split_folders)
    (split_folders / "train" / "fox").unlink()
    (split_folders / "train").rename(tmp_path / "moved")
    (split_folders / "train").symlink_to(tmp_path / "moved")
    assert "train -> " in refused(split_folders)


def test_a_link_that_leads_nowhere_is_a_missing_file(split_folders):
    (split_folders / "train" / "dog" / "linked.jpg").symlink_to("nowhere.jpg")
    assert "train/dog/linked.jpg" in refused(split_folders)


@pytest.mark.parametrize(
    "name",
    [b"line\nbreak.jpg", b"latin\xe9.jpg", "separator\u2028.jpg".encode(), "next\u0085line.jpg".encode()],
)
def test_names_that_a_digest_could_not_tell_apart_are_refused(split_folders, name):
    source = os.fsencode(split_folders / "train" / "dog" / "1.jpg")
    try:
        os.link(source, os.path.join(os.fsencode(split_folders / "train" / "dog"), name))
    except OSError:
        pytest.skip("this file system refuses such a name")
    assert "control characters, line separators, or bytes that are not UTF-8" in refused(split_folders)


def test_unreadable_images_are_all_named(split_folders):
    for name in ("train/dog/1.jpg", "test/cat/1.bmp"):
        (split_folders / name).write_bytes(b"")
    message = refused(split_folders)
    assert "train/dog/1.jpg: empty file" in message
    assert "test/cat/1.bmp: empty file" in message


@pytest.mark.parametrize(
    "name", ["a\u00a0b", "Screenshot at 9.41\u202fPM", "\u3000", "man\u200dwoman", "e\u0301"]
)
def test_names_with_odd_blanks_and_joined_emoji_are_names(split_folders, picture, name):
    picture(split_folders / "train" / "dog" / f"{name}.jpg")
    assert f"train/dog/{name}" in {row.key for row in read(split_folders).rows}


def test_a_class_written_with_two_kinds_of_accent_is_one(tmp_path, picture):
    root, composed, combining = tmp_path / "set", "caf\u00e9", "cafe\u0301"
    for name in (f"train/{composed}/1.jpg", f"test/{combining}/1.jpg", "train/bar/1.jpg", "test/bar/1.jpg"):
        picture(root / name)
    samples = read(root)
    assert samples.classes == ("bar", composed)
    assert {samples.classes[row.label] for row in samples.rows if "caf" in row.path} == {composed}
    assert sum(row.label == 1 for row in samples.rows) == 2
    # where one form is used throughout, it stays: the class names are part of a cache's identity
    (root / "train" / composed).rename(root / "train" / combining)
    assert read(root).classes == ("bar", combining)


def test_a_table_may_write_an_accent_in_the_other_way(tmp_path, picture):
    root = tmp_path / "set"
    for name in ("cafe\u0301/1.jpg", "cafe\u0301/2.jpg", "bar/1.jpg", "bar/2.jpg"):
        picture(root / name)
    rows = [
        "file,split",
        "caf\u00e9/1.jpg,train",
        "caf\u00e9/2.jpg,test",
        "bar/1.jpg,train",
        "bar/2.jpg,test",
    ]
    (root / "split.csv").write_text("\n".join(rows), encoding="utf-8")
    samples = read(root)
    assert [row.path for row in samples.rows if "caf" in row.path] == ["cafe\u0301/1.jpg", "cafe\u0301/2.jpg"]
    assert len(samples.classes) == 2


def test_class_names_that_look_alike_are_told_apart(tmp_path, picture):
    for name in ("train/Cat/1.jpg", "test/cat/1.jpg", "train/dog /1.jpg", "test/dog/1.jpg"):
        picture(tmp_path / "set" / name)
    message = refused(tmp_path / "set")
    assert "'Cat' and 'cat'" in message and "'dog' and 'dog '" in message


def test_images_without_a_class_folder_are_refused(tmp_path, picture):
    for name in ("train/1.jpg", "train/2.jpg", "test/1.jpg"):
        picture(tmp_path / "set" / name)
    message = refused(tmp_path / "set")
    assert "has images and no class folder:\n    test/1.jpg" in message and "test/CLASS/IMAGE" in message


def test_no_image_and_one_class_are_refused(tmp_path, picture):
    root = tmp_path / "set"
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
    assert "has no image in a class folder" in refused(root)
    for split in ("train", "test"):
        (root / split / "cat").mkdir()
    assert "has no image in a class folder" in refused(root)
    for split in ("train", "test"):
        picture(root / split / "cat" / "1.jpg")
    message = refused(root)
    assert "has 1 class: cat" in message and "nothing to tell apart" in message


@pytest.mark.parametrize("val", ["val", "valid", "validation", "dev", "Val"])
@pytest.mark.parametrize("test", ["test", "testing", "TEST", "eval", "Evaluation"])
def test_the_usual_names_of_splits_are_known(split_folders, picture, val, test):
    (split_folders / "train").rename(split_folders / "Training")
    (split_folders / "test").rename(split_folders / test)
    picture(split_folders / val / "dog" / "7.jpg")
    samples = read(split_folders)
    found = {row.key: row.split for row in samples.rows}
    assert found[f"{val}/dog/7"] == "val" and found[f"{test}/dog/9"] == "test"
    assert found["Training/dog/1"] == "train" and len(found) == 6


def test_a_name_that_may_mean_two_splits_is_asked_about(split_folders, picture):
    (split_folders / "test").rename(split_folders / "holdout")
    message = refused(split_folders)
    assert "holdout" in message and "'data.splits={train: train, holdout: test}'" in message
    samples = read(split_folders, splits={"train": "train", "holdout": "test"})
    assert {row.split for row in samples.rows if row.key.startswith("holdout")} == {"test"}


def test_train_and_val_alone_are_not_guessed_to_be_train_and_test(split_folders):
    (split_folders / "test").rename(split_folders / "val")
    message = refused(split_folders)
    assert "'data.splits={train: train, val: test}'" in message
    assert len(read(split_folders, splits={"train": "train", "val": "test"}).in_splits("test")) == 2


def test_two_folders_of_one_split_are_refused(split_folders, picture):
    picture(split_folders / "training" / "dog" / "7.jpg")
    assert "train and training, and both mean train" in refused(split_folders)


def test_test_and_eval_beside_each_other_are_refused(split_folders, picture):
    picture(split_folders / "eval" / "dog" / "7.jpg")
    assert "eval and test, and both mean test" in refused(split_folders)
    # ... and said which counts
    samples = read(split_folders, splits={"train": "train", "eval": "val", "test": "test"})
    assert samples.splits() == {"train": 3, "val": 1, "test": 2}


def test_what_is_no_split_is_told_with_its_images(split_folders, picture, account):
    picture(split_folders / "extra" / "dog" / "7.jpg")
    read(split_folders, account)
    assert account.passed_over == {"neither a split nor in one": ["extra/ (1 image)"]}


def test_a_class_that_loses_most_of_its_files_is_refused(split_folders):
    for number in range(3):
        (split_folders / "train" / "dog" / f"{number}.heic").write_bytes(b"no")
    (split_folders / "train" / "dog" / "x.txt").write_text("no")
    message = refused(split_folders)
    assert "dog: 4 of 7 files (.heic 3, .txt 1)" in message and "cat" not in message
    assert "data.unread=accept" in message
    account = Account()
    options = folder.Options(accept_unread=True)
    samples = folder.read(split_folders, progress=Progress(), options=options, account=account)
    assert len(samples) == 5 and len(account.passed_over["of no format that is read"]) == 4
    assert sorted(account.formats.rows().texts("format")) == ["BMP", "JPEG", "JPEG", "PNG", "WEBP"]


def test_files_beside_each_image_lose_nothing(split_folders):
    for file in list(split_folders.rglob("*.*")):
        file.with_suffix(".txt").write_text("a label")
    assert len(read(split_folders)) == 5


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".TIFF", ".avif", ".jfif", ".jpe"])
def test_more_formats_are_read(split_folders, picture, suffix):
    picture(split_folders / "train" / "dog" / f"3{suffix}", (21, 9))
    (row,) = [row for row in read(split_folders).rows if row.key == "train/dog/3"]
    assert row.size == (21, 9)


def test_a_skip_list_leaves_a_bad_image_out(split_folders, tmp_path):
    (split_folders / "train" / "dog" / "1.jpg").write_bytes(b"cut")
    assert "data.skip" in refused(split_folders)
    skip = tmp_path / "skip.txt"
    skip.write_text("# cannot be read\n\ntrain/dog/1.jpg\n")
    account = Account()
    options = folder.Options(skip=skip)
    samples = folder.read(split_folders, progress=Progress(), options=options, account=account)
    assert len(samples) == 4 and account.skipped == ["train/dog/1.jpg"]
    skip.write_text("train/dog/1.jpg\ntrain/dog/1.png\n")
    message = refused(split_folders, skip=skip)
    assert "train/dog/1.png" in message and "train/dog/1.jpg\n" not in message
    assert "data.skip names, is not there" in refused(split_folders, skip=tmp_path / "gone.txt")


def test_the_table_may_lie_elsewhere(split_table, tmp_path):
    expected = read(split_table)
    (split_table / "split.csv").rename(tmp_path / "mine.csv")
    assert read(split_table, split_file=tmp_path / "mine.csv") == expected
    assert "data.split_file names, is not there" in refused(split_table, split_file=tmp_path / "gone.csv")


def test_a_folder_that_splits_names_must_be_there(split_folders):
    message = refused(split_folders, splits={"train": "train", "tset": "test"})
    assert "data.splits names tset" in message and "it has test, train" in message


def test_folders_that_the_table_never_names_are_no_fault(split_table, picture, tmp_path, account):
    expected = read(split_table)
    (split_table / "notes" / "drafts").mkdir(parents=True)
    picture(split_table / "spare" / "1.jpg")
    (split_table / "old").symlink_to(tmp_path)
    assert read(split_table, account) == expected
    assert {"notes/", "spare/ (1 image)"} < set(account.passed_over["not in split.csv"])
