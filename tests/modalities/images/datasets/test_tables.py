"""Classes in tables: metadata.csv as Hugging Face's ImageFolder has it, and a table of paths anywhere."""

import csv
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from stillroom.errors import StillroomError
from stillroom.modalities.images.datasets import folder, table
from stillroom.modalities.images.preparation import prepare
from stillroom.modalities.images.preparation.scan import Account
from stillroom.modalities.images.settings import Data
from stillroom.progress import Progress

FILES = {
    "train/cat/1.png": "cat",
    "train/cat/2.png": "cat",
    "train/dog/1.png": "dog",
    "val/dog/5.png": "dog",
    "test/cat/1.png": "cat",
    "test/dog/1.png": "dog",
}
ROWS = [{"file_name": name, "label": label} for name, label in FILES.items()]


@pytest.fixture
def photos(tmp_path, picture):
    """Images, split and class told by their folders."""
    for name in FILES:
        picture(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.fixture
def loose(tmp_path, picture):
    """Images of which only a table tells the class, and only their folder the split."""
    for name in FILES:
        split, kind, file = name.split("/")
        picture(tmp_path / "loose" / split / f"{kind}{file}")
    return tmp_path / "loose"


def write(file: Path, rows: list[dict]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0], delimiter="\t" if file.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return file


def read(root: Path, account: Account | None = None, **keys):
    data = Data(name="folder", path=str(root), **keys)
    return folder.load(data, root, Progress(), account or Account())


def of_table(file: Path | dict, account: Account | None = None, **keys):
    data = table.Data(name="table", table=file if isinstance(file, dict) else str(file), **keys)
    return table.load(data, Path(), Progress(), account or Account())


def refused(call, *given, **keys) -> str:
    with pytest.raises(StillroomError) as caught:
        call(*given, **keys)
    return str(caught.value)


def in_split(rows: list[dict], split: str) -> list[dict]:
    """The rows of a split, their files from its folder."""
    start = f"{split}/"
    return [
        row | {"file_name": row["file_name"].removeprefix(start)}
        for row in rows
        if row["file_name"].startswith(start)
    ]


LOOSE = [
    {"file_name": f"{split}/{kind}{file}", "label": label}
    for (split, kind, file), label in ((name.split("/"), label) for name, label in FILES.items())
]


def test_an_index_that_pandas_wrote_is_no_column_of_anything(loose):
    """Its header is empty."""
    write(loose / "metadata.csv", LOOSE)
    before = read(loose)
    lines = (loose / "metadata.csv").read_text().splitlines()
    numbered = [f",{lines[0]}", *(f"{number},{line}" for number, line in enumerate(lines[1:]))]
    (loose / "metadata.csv").write_text("\n".join(numbered))
    assert read(loose).rows == before.rows


def test_groups_are_told_once_and_kept_beside_class_folders(photos, tmp_path):
    rows = [row | {"group": row["file_name"][-5]} for row in ROWS]
    write(photos / "metadata.csv", rows)
    assert {row.key: row.group for row in read(photos).rows} == {
        name.removesuffix(".png"): name[-5] for name in FILES
    }
    (tmp_path / "groups.csv").write_text("file,group\ntrain/cat/1.png,ada\n")
    assert "data.groups names groups" in refused(read, photos, groups=str(tmp_path / "groups.csv"))


def splits_of(samples) -> dict[str, tuple[str, int]]:
    return {row.key: (row.split, row.label) for row in samples.rows}


WITHOUT = {
    "no label": {"file_name": "train/cat2.png", "label": ""},
    "no label, split train": {"file_name": "train/cat2.png", "label": "", "split": "train"},
    "split unlabelled": {"file_name": "train/cat2.png", "label": "cat", "split": "unlabelled"},
}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_line_without_a_label_is_an_unlabelled_image(loose, tmp_path, name):
    """Of all other lines split and class are as ever."""
    rows = [row | {"split": row["file_name"].split("/")[0]} for row in LOOSE]
    before = splits_of(of_table(write(tmp_path / "list.csv", rows), path=str(loose)))
    rows[1] = rows[1] | {"split": ""} | WITHOUT[name]
    after = splits_of(of_table(write(tmp_path / "list.csv", rows), path=str(loose)))
    assert after == before | {"train/cat2": ("unlabelled", -1)}
    write(loose / "metadata.csv", rows)
    assert splits_of(read(loose)) == after


@pytest.mark.parametrize("place", ["root", "splits"])
def test_a_folder_of_unlabelled_images_beside_metadata_is_read(loose, picture, place):
    picture(loose / "unlabelled/deep/9.png")
    if place == "root":
        write(loose / "metadata.csv", LOOSE)
    else:
        for split in ("train", "val", "test"):
            write(loose / split / "metadata.csv", in_split(LOOSE, split))
    found = splits_of(read(loose))
    assert len(found) == 7 and found["unlabelled/deep/9"] == ("unlabelled", -1)


def test_a_table_of_unlabelled_images_needs_no_column_of_labels(loose, picture, tmp_path):
    picture(loose / "more/9.png")
    tables = {
        "train": write(
            tmp_path / "train.csv", [row for row in LOOSE if row["file_name"].startswith("train")]
        ),
        "test": write(tmp_path / "test.csv", [row for row in LOOSE if row["file_name"].startswith("test")]),
        "unlabelled": write(tmp_path / "more.csv", [{"file_name": "more/9.png"}]),
    }
    found = splits_of(of_table({name: str(file) for name, file in tables.items()}, path=str(loose)))
    assert len(found) == 6 and found["more/9"] == ("unlabelled", -1)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("place", ["root", "splits"])
def test_metadata_tells_the_classes(loose, suffix, place):
    if place == "root":
        write(loose / f"metadata{suffix}", LOOSE)
    else:
        for split in ("train", "val", "test"):
            write(loose / split / f"metadata{suffix}", in_split(LOOSE, split))
    samples = read(loose)
    assert samples.classes == ("cat", "dog") and samples.splits() == {"train": 3, "val": 1, "test": 2}
    found = {row.path: (row.key, row.split, samples.classes[row.label]) for row in samples.rows}
    assert found == {
        one["file_name"]: (one["file_name"][:-4], one["file_name"].split("/")[0], one["label"])
        for one in LOOSE
    }


def test_a_column_may_tell_the_split(loose):
    rows = [row | {"split": {"val": "dev"}.get(row["file_name"][:3], "test")} for row in LOOSE]
    rows[0]["split"] = rows[2]["split"] = "Training"
    write(loose / "metadata.csv", rows)
    assert read(loose).splits() == {"train": 2, "val": 1, "test": 3}
    words = {"Training": "train", "test": "test"}
    assert "line 5: unknown split 'dev', expected Training, test" in refused(read, loose, splits=words)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_layout_makes_the_same_table(photos, tmp_path, suffix):
    """Folders, metadata and a table of the same images: equal keys, bytes, labels and splits."""
    expected = read(photos)
    rows = [{"path": name, "class": label, "split": name.split("/")[0]} for name, label in FILES.items()]
    made = of_table(write(tmp_path / f"list{suffix}", rows), path=str(photos))
    assert made.digests() == expected.digests() and made.rows == expected.rows
    beside = of_table(write(photos / f"list{suffix}", rows))
    assert beside.rows == expected.rows and beside.root == photos
    for split in ("train", "val", "test"):
        write(photos / split / "metadata.csv", in_split(ROWS, split))
    assert read(photos).rows == expected.rows  # both tell the same


def test_one_table_of_each_split(photos, tmp_path):
    files = {}
    for split in ("train", "val", "test"):
        rows = [row for row in ROWS if row["file_name"].startswith(split)]
        files[split] = str(write(tmp_path / f"{split}.csv", rows))
    expected = read(photos)
    assert of_table(files, path=str(photos)).rows == expected.rows
    files["holdout"] = files.pop("test")
    message = refused(of_table, files, path=str(photos))
    assert "'holdout' means no split" in message
    words = {"train": "train", "val": "val", "holdout": "test"}
    assert of_table(files, path=str(photos), splits=words).rows == expected.rows
    rows = [row | {"split": "holdout"} for row in ROWS[:2]]
    write(Path(files["train"]), rows)
    assert "its split is holdout, and it lies in that of train" in refused(
        of_table, files, path=str(photos), splits=words
    )


def test_a_split_file_beside_a_table(photos, tmp_path):
    rows = [{"file": name, "split": name.split("/")[0]} for name in FILES]
    split = write(tmp_path / "split.csv", rows)
    file = write(tmp_path / "list.csv", ROWS)
    samples = of_table(file, path=str(photos), split_file=str(split))
    assert samples.rows == read(photos).rows
    write(split, rows[1:])
    message = refused(of_table, file, path=str(photos), split_file=str(split))
    assert "line 2: train/cat/1.png: data.split_file does not name it" in message


def test_boxes_and_groups_are_kept(photos, tmp_path):
    rows = [
        row | {"box": "[1, 2, 9, 7]" if place else "", "group": "ada" * place}
        for place, row in enumerate(ROWS)
    ]
    samples = of_table(write(tmp_path / "list.csv", rows), path=str(photos))
    by_path = {row.path: row for row in samples.rows}
    assert by_path["train/cat/1.png"].box is None and by_path["train/cat/1.png"].group == ""
    assert by_path["train/cat/2.png"].box == (1, 2, 9, 7) and by_path["test/dog/1.png"].group == "ada" * 5
    rows[1]["box"] = "[9, 2, 1, 7]"
    assert "line 3: the box '[9, 2, 1, 7]'" in refused(
        of_table, write(tmp_path / "list.csv", rows), path=str(photos)
    )


def test_numbers_keep_their_order_and_may_be_named(photos, tmp_path):
    number = {"cat": "10", "dog": "9"}
    rows = [row | {"label": number[row["label"]]} for row in ROWS]
    file = write(tmp_path / "list.csv", rows)
    assert of_table(file, path=str(photos)).classes == ("9", "10")
    for row in rows:  # as pandas writes them where a line has none
        row["label"] = {"10": "0.0", "9": "1.0"}[row["label"]]
    file = write(tmp_path / "list.csv", rows)
    assert of_table(file, path=str(photos)).classes == ("0", "1")
    names = tmp_path / "classes.txt"
    names.write_text("cat\ndog\n")
    assert of_table(file, path=str(photos), classes=str(names)).rows == read(photos).rows
    rows[3]["label"], rows[4]["label"] = "2", "eel"
    message = refused(of_table, write(file, rows), path=str(photos), classes=str(names))
    assert "list.csv line 5: '2'" in message and "list.csv line 6: 'eel'" in message
    assert "numbers are from 0 to 1" in message
    names.write_text("cat\ncat\n")
    assert "names 'cat' twice" in refused(of_table, file, path=str(photos), classes=str(names))


def test_a_list_of_classes_orders_folders_too(photos, tmp_path):
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    assert read(photos, classes=str(tmp_path / "classes.txt")).classes == ("dog", "cat")
    (tmp_path / "classes.txt").write_text("dog\neel\n")
    message = refused(read, photos, classes=str(tmp_path / "classes.txt"))
    assert "does not name:\n    cat" in message


BAD = {
    "a missing file": ({"file_name": "train/cat/9.png"}, "list.csv line 3: train/cat/9.png"),
    "an absolute path": ({"file_name": "/etc/passwd.png"}, "line 3: '/etc/passwd.png' is no path from"),
    "an address": ({"file_name": "https://host/a.png"}, "line 3: 'https://host/a.png' is no path from"),
    "a home": ({"file_name": "~/a.png"}, "line 3: '~/a.png' is no path from"),
    "a path that leaves": (
        {"file_name": "train/../../a.png"},
        "line 3: 'train/../../a.png' leaves its folder",
    ),
    "a Windows path": ({"file_name": "train\\cat\\2.png"}, "expected / between folders"),
    "no file": ({"file_name": ""}, "line 3: it names no file"),
    "no split": ({"file_name": "cat/2.png", "label": "cat"}, "line 3: cat/2.png: nothing says its split"),
    "no label and no split": (
        {"file_name": "train/cat/2.png", "label": "", "split": "hidden"},
        "line 3: unknown split 'hidden'",
    ),
    "no label": (
        {"file_name": "test/cat/2.png", "label": ""},
        "line 3: test/cat/2.png: it has no label, and is of the split test",
    ),
    "two labels": (
        {"file_name": "train/cat/1.png", "label": "dog"},
        "list.csv line 2 and list.csv line 3: train/cat/1.png (cat and dog)",
    ),
    "twice": ({"file_name": "./train//cat/1.png"}, "named twice:\n    list.csv line 2 and list.csv line 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_line_that_cannot_be_used_is_named(photos, tmp_path, name):
    change, words = BAD[name]
    rows = [{**row, **({"split": ""} if "split" in change else {})} for row in ROWS]
    rows[1] |= change
    message = refused(of_table, write(tmp_path / "list.csv", rows), path=str(photos))
    assert words in message, message


def test_a_link_to_a_folder_elsewhere_is_refused(photos, tmp_path, picture):
    picture(tmp_path / "secret" / "1.png")
    (photos / "train/far").symlink_to(tmp_path / "secret")
    (photos / "train/cat/7.png").symlink_to(tmp_path / "secret/1.png")  # of one file: it counts as that file
    rows = [*ROWS, {"file_name": "train/cat/7.png", "label": "cat"}]
    file = write(tmp_path / "list.csv", rows)
    assert len(of_table(file, path=str(photos))) == 7
    rows += [{"file_name": "train/far/1.png", "label": "cat"}]
    message = refused(of_table, write(file, rows), path=str(photos))
    assert "line 9: 'train/far/1.png' leads out of" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file_name,label\ntrain/cat/1.png,\xe4rger\n", "line 2 is no UTF-8: byte 0xe4"),
        (b"\xff\xfef\0i\0l\0e\0", "no UTF-8"),
        (b"name,kind\na,b\n", "no column for the file: it has name, kind"),
        (b"file_name,lable\na,b\n", "lable may be meant"),
        (b"file_name;label\na;b\n", "is it separated by commas?"),
        (b"file_name,path,label\na,b,c\n", "the columns file_name and path, and each may be the file"),
        (b"label,label,file\na,b,c\n", "has the column label twice"),
        (b"file_name,label\na,b,c\n", "line 2 has more values than the first"),
        (b"file_name,label\na\n", "line 2 has fewer values than the first"),
        (b'file_name,label\n"a,b\n', "unexpected end of data"),
        (b"file_name,label\n" + b"a" * (2**20 + 9), "line 2 has more than 1,048,576 bytes"),
        (b"", "no column for the file: it has none"),
        (b"file_name,label\n", "has 0 classes"),
    ],
)
def test_a_file_that_is_no_table_is_refused(photos, tmp_path, content, words):
    (tmp_path / "list.csv").write_bytes(content)
    message = refused(of_table, tmp_path / "list.csv", path=str(photos))
    assert words in message and "list.csv" in message, message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"path": "a", "label": 1}\n[1]\n', "line 2 is no JSON object"),
        ("a.jsonl", b'{"path": "a", "label": 1}\n{"path":\n', "line 2 is no JSON"),
        ("a.jsonl", b'{"path": "train/a.png", "label": [1]}\n', "line 1: the class is list"),
        ("a.jsonl", b'{"path": "train/a.png", "label": 1.5}\n', "line 1: the class 1.5 is no whole number"),
        ("a.jsonl", b'{"path": 3, "label": 1}\n', "line 1: it names no file"),
        ("a.parquet", b"PAR1no", "cannot be read"),
        ("a.xlsx", b"PK", "expected .csv, .tsv, .jsonl, .parquet"),
    ],
)
def test_other_kinds_that_are_none_are_refused(photos, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    message = refused(of_table, tmp_path / name, path=str(photos))
    assert words in message and name in message, message


def test_what_the_parameters_name_must_be_there(photos, tmp_path):
    file = write(tmp_path / "list.csv", ROWS)
    assert "which data.table names, is not there" in refused(of_table, tmp_path / "gone.csv")
    assert "is not a folder" in refused(of_table, file, path=str(tmp_path / "gone"))
    columns = {"label": "kind"}
    assert "no column 'kind', which data.columns.label names" in refused(of_table, file, columns=columns)
    assert "data.columns.labl: a table has no such column" in refused(of_table, file, columns={"labl": "a"})
    assert "needs data.table" in refused(
        lambda: table.load(table.Data(name="table"), Path(), Progress(), Account())
    )
    rows = [{"id": row["file_name"], "kind": row["label"], "path": "x"} for row in ROWS]
    columns = {"file": "id", "label": "kind"}
    assert len(of_table(write(file, rows), path=str(photos), columns=columns)) == 6


def test_a_split_without_an_image_is_refused(photos, tmp_path):
    rows = [row for row in ROWS if not row["file_name"].startswith("test")]
    file = write(tmp_path / "list.csv", rows)
    assert "cat: no image in test" in refused(of_table, file, path=str(photos))
    for keys in ({}, {"allow_missing_classes": True}):
        assert "no image in test" in refused(of_table, file, path=str(photos), **keys)


def test_images_can_be_left_out_even_if_they_are_not_there(photos, tmp_path):
    rows = [*ROWS, {"file_name": "train/cat/gone.png", "label": "cat"}]
    file = write(tmp_path / "list.csv", rows)
    (tmp_path / "skip.txt").write_text("train/cat/gone.png\n")
    account = Account()
    samples = of_table(file, account, path=str(photos), skip=str(tmp_path / "skip.txt"))
    assert samples.rows == read(photos).rows and account.skipped == ["train/cat/gone.png"]


def test_an_accent_is_found_in_either_form(tmp_path, picture):
    for split in ("train", "test"):
        for name in ("caf\u00e9", "ant"):
            picture(tmp_path / "set" / split / f"{name}.png")
    rows = [
        {"file_name": f"{split}/{name}.png", "label": name}
        for split in ("train", "test")
        for name in ("cafe\u0301", "ant")
    ]
    write(tmp_path / "set/metadata.csv", rows)
    samples = read(tmp_path / "set")
    assert "test/caf\u00e9.png" in [row.path for row in samples.rows] and len(samples) == 4


def test_class_folders_and_metadata_must_agree(photos):
    expected = read(photos)
    write(photos / "metadata.csv", [row | {"label": str(ord(row["label"][0]))} for row in ROWS])
    assert read(photos).rows == expected.rows  # a number for each folder
    write(photos / "metadata.csv", [*ROWS[:-1], ROWS[-1] | {"label": "cat"}])
    message = refused(read, photos)
    assert "tells the classes twice, and differently: metadata.csv line 7" in message
    assert "data.name=table" in message
    # what says nothing of classes is beside the point, as are files that nobody can read
    for rows in ([{"file_name": "train/cat/1.png", "caption": "a cat"}], [{"label": "x"}]):
        write(photos / "metadata.csv", rows)
        account = Account()
        assert read(photos, account).rows == expected.rows
        assert account.passed_over["neither a split nor in one"] == ["metadata.csv"]
    (photos / "metadata.csv").write_bytes(b"\xff\xff")
    assert read(photos).rows == expected.rows
    assert "has no metadata file whose columns" in refused(read, photos, columns={"label": "x"})


def test_metadata_that_is_not_whole_is_refused(loose, picture):
    write(loose / "train/metadata.csv", in_split(LOOSE, "train"))
    assert "has train/metadata.csv, and none in test and val" in refused(read, loose)
    write(loose / "metadata.csv", LOOSE)
    assert "several files that tell the classes: metadata.csv, train/metadata.csv" in refused(read, loose)
    (loose / "train/metadata.csv").unlink()
    picture(loose / "train/more.png")
    account = Account()
    assert len(read(loose, account)) == 6
    assert account.passed_over == {"in no line of a metadata file": ["train/more.png"]}
    write(loose / "metadata.csv", [{"file_name": "a", "caption": "b"}])
    assert "no column for the label: it has file_name, caption" in refused(read, loose)


def test_a_read_only_folder_needs_no_change(photos, tmp_path):
    """Split file and skip list lie elsewhere."""
    flat = tmp_path / "flat"
    rows = []
    for name in FILES:
        split, kind, file = name.split("/")
        target = flat / kind / f"{split}{file}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((photos / name).read_bytes())
        rows.append({"file": f"{kind}/{split}{file}", "split": split})
    (flat / "cat" / "bad.png").write_bytes(b"no")
    rows.append({"file": "cat/bad.png", "split": "train"})
    write(tmp_path / "else/split.csv", rows)
    (tmp_path / "else/skip.txt").write_text("cat/bad.png\n")
    for place in (flat / "cat", flat / "dog", flat):
        os.chmod(place, 0o555)
    keys = {"split_file": str(tmp_path / "else/split.csv"), "skip": str(tmp_path / "else/skip.txt")}
    try:
        assert read(flat, **keys).splits() == {"train": 3, "val": 1, "test": 2}
    finally:
        for place in (flat, flat / "cat", flat / "dog"):
            os.chmod(place, 0o755)


def test_a_class_of_one_split_is_allowed_by_a_switch(photos, tmp_path, picture):
    picture(photos / "train/eel/1.png")
    picture(photos / "test/fox/1.png")
    message = refused(read, photos)
    assert "eel: no image in test" in message and "fox: no image in train" in message
    assert "data.allow_missing_classes=true" in message
    samples = read(photos, allow_missing_classes=True)
    assert samples.classes == ("cat", "dog", "eel", "fox") and len(samples) == 8
    data = Data(name="folder", path=str(photos), allow_missing_classes=True, duplicates="drop")
    assert len(prepare(data, tmp_path / "data", Progress()).samples) == 8


def test_a_key_that_is_not_heeded_is_refused(tmp_path):
    for key, value in (("classes", "a.txt"), ("columns", {"a": "b"}), ("allow_missing_classes", True)):
        data = Data.model_validate({"name": "sketch40", key: value})
        assert f"data.{key} = " in refused(prepare, data, tmp_path / "data", Progress())


def repeated(value: str, rows: int) -> pa.DictionaryArray:
    """A value that is in a file once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))


@pytest.mark.parametrize("schema", [True, False])
@pytest.mark.parametrize("column", ["file_name", "label", "group"])
def test_a_long_text_that_is_repeated_costs_no_memory(tmp_path: Path, column: str, schema: bool) -> None:
    """40 GB where it is read as rows."""
    columns = {name: repeated("x", 4096) for name in ("file_name", "label", "split", "group")}
    columns[column] = repeated("x" * 10_000_000, 4096)
    parquet.write_table(pa.table(columns), tmp_path / "all.parquet", store_schema=schema)
    assert f"a value of its column {column} is longer" in refused(of_table, tmp_path / "all.parquet")


def test_rows_that_cost_nothing_are_refused(tmp_path: Path) -> None:
    rows = 3 * 10**7
    nothing = pa.nulls(rows, pa.string())
    file = tmp_path / "all.parquet"
    parquet.write_table(pa.table({"file_name": nothing, "label": nothing, "split": nothing}), file)
    assert file.stat().st_size < 2**20 and f"{rows:,} rows" in refused(of_table, file)
    boxes = pa.FixedSizeListArray.from_arrays(pa.array([0], pa.int64()).take(pa.array([0] * 10**7)), 10**6)
    parquet.write_table(
        pa.table({"file_name": ["a.png"] * 10, "label": ["x"] * 10, "split": ["train"] * 10, "box": boxes}),
        file,
    )
    assert "values of box" in refused(of_table, file)


@pytest.mark.parametrize(
    "value",
    [
        pa.array([2**62], pa.timestamp("us")),
        pa.array([2**31 - 1], pa.date32()),
        pa.array([2**62], pa.duration("s")),
    ],
)
@pytest.mark.parametrize("column", ["label", "group"])
def test_dates_that_are_none_are_refused(tmp_path: Path, column: str, value: pa.Array) -> None:
    columns = {"file_name": ["a.png"], "label": ["cat"], "split": ["train"], column: value}
    parquet.write_table(pa.table(columns), tmp_path / "all.parquet")
    said = refused(of_table, tmp_path / "all.parquet")
    assert "cannot be read" in said or "expected a number or a name" in said or "not found" in said


def test_a_group_that_pandas_has_not_is_none(loose: Path, tmp_path: Path) -> None:
    rows = [
        {"file_name": f"{split}/{kind}{file}", "label": kind, "group": 1.0 if number < 2 else float("nan")}
        for number, name in enumerate(FILES)
        for split, kind, file in [name.split("/")]
    ]
    file = write(tmp_path / "all.parquet", rows)
    samples = table.load(
        table.Data(name="table", table=str(file), path=str(loose)), Path(), Progress(), Account()
    )
    assert {row.key: row.group for row in samples.rows if row.group} == {
        "train/cat1": "1.0",
        "train/cat2": "1.0",
    }


@pytest.mark.parametrize("key", ["table", "classes", "skip", "split_file"])
def test_a_pipe_is_no_list(loose: Path, tmp_path: Path, key: str) -> None:
    """Nobody writes to it: reading would never end."""
    os.mkfifo(tmp_path / "pipe.csv")
    rows = [{"file_name": "train/cat1.png", "label": "cat"}]
    keys = {"table": str(write(tmp_path / "all.csv", rows)), key: str(tmp_path / "pipe.csv")}
    data = table.Data(name="table", path=str(loose), **keys)
    assert "no regular file" in refused(table.load, data, Path(), Progress(), Account())


@pytest.mark.parametrize("key", ["classes", "skip", "split_file"])
def test_a_list_of_gigabytes_is_not_read(loose: Path, tmp_path: Path, key: str) -> None:
    with (tmp_path / "big.txt").open("wb") as stream:
        stream.truncate(100 * 2**30)
    rows = [{"file_name": "train/cat1.png", "label": "cat"}]
    keys = {"table": str(write(tmp_path / "all.csv", rows)), key: str(tmp_path / "big.txt")}
    data = table.Data(name="table", path=str(loose), **keys)
    assert "more than" in refused(table.load, data, Path(), Progress(), Account())
