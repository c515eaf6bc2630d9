"""`prepare` picks the data set that the parameters name and sets the validation slice aside."""

import pytest

from pipeline.config import Data
from pipeline.datasets import prepare
from pipeline.errors import DataError, ParamsError
from pipeline.progress import Progress


def counts(samples):
    return {split: len(samples.of(split)) for split in ("train", "val", "test")}


def test_an_official_layout_is_read_from_its_path_and_split(layout, tmp_path):
    root = layout({"drinking": (8, 2), "fishing": (4, 2)})
    data = Data(name="stanford40", path=str(root), official=False, val_fraction=0.25)
    samples = prepare(data, tmp_path / "data", Progress())
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
    samples = prepare(Data(name="stanford40", official=False), tmp_path / "artifacts" / "data", Progress())
    assert counts(samples) == {"train": 5, "val": 0, "test": 3}
    assert samples.root.as_posix() == "artifacts/downloads/stanford40"


def test_a_folder_of_classes_is_read_and_needs_a_path(tmp_path, picture):
    for name in ("train/dog/1.jpg", "train/cat/1.jpg", "test/cat/1.jpg", "test/dog/1.jpg"):
        picture(tmp_path / "set" / name)
    samples = prepare(Data(name="folder", path=str(tmp_path / "set")), tmp_path / "data", Progress())
    assert counts(samples) == {"train": 2, "val": 0, "test": 2}
    with pytest.raises(ParamsError, match=r"data\.path"):
        prepare(Data(name="folder"), tmp_path / "data", Progress())


def test_the_drawn_set_is_drawn_and_read(tmp_path):
    data = Data(name="sketch40", train_per_class=4, test_per_class=1, image_size=32, val_fraction=0.25)
    samples = prepare(data, tmp_path / "data", Progress())
    assert samples.dataset == "sketch40"
    assert len(samples.classes) == 40
    assert counts(samples) == {"train": 120, "val": 40, "test": 40}
    assert samples.root == tmp_path / "data" / "sketch40"
    assert not (tmp_path / "data" / "samples.json").exists(), "the table is the caller's to write"


def test_a_path_that_the_drawn_set_would_ignore_is_refused(tmp_path):
    with pytest.raises(ParamsError, match="reads no folder"):
        prepare(Data(name="sketch40", path=str(tmp_path)), tmp_path / "data", Progress())
