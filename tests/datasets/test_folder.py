"""Images of one's own, one folder a class, split by folders or by split.csv."""

import os

import pytest

from pipeline.datasets import folder
from pipeline.errors import DataError
from pipeline.progress import Progress


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


def read(root, progress=None):
    return folder.read(root, progress=progress or Progress())


def refused(root) -> str:
    with pytest.raises(DataError) as caught:
        read(root)
    return str(caught.value)


def summary(samples):
    return [(row.key, row.path, row.split, samples.classes[row.label]) for row in samples.rows]


def test_train_and_test_folders_make_the_split(split_folders, listener):
    samples = read(split_folders, listener)
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
    assert listener.notes == []


def test_a_table_makes_the_split(split_table, listener):
    samples = read(split_table, listener)
    assert samples.classes == ("cat", "dog")
    assert summary(samples) == [
        ("cat/1", "cat/1.png", "test", "cat"),
        ("cat/2", "cat/2.png", "train", "cat"),
        ("dog/1", "dog/1.jpg", "train", "dog"),
        ("dog/2", "dog/2.jpg", "test", "dog"),
    ]
    assert listener.notes == []


def test_a_table_from_a_spreadsheet_reads_alike(split_table):
    expected = read(split_table)
    table = split_table / "split.csv"
    lines = [f'"{line.split(",")[0]}",{line.split(",")[1]},x' for line in table.read_text().split()]
    table.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    assert read(split_table) == expected


def test_hidden_files_are_skipped_and_other_files_are_told(split_folders, listener):
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
    assert len(read(split_folders, listener)) == 5
    (note,) = listener.notes
    assert all(name in note for name in ("README.md", "train/list.txt", "test/dog/note.txt"))
    assert "hidden" not in note


def test_images_that_the_table_leaves_out_are_told(split_table, picture, listener):
    picture(split_table / "dog" / "3.jpg")
    assert len(read(split_table, listener)) == 4
    assert listener.notes == ["passed over, not in split.csv: dog/3.jpg"]


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
            "dog/3.jpg,vla\n3.jpg,train\n../set/dog/1.jpg,train\n/etc/passwd.jpg,test\ndog/4.gif,train\n"
        )
        table.write("dog/5.jpg\n../x.jpg,train\ndog/6.jpg,val\n")
    message = refused(split_table)
    assert "line 6: unknown split 'vla', expected train or test\n" in message
    assert "line 7: '3.jpg' is not of the form CLASS/IMAGE" in message
    assert "line 8: '../set/dog/1.jpg' is not" in message
    assert "line 9: '/etc/passwd.jpg' is not" in message
    assert "line 10: 'dog/4.gif' does not end in .jpg" in message
    assert "line 11: unknown split ''" in message
    assert "line 12: '../x.jpg' is not" in message
    assert (
        "line 13: unknown split 'val', expected train or test (a validation slice is drawn from train"
        in message
    )


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


def test_a_val_folder_is_refused_and_not_lost(split_folders, picture):
    picture(split_folders / "val" / "dog" / "1.jpg")
    assert "data.val_fraction" in refused(split_folders)


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


@pytest.mark.parametrize("name", [b"line\nbreak.jpg", b"latin\xe9.jpg"])
def test_names_that_a_digest_could_not_tell_apart_are_refused(split_folders, name):
    source = os.fsencode(split_folders / "train" / "dog" / "1.jpg")
    try:
        os.link(source, os.path.join(os.fsencode(split_folders / "train" / "dog"), name))
    except OSError:
        pytest.skip("this file system refuses such a name")
    assert "control characters or not in UTF-8" in refused(split_folders)


def test_unreadable_images_are_all_named(split_folders):
    for name in ("train/dog/1.jpg", "test/cat/1.bmp"):
        (split_folders / name).write_bytes(b"")
    message = refused(split_folders)
    assert "train/dog/1.jpg: empty file" in message
    assert "test/cat/1.bmp: empty file" in message
