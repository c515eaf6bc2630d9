"""`prepare` picks the data set that the parameters name and sets the validation slice aside."""

import pytest

from stillroom.errors import DataError, ParamsError
from stillroom.modalities.images.preparation import prepare
from stillroom.modalities.images.settings import Data
from stillroom.progress import Progress


def counts(samples):
    return {split: len(samples.in_splits(split)) for split in ("train", "val", "test")}


def test_an_official_layout_is_read_from_its_path_and_split(layout, tmp_path):
    root = layout({"drinking": (8, 2), "fishing": (4, 2)})
    data = Data(name="stanford40", path=str(root), official=False, val_fraction=0.25)
    samples = prepare(data, tmp_path / "data", Progress()).samples
    assert counts(samples) == {"train": 9, "val": 3, "test": 4}
    assert samples.root == root
    assert not (tmp_path / "data").exists(), "the table is the caller's to write"


def test_the_official_checks_are_on_unless_switched_off(layout, tmp_path):
    with pytest.raises(DataError, match="is not the published Stanford 40 Actions"):
        prepare(Data(name="stanford40", path=str(layout())), tmp_path / "data", Progress())


def test_without_a_path_stanford40_is_downloaded(layout, zip_parts, host, tmp_path, monkeypatch):
    zip_parts(layout(), tmp_path / "zips")
    host.files = {f"/{file.name}": file.read_bytes() for file in (tmp_path / "zips").iterdir()}
    monkeypatch.setenv("STILLROOM_STANFORD40_URL", host.base)
    monkeypatch.chdir(tmp_path)
    samples = prepare(
        Data(name="stanford40", official=False), tmp_path / "artifacts" / "data", Progress()
    ).samples
    assert counts(samples) == {"train": 5, "val": 0, "test": 3}
    assert samples.root.as_posix() == "artifacts/downloads/stanford40"


def test_a_folder_of_classes_is_read_and_needs_a_path(tmp_path, picture):
    for name in ("train/dog/1.jpg", "train/cat/1.jpg", "test/cat/1.jpg", "test/dog/1.jpg"):
        picture(tmp_path / "set" / name)
    samples = prepare(Data(name="folder", path=str(tmp_path / "set")), tmp_path / "data", Progress()).samples
    assert counts(samples) == {"train": 2, "val": 0, "test": 2}
    with pytest.raises(ParamsError, match=r"data\.path"):
        prepare(Data(name="folder"), tmp_path / "data", Progress())


def test_the_drawn_set_is_drawn_and_read(tmp_path):
    data = Data(name="sketch40", train_per_class=4, test_per_class=1, image_size=32, val_fraction=0.25)
    samples = prepare(data, tmp_path / "data", Progress()).samples
    assert samples.dataset == "sketch40"
    assert len(samples.classes) == 40
    assert counts(samples) == {"train": 120, "val": 40, "test": 40}
    assert samples.root == tmp_path / "data" / "sketch40"
    assert not (tmp_path / "data" / "samples.parquet").exists(), "the table is the caller's to write"


def test_a_path_that_the_drawn_set_would_ignore_is_refused(tmp_path):
    with pytest.raises(ParamsError, match="reads no folder"):
        prepare(Data(name="sketch40", path=str(tmp_path)), tmp_path / "data", Progress())


@pytest.fixture
def doubled(tmp_path, picture):
    """A folder with an image in two splits, one in two classes, and one twice in its class."""
    root = tmp_path / "set"
    for number in range(3):
        for name in ("train/dog", "train/cat", "test/dog", "test/cat"):
            picture(root / name / f"{number}.png", (20 + number, 10))
    for copied, name in (
        ("test/dog/0", "train/dog/leak"),
        ("train/cat/1", "train/dog/wrong"),
        ("train/cat/2", "train/cat/again"),
    ):
        (root / f"{name}.png").write_bytes((root / f"{copied}.png").read_bytes())
    return root


def test_equal_files_are_named_and_counted(doubled, tmp_path):
    found = prepare(Data(name="folder", path=str(doubled)), tmp_path / "data", Progress())
    assert len(found.samples) == 15, "warned of, not dropped"
    assert found.duplicates.groups == {
        "splits": [["test/dog/0", "train/dog/leak"]],
        "classes": [["train/cat/1", "train/dog/wrong"]],
        "same": [["train/cat/2", "train/cat/again"]],
    }
    assert [found.duplicates.count(kind) for kind in ("splits", "classes", "same")] == [1, 1, 1]


def test_equal_files_can_be_refused(doubled, tmp_path):
    with pytest.raises(DataError) as caught:
        prepare(Data(name="folder", path=str(doubled), duplicates="refuse"), tmp_path / "data", Progress())
    assert "test/dog/0 = train/dog/leak" in str(caught.value)
    assert "train/cat/1 = train/dog/wrong" in str(caught.value)
    for name in ("leak", "wrong"):
        (doubled / "train/dog" / f"{name}.png").unlink()
    data = Data(name="folder", path=str(doubled), duplicates="refuse")
    assert len(prepare(data, tmp_path / "data", Progress()).samples) == 13, "twice in a class is no fault"


def test_equal_files_can_be_dropped(doubled, tmp_path):
    data = Data(name="folder", path=str(doubled), duplicates="drop")
    kept = {row.key for row in prepare(data, tmp_path / "data", Progress()).samples.rows}
    assert "test/dog/0" in kept and "train/dog/leak" not in kept
    assert "train/cat/1" not in kept and "train/dog/wrong" not in kept
    assert len(kept & {"train/cat/2", "train/cat/again"}) == 1
    assert len(kept) == 11


def test_a_copy_that_the_validation_slice_takes_is_seen(tmp_path, picture):
    root = tmp_path / "set"
    for shade, name in enumerate(("train/dog", "test/dog", "train/cat", "test/cat")):
        for number in range(8):
            picture(root / name / f"{number}.png", (20 + number, 10 + shade))
    for number in range(8):
        (root / f"train/dog/copy{number}.png").write_bytes((root / f"train/dog/{number}.png").read_bytes())
    data = Data(name="folder", path=str(root), val_fraction=0.5)
    found = prepare(data, tmp_path / "data", Progress()).duplicates
    assert found.count("splits") > 0 and found.count("splits") + found.count("same") == 8
    data = Data(name="folder", path=str(root), val_fraction=0.5, duplicates="drop")
    samples = prepare(data, tmp_path / "data", Progress()).samples
    digests = [row.sha256 for row in samples.rows]
    assert len(digests) == len(set(digests)) == 32


def test_dropping_never_empties_a_class(tmp_path, picture):
    root = tmp_path / "set"
    for name in ("train/dog/1.png", "test/dog/1.png", "train/cat/1.png", "test/cat/1.png"):
        picture(root / name)
    (root / "train/dog/1.png").write_bytes((root / "test/dog/1.png").read_bytes())
    with pytest.raises(DataError, match="dog: no image in train"):
        prepare(Data(name="folder", path=str(root), duplicates="drop"), tmp_path / "data", Progress())


def test_a_validation_split_told_twice_is_refused(tmp_path, picture):
    for split in ("train", "val", "test"):
        for name in ("dog", "cat"):
            picture(tmp_path / "set" / split / name / "1.png")
    data = Data(name="folder", path=str(tmp_path / "set"), val_fraction=0.5)
    with pytest.raises(ParamsError, match="a validation split of its own"):
        prepare(data, tmp_path / "data", Progress())


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("sketch40", "skip", "list.txt"),
        ("stanford40", "split_file", "split.csv"),
        ("stanford40", "splits", {"a": "train"}),
    ],
)
def test_a_key_that_the_data_set_does_not_heed_is_refused(tmp_path, name, key, value):
    with pytest.raises(ParamsError, match=rf"data\.{key}"):
        prepare(Data.model_validate({"name": name, key: value}), tmp_path / "data", Progress())
