"""Hugging Face data sets on disk: Parquet, and what `save_to_disk` writes, read with pyarrow alone."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import ipc, parquet

from stillroom.errors import StillroomError
from stillroom.modalities import load_samples
from stillroom.modalities.images.datasets import folder as folders
from stillroom.modalities.images.datasets import huggingface
from stillroom.modalities.images.pixels import Pixels
from stillroom.modalities.images.preparation import prepare
from stillroom.modalities.images.preparation.scan import Account
from stillroom.modalities.images.settings import Data
from stillroom.modalities.parquet_files import open_parquet, rows_together
from stillroom.modalities.remembered import Memory
from stillroom.progress import Progress
from stillroom.samples import Samples

CLASSES = ["cat", "dog"]


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20 + shade % 7, 16), (shade % 256, 90, 255 - shade % 256)).save(stream, "PNG")
    return stream.getvalue()


def rows(start: int, count: int = 4) -> list[dict]:
    return [
        {
            "image": {"bytes": png(number), "path": f"{number}.png"},
            "label": number % 2,
            "id": f"x/{number:03d}",
        }
        for number in range(start, start + count)
    ]


def schema(classes: list[str] | None = CLASSES) -> pa.Schema:
    features: dict = {"image": {"_type": "Image"}, "id": {"dtype": "string", "_type": "Value"}}
    if classes is not None:
        features["label"] = {"names": classes, "_type": "ClassLabel"}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.schema(
        [("image", image), ("label", pa.int64()), ("id", pa.string())],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )


def write(file: Path, some: list[dict], kind: pa.Schema | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    made = pa.Table.from_pylist(some, kind or schema())
    if file.suffix == ".parquet":
        parquet.write_table(made, file, row_group_size=3)
    else:
        with ipc.new_stream(file, made.schema) as stream:
            stream.write_table(made, 3)
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "set/data/train-00000-of-00002.parquet", rows(0))
    write(tmp_path / "set/data/train-00001-of-00002.parquet", rows(4))
    write(tmp_path / "set/data/test-00000-of-00001.parquet", rows(20))
    return tmp_path / "set"


def read(root: Path, out: Path, account: Account | None = None, **keys: object) -> Samples:
    data = Data(name="huggingface", path=str(root), **keys)  # type: ignore[arg-type]
    return huggingface.load(data, out, Progress(), account or Account())


def refused(root: Path, out: Path, **keys: object) -> str:
    with pytest.raises(StillroomError) as caught:
        read(root, out, **keys)
    return str(caught.value)


def test_parquet_is_read_and_keeps_its_bytes(root: Path, tmp_path: Path) -> None:
    samples = read(root, tmp_path / "out")
    assert samples.classes == ("cat", "dog") and samples.splits() == {"train": 8, "test": 4}
    numbers = {"train": 0, "test": 20}
    pixels = Pixels(samples)
    for row in samples.rows:
        split, number = row.key.split("/")
        shade = numbers[split] + int(number)
        assert samples.content(row) == png(shade) and row.label == shade % 2
        assert pixels[row].shape == (16, row.size[0], 3)
        assert row.path.startswith(f"{split}-") and row.span is not None
    assert samples.root == tmp_path / "out/images"


def test_the_same_images_in_a_folder_give_equal_digests(root: Path, tmp_path: Path) -> None:
    for split, start, count in (("train", 0, 8), ("test", 20, 4)):
        for number, shade in enumerate(range(start, start + count)):
            file = tmp_path / "photos" / split / CLASSES[shade % 2] / f"{number:08d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(shade))
    photos = folders.read(tmp_path / "photos", progress=Progress())
    samples = read(root, tmp_path / "out")
    told = [
        sorted((row.sha256, row.split, one.classes[row.label], row.size) for row in one.rows)
        for one in (photos, samples)
    ]
    assert told[0] == told[1]
    # with a column for keys all digests are equal
    for file in root.rglob("*.parquet"):
        split, start = ("train", 0) if "train" in file.name else ("test", 20)
        table = parquet.read_table(file)
        shades = [int(one[2:]) for one in table.column("id").to_pylist()]
        keys = [f"{split}/{CLASSES[shade % 2]}/{shade - start:08d}" for shade in shades]
        parquet.write_table(table.set_column(2, "id", pa.array(keys)), file)
    keyed = read(root, tmp_path / "again", columns={"key": "id"})
    assert keyed.digests() == photos.digests()


@pytest.mark.parametrize(
    "names",
    [
        ("train/0000.parquet", "test/0000.parquet"),
        ("default/partial-train/0000.parquet", "default/partial-test/0000.parquet"),
        ("mine-train.arrow", "mine-test.arrow"),
        ("train/data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow"),
    ],
)
def test_the_split_is_in_the_name_or_the_folder(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, start in zip(names, (0, 20), strict=True):
        write(tmp_path / "set" / name, rows(start))
    samples = read(tmp_path / "set", tmp_path / "out")
    assert samples.splits() == {"train": 4, "test": 4}


def test_a_folder_of_save_to_disk_is_what_its_state_says(tmp_path: Path) -> None:
    for split, start in (("train", 0), ("test", 20)):
        write(tmp_path / "set" / split / "data-00000-of-00001.arrow", rows(start))
        write(tmp_path / "set" / split / "cache-1234.arrow", rows(start))
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        (tmp_path / "set" / split / "state.json").write_text(json.dumps(state))
    assert len(read(tmp_path / "set", tmp_path / "out")) == 8
    (tmp_path / "set/test/state.json").write_text("[]")
    assert "state.json does not name the files" in refused(tmp_path / "set", tmp_path / "again")


def test_what_the_library_writes_is_read(root: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for split, start in (("train", 0), ("test", 20)):
        for shade in range(start, start + 4):
            file = tmp_path / "photos" / split / CLASSES[shade % 2] / f"{shade}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(shade))
    made = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "photos"), cache_dir=str(tmp_path / "hf")
    )
    made.save_to_disk(str(tmp_path / "saved"))
    saved = datasets.load_from_disk(str(tmp_path / "saved"))
    for split in saved:
        saved[split].to_parquet(str(tmp_path / "parquet" / f"{split}-00000-of-00001.parquet"))
    photos = folders.read(tmp_path / "photos", progress=Progress())
    expected = sorted((row.sha256, row.split, row.label) for row in photos.rows)
    for place in ("saved", "parquet"):
        samples = read(tmp_path / place, tmp_path / f"out-{place}")
        assert samples.classes == photos.classes
        assert sorted((row.sha256, row.split, row.label) for row in samples.rows) == expected


def test_what_was_decoded_is_remembered(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillroom.modalities.remembered.SETTLED", -1)  # files may be new
    data = Data(name="huggingface", path=str(root))
    first = prepare(data, tmp_path / "one", Progress(), Memory(tmp_path / "memory"))
    memory = Memory(tmp_path / "memory")
    notes: list[str] = []
    progress = Progress()
    progress.note = notes.append  # type: ignore[method-assign]
    second = prepare(data, tmp_path / "two", progress, memory)
    assert second.samples.rows == first.samples.rows
    assert any("12 of 12 files unchanged" in note for note in notes), notes
    for name in ("train-000000.tar", "test-000000.tar", "dataset.json"):
        one, two = (tmp_path / place / "images" / name for place in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_columns_of_other_names(tmp_path: Path) -> None:
    for name, start in (("train", 0), ("test", 20)):
        some = [
            {"photo": row["image"]["bytes"], "kind": CLASSES[row["label"]], "coarse": 1}
            for row in rows(start)
        ]
        write(tmp_path / f"set/{name}.parquet", some, pa.Table.from_pylist(some).schema)
    message = refused(tmp_path / "set", tmp_path / "out")
    assert "no column for its label: photo, kind, coarse" in message and "data.columns={label:" in message
    samples = read(tmp_path / "set", tmp_path / "out", columns={"label": "kind"})
    assert samples.classes == ("cat", "dog") and len(samples) == 8
    assert "has no column 'no'" in refused(tmp_path / "set", tmp_path / "x", columns={"image": "no"})
    assert "no such column" in refused(tmp_path / "set", tmp_path / "x", columns={"file": "photo"})
    assert "holds int64, no bytes" in refused(
        tmp_path / "set", tmp_path / "x", columns={"image": "coarse", "label": "kind"}
    )


def test_splits_that_nothing_says_are_refused(root: Path, tmp_path: Path) -> None:
    write(root / "data/unsupervised-0.parquet", rows(40))
    message = refused(root, tmp_path / "out")
    assert "nothing says the split" in message and "unsupervised-0.parquet" in message
    account = Account()
    words = {"train": "train", "test": "test"}
    assert len(read(root, tmp_path / "out", account, splits=words)) == 12
    assert account.passed_over == {"of no split": ["data/unsupervised-0.parquet"]}
    (root / "data/unsupervised-0.parquet").rename(root / "data/eval-0.parquet")
    assert "files of eval and test, and both mean test" in refused(root, tmp_path / "x")
    for file in root.rglob("*test*"):
        file.unlink()
    (root / "data/eval-0.parquet").rename(root / "data/validation-0.parquet")
    message = refused(root, tmp_path / "x")
    assert "no file of test" in message and "{train: train, validation: test}" in message
    assert "has no .parquet" in refused(tmp_path / "out", tmp_path / "x")
    assert "is not a folder" in refused(tmp_path / "gone", tmp_path / "x")


def test_rows_that_cannot_be_used_are_named(root: Path, tmp_path: Path) -> None:
    file = root / "data/test-00000-of-00001.parquet"
    for change, words in (
        ({"label": 2}, "test-00000-of-00001.parquet row 2: class 2, and 2 are named"),
        ({"label": -1}, "row 2"),
        ({"label": None}, "without a class"),
        ({"image": None}, "row 2: it holds no image"),
        ({"image": {"bytes": None, "path": "/etc/passwd"}}, "row 2: it holds no image, and names a file"),
        ({"image": {"bytes": b"no", "path": None}}, "row 2: not an image of a format"),
    ):
        some = rows(20)
        some[1] |= change
        write(file, some)
        message = refused(root, tmp_path / f"out{hash(words)}")
        assert words in message and "Traceback" not in message, message
    some = rows(20)
    some[1]["image"] = {"bytes": b"no", "path": None}
    write(file, some)
    (tmp_path / "skip").write_text("test/00000001\n")
    account = Account()
    assert len(read(root, tmp_path / "out", account, skip=str(tmp_path / "skip"))) == 11
    assert account.skipped == ["test/00000001"]
    (tmp_path / "skip").write_text("test/00000001\ntest/00000009\n")
    assert "test/00000009" in refused(root, tmp_path / "again", skip=str(tmp_path / "skip"))


def test_files_that_are_none_or_do_not_fit_are_refused(root: Path, tmp_path: Path) -> None:
    file = root / "data/test-00000-of-00001.parquet"
    whole = file.read_bytes()
    for content in (b"", b"PAR1", whole[:-20], whole[: len(whole) // 2]):
        file.write_bytes(content)
        message = refused(root, tmp_path / f"out{len(content)}")
        assert "cannot be read" in message and "test-00000" in message
    for name, start in (("train", 0), ("test", 20)):
        write(tmp_path / f"arrow/{name}-0.arrow", rows(start))
    arrow = tmp_path / "arrow/test-0.arrow"
    for word in (b"image", b"bytes", b"label"):
        arrow.write_bytes(write(arrow, rows(20)).read_bytes().replace(word, b"\xfc" + word[1:]))
        assert "test-0.arrow" in refused(tmp_path / "arrow", tmp_path / f"odd{word[0]}")
    write(file, rows(20), schema(["dog", "cat"]))
    assert "name other classes, or in another order" in refused(root, tmp_path / "order")
    write(file, rows(20), schema(["cat", "cat"]))
    assert "are no distinct names" in refused(root, tmp_path / "twice")
    with pytest.raises(StillroomError, match="keys are used twice"):
        write(file, [row | {"id": "x/000"} for row in rows(20)][:2])
        read(root, tmp_path / "keys", columns={"key": "id"})
    write(file, [row | {"id": "../up"} for row in rows(20)])
    assert "is no key" in refused(root, tmp_path / "up", columns={"key": "id"})


def test_a_class_of_no_image_is_allowed_by_the_switch(root: Path, tmp_path: Path) -> None:
    for file in root.rglob("*.parquet"):
        table = parquet.read_table(file)
        write(file, table.to_pylist(), schema([*CLASSES, "eel"]))
    assert "eel: no image in train" in refused(root, tmp_path / "out")
    samples = read(root, tmp_path / "out", allow_missing_classes=True)
    assert samples.classes == ("cat", "dog", "eel")
    assert np.bincount(samples.labels(), minlength=3).tolist() == [6, 6, 0]


def test_a_part_may_be_taken_for_one_without_labels(root: Path, tmp_path: Path) -> None:
    write(root / "data/more-00000-of-00001.parquet", rows(30))
    samples = read(root, tmp_path / "out", splits={"train": "train", "test": "test", "more": "unlabelled"})
    assert samples.splits() == {"train": 8, "test": 4, "unlabelled": 4}
    assert set(samples.in_splits("unlabelled").labels()) == {-1}
    samples.save(tmp_path / "table")
    assert load_samples(tmp_path / "table", samples.root).rows == samples.rows


@pytest.mark.parametrize("schema", [True, False])
def test_a_long_class_that_is_repeated_costs_no_memory(root: Path, tmp_path: Path, schema: bool) -> None:
    files = [*root.rglob("*.parquet")]
    found = parquet.read_table(files[0])
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 2**14, pa.int32()), pa.array(["x" * 10_000_000]))
    image = pa.array([found.column("image")[0].as_py()] * 2**14, found.schema.field("image").type)
    for file in files:
        parquet.write_table(pa.table({"image": image, "label": long}), file, store_schema=schema)
    assert "a value of its column label is longer" in refused(root, tmp_path / "out")


def test_large_images_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    """A value that is repeated is in the file once, and would be in memory as often as it is read at once."""
    data = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), pa.array([bytes(2**26)]))
    parquet.write_table(pa.table({"image": data}), tmp_path / "a.parquet", store_schema=False)
    with open_parquet(tmp_path / "a.parquet", ["image"]) as opened:
        assert rows_together(opened, 32) == 15 and rows_together(opened, 4) == 4


def test_a_pipe_is_no_data_set(root: Path, tmp_path: Path) -> None:
    os.mkfifo(root / "train-1.parquet")
    assert "no regular file" in refused(root, tmp_path / "out")
