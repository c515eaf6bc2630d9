"""torchvision's data sets by name, from the files that its own download leaves; none is unpickled."""

import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision as vision
from PIL import Image
from scipy.io import savemat

from stillroom.errors import StillroomError
from stillroom.modalities.images.datasets import torchvision
from stillroom.modalities.images.decode import decode
from stillroom.modalities.images.pixels import Pixels
from stillroom.modalities.images.preparation.png import png
from stillroom.modalities.images.preparation.scan import Account
from stillroom.progress import Progress
from stillroom.samples import Samples

RANDOM = np.random.default_rng(0)


def read(root: Path, name: str, out: Path | None = None, account: Account | None = None, **keys) -> Samples:
    data = torchvision.Data(name="torchvision", path=str(root), set=name, **keys)
    return torchvision.load(data, out or root / "out", Progress(), account or Account())


def refused(root: Path, name: str | None, out: Path | None = None, **keys) -> str:
    with pytest.raises(StillroomError) as caught:
        read(root, name, out, **keys)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.fixture
def pets(tmp_path, picture):
    base = tmp_path / "oxford-iiit-pet"
    lines = {"trainval": [], "test": []}
    for label, name in enumerate(("Abyssinian", "beagle_mix"), 1):
        for number in range(4):
            picture(base / "images" / f"{name}_{number}.jpg", (20 + number, 16))
            lines["trainval" if number < 3 else "test"].append(f"{name}_{number} {label} 1 1")
    (base / "annotations").mkdir()
    for split, some in lines.items():
        (base / "annotations" / f"{split}.txt").write_text("\n".join(some) + "\n")
    return tmp_path


def test_a_set_of_files_is_read_where_it_lies(pets):
    samples = read(pets, "OxfordIIITPet")
    assert samples.classes == ("Abyssinian", "Beagle Mix") and samples.splits() == {"train": 6, "test": 2}
    assert samples.root == pets / "oxford-iiit-pet" and not (pets / "out").exists()
    row = samples.rows[samples.row_of("images/beagle_mix_3")]
    assert (row.path, row.split, row.label, row.size) == ("images/beagle_mix_3.jpg", "test", 1, (23, 16))
    made = vision.datasets.OxfordIIITPet(pets, "trainval")
    keys = [Path(file).stem for file in made._images]
    for key, (picture, label) in zip(keys, made, strict=True):
        row = samples.rows[samples.row_of(f"images/{key}")]
        assert row.label == label and np.array_equal(Pixels(samples)[row], np.asarray(picture))


def test_a_given_validation_split_is_used(tmp_path, picture):
    base = tmp_path / "dtd/dtd"
    (base / "labels").mkdir(parents=True)
    for split in ("train", "val", "test"):
        names = [f"{kind}/{kind}_{split}.jpg" for kind in ("banded", "woven")]
        for name in names:
            picture(base / "images" / name)
        (base / "labels" / f"{split}1.txt").write_text("\n".join(names) + "\n")
    assert read(tmp_path, "DTD").splits() == {"train": 2, "val": 2, "test": 2}
    words = {"train": "train", "test": "test"}
    assert read(tmp_path, "DTD", splits=words).splits() == {"train": 2, "test": 2}
    assert "DTD has no such split" in refused(tmp_path, "DTD", splits={"trainval": "train"})


def test_a_set_without_a_split_takes_a_split_file(tmp_path, picture):
    lines = ["file,split"]
    for kind in ("Forest", "River"):
        for number in range(3):
            picture(tmp_path / f"eurosat/2750/{kind}/{kind}_{number}.jpg")
            lines.append(f"2750/{kind}/{kind}_{number}.jpg,{'train' if number else 'test'}")
    message = refused(tmp_path, "EuroSAT")
    assert "EuroSAT has no split of its own" in message and "data.split_file=split.csv" in message
    (tmp_path / "split.csv").write_text("\n".join(lines))
    samples = read(tmp_path, "EuroSAT", split_file=str(tmp_path / "split.csv"))
    assert samples.splits() == {"train": 4, "test": 2} and samples.classes == ("Forest", "River")
    (tmp_path / "split.csv").write_text("\n".join(lines[:-1]))
    message = refused(tmp_path, "EuroSAT", split_file=str(tmp_path / "split.csv"))
    assert "does not name 1 images of the set:\n    2750/River/River_2.jpg" in message


def cifar(root: Path, labels: list[int], names: list[str]) -> np.ndarray:
    """The files of CIFAR-10, with few images; the pixels of all."""
    base = root / "cifar-10-batches-py"
    base.mkdir(parents=True)
    pixels = RANDOM.integers(0, 256, (6, len(labels), 3072), dtype=np.uint8)
    for number in range(6):
        content = {"batch_label": "x", "labels": labels, "data": pixels[number]}
        name = "test_batch" if number == 5 else f"data_batch_{number + 1}"
        (base / name).write_bytes(pickle.dumps(content, protocol=2))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))
    return pixels.reshape(6, -1, 3, 32, 32).transpose(0, 1, 3, 4, 2)


def test_arrays_become_pictures_that_lose_nothing(tmp_path):
    pixels = cifar(tmp_path, [1, 0, 1], ["plane", "car"])
    samples = read(tmp_path, "CIFAR10")
    assert samples.classes == ("plane", "car") and samples.splits() == {"train": 15, "test": 3}
    for row in samples.rows:
        split, number = row.key.split("/")
        batch, place = divmod(int(number), 3) if split == "train" else (5, int(number))
        assert np.array_equal(Pixels(samples)[row], pixels[batch, place]) and row.label == [1, 0, 1][place]
    assert sorted(file.name for file in samples.root.iterdir()) == [
        "dataset.json",
        "test-000000.tar",
        "train-000000.tar",
    ]
    # the same bytes each time
    again = read(tmp_path, "CIFAR10", tmp_path / "again")
    assert again.rows == samples.rows
    (tmp_path / "skip.txt").write_text("train/00000003\n")
    account = Account()
    assert len(read(tmp_path, "CIFAR10", tmp_path / "x", account, skip=str(tmp_path / "skip.txt"))) == 17
    assert account.skipped == ["train/00000003"]


def test_a_pickle_that_runs_something_is_refused(tmp_path):
    cifar(tmp_path, [1, 0], ["plane", "car"])

    class Run:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    file = tmp_path / "cifar-10-batches-py/data_batch_3"
    file.write_bytes(pickle.dumps({"data": Run(), "labels": [1]}))
    message = refused(tmp_path, "CIFAR10")
    assert "data_batch_3 is refused" in message and "open" in message and not (tmp_path / "ran").exists()
    file.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.float32), "labels": [1, 0]}))
    assert "does not hold CIFAR10 as it is published" in refused(tmp_path, "CIFAR10")
    file.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2]}))
    assert "labels that are none of 2 classes" in refused(tmp_path, "CIFAR10")
    file.unlink()
    assert "data_batch_3 is not there" in refused(tmp_path, "CIFAR10")


def mnist(base: Path, counts: dict[str, int]) -> dict[str, np.ndarray]:
    base.mkdir(parents=True)
    made = {}
    for start, count in counts.items():
        pixels = RANDOM.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (base / f"{start}-images-idx3-ubyte").write_bytes(
            struct.pack(">4I", 2051, count, 28, 28) + pixels.tobytes()
        )
        labels = bytes(number % 10 for number in range(count))
        (base / f"{start}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, count) + labels)
        made[start] = pixels
    return made


def test_grey_arrays_are_read_from_their_files(tmp_path):
    pixels = mnist(tmp_path / "FashionMNIST/raw", {"train": 20, "t10k": 10})
    samples = read(tmp_path, "FashionMNIST")
    assert samples.classes == tuple(vision.datasets.FashionMNIST.classes)
    assert samples.splits() == {"train": 20, "test": 10}
    row = samples.rows[samples.row_of("test/00000007")]
    assert row.label == 7 and (Pixels(samples)[row] == pixels["t10k"][7][..., None]).all()
    for name, classes in torchvision.IDX_CLASSES.items():
        assert classes == tuple(getattr(vision.datasets, name).classes)
    file = tmp_path / "FashionMNIST/raw/train-images-idx3-ubyte"
    whole = file.read_bytes()
    for content in (b"", whole[:-1], b"\0\0\x08\x01" + whole[4:], whole[:8] + b"\xff" * 8 + whole[16:]):
        file.write_bytes(content)
        assert "does not hold FashionMNIST" in refused(tmp_path, "FashionMNIST", tmp_path / "x")


def test_stl10_and_svhn(tmp_path):
    base = tmp_path / "stl10_binary"
    base.mkdir()
    (base / "class_names.txt").write_text("airplane\nbird\n")
    pixels = RANDOM.integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    for split in ("train", "test"):
        (base / f"{split}_X.bin").write_bytes(pixels.tobytes())
        (base / f"{split}_y.bin").write_bytes(bytes((1, 2)))
    samples = read(tmp_path, "STL10")
    first = Pixels(samples)[samples.rows[samples.row_of("train/00000000")]]
    assert np.array_equal(first, pixels[0].transpose(2, 1, 0)) and samples.classes == ("airplane", "bird")
    tiles = RANDOM.integers(0, 256, (32, 32, 3, 10), dtype=np.uint8)
    for split in ("train", "test"):
        savemat(tmp_path / f"{split}_32x32.mat", {"X": tiles, "y": np.arange(1, 11)[:, None]})
    samples = read(tmp_path, "SVHN", tmp_path / "svhn")
    row = samples.rows[samples.row_of("test/00000009")]
    assert row.label == 0 and np.array_equal(Pixels(samples)[row], tiles[..., 9])


def test_what_is_not_there_is_said(tmp_path, pets):
    message = refused(tmp_path / "none", "CIFAR10")
    assert "cifar-10-batches-py is not there" in message and "nothing is downloaded" in message
    assert "needs data.set" in refused(tmp_path, None)
    with pytest.raises(StillroomError, match=r"needs data\.path"):
        torchvision.load(torchvision.Data(name="torchvision", set="DTD"), tmp_path, Progress(), Account())
    (pets / "oxford-iiit-pet/annotations/test.txt").write_text("one two\n")
    assert "torchvision cannot open OxfordIIITPet" in refused(pets, "OxfordIIITPet")
    (pets / "oxford-iiit-pet/annotations/test.txt").write_text("Abyssinian_9 1 1 1\nbeagle_mix_3 2 1 1\n")
    message = refused(pets, "OxfordIIITPet")
    assert "1 image not found" in message and "images/Abyssinian_9.jpg" in message


@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 3), (300, 260), (97, 251, 3)])
def test_a_png_of_an_array_is_one_to_every_reader(shape):
    pixels = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    content = png(pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)
    expected = pixels if len(shape) == 3 else np.repeat(pixels[..., None], 3, axis=2)
    assert np.array_equal(decode(content), expected)


def test_arrays_that_would_become_far_more_are_refused(tmp_path):
    pixels, labels = np.zeros((32, 32, 3, 60_000), np.uint8), np.ones((60_000, 1), np.uint8)
    for split in ("train", "test"):
        savemat(tmp_path / f"{split}_32x32.mat", {"X": pixels, "y": labels}, do_compression=True)
    assert "would become" in refused(tmp_path, "SVHN", tmp_path / "out")


def test_a_pipe_is_no_array(tmp_path):
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "train-images-idx3-ubyte")
    assert "no regular file" in refused(tmp_path, "MNIST", tmp_path / "out")
