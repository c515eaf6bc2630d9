"""torchvision's data sets of images by name, where they lie on disk; nothing is downloaded or unpickled.

    data: {name: torchvision, set: OxfordIIITPet, path: ROOT}

`path` is what torchvision calls `root`. Sets of image files are read where they lie. Those that are arrays
(CIFAR, MNIST, ...) are read by readers of this file, and written once as PNG into tar shards below
`artifacts/data`.
"""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from stillroom.errors import AccessError, DataError, ParamsError, StillroomError, listing
from stillroom.files import require_regular
from stillroom.modalities import pickles
from stillroom.modalities.entries import (
    MEANINGS,
    composed,
    leave_out,
    plain,
    require_every_class,
    require_two_classes,
    skip_list,
)
from stillroom.modalities.images import settings
from stillroom.modalities.images.datasets.table import split_list
from stillroom.modalities.images.preparation.embedded import Embedded, write_out
from stillroom.modalities.images.preparation.labelled import key_of
from stillroom.modalities.images.preparation.png import png
from stillroom.modalities.images.preparation.scan import Account, Entry, scan
from stillroom.modalities.images.settings import MISSING
from stillroom.modalities.remembered import stamp
from stillroom.progress import Progress
from stillroom.samples import SPLITS, UNLABELLED, Samples

TAKES = ("skip", "split_file", "splits", "allow_missing_classes")  # of data's keys
_THREE = {"train": "train", "val": "val", "test": "test"}
_TWO = {"train": "train", "test": "test"}
# Sets of image files: the folder in `root`, and what their splits mean (none: they have none)
FILES: dict[str, tuple[str, dict[str, str]]] = {
    "OxfordIIITPet": ("oxford-iiit-pet", {"trainval": "train", "test": "test"}),
    "Flowers102": ("flowers-102", _THREE),
    "DTD": ("dtd", _THREE),
    "FGVCAircraft": ("fgvc-aircraft-2013b", _THREE),
    "Food101": ("food-101", _TWO),
    "StanfordCars": ("stanford_cars", _TWO),
    "Country211": ("country211", {"train": "train", "valid": "val", "test": "test"}),
    "RenderedSST2": ("rendered-sst2", _THREE),
    "Imagenette": ("imagenette2", {"train": "train", "val": "val"}),
    "EuroSAT": ("eurosat", {}),
    "SUN397": ("SUN397", {}),
}
# Sets of arrays: the folder in `root`; each has a train and a test split
ARRAYS = {
    "CIFAR10": "cifar-10-batches-py",
    "CIFAR100": "cifar-100-python",
    "MNIST": "MNIST/raw",
    "FashionMNIST": "FashionMNIST/raw",
    "KMNIST": "KMNIST/raw",
    "STL10": "stl10_binary",
    "SVHN": "",
}
# Names of classes that lie in no file, as torchvision has them (whose import takes seconds)
IDX_CLASSES = {
    "MNIST": (
        *("0 - zero", "1 - one", "2 - two", "3 - three", "4 - four"),
        *("5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine"),
    ),
    "FashionMNIST": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "KMNIST": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}
FREE, SWELL = 2**26, 20  # bytes, and times its own size, that a .mat file may become in memory
AGAIN = "download the set again"


class Data(settings.Data):
    """`data` of torchvision's data sets."""

    # the name of the class in torchvision.datasets
    set: Literal[*FILES, *ARRAYS] | None = None  # type: ignore[valid-type]

    def place(self) -> str | None:
        """The folder of the set."""
        if self.path is None or self.set is None:
            return self.path
        return os.path.join(self.path, ARRAYS[self.set] if self.set in ARRAYS else FILES[self.set][0])


@dataclass
class Block:
    """Images of one file of arrays.

    Attributes:
        file: where they lie.
        labels: int [n].
        pixels: gives the pixels of one: uint8 [H, W] or [H, W, 3].
    """

    file: Path
    labels: np.ndarray
    pixels: Callable[[int], np.ndarray]


def load(data: Data, folder: Path, progress: Progress, account: Account) -> Samples:
    """The images of a set of torchvision; see `datasets.load`.

    Raises:
        ParamsError: there is no `data.path` or no `data.set`, or a split that the set does not have.
        DataError: files are missing, damaged or not what they should be.
    """
    place = data.place()
    if data.path is None or data.set is None or place is None:
        lacking = (
            "path, the folder that torchvision calls root" if data.path is None else "set, its name there"
        )
        raise ParamsError(
            f"data.name = 'torchvision' needs data.{lacking}",
            f"known are {', '.join([*FILES, *ARRAYS])}",
            "for example --set data.path=datasets --set data.set=OxfordIIITPet",
        )
    if not Path(place).is_dir():
        raise DataError(
            f"{place} is not there, the folder of {data.set}",
            "data.path is what torchvision calls root, and nothing is downloaded",
            f"download it there: torchvision.datasets.{data.set}(root, download=True)",
        )
    if data.set in ARRAYS:
        return _arrays(data, Path(place), folder, progress, account)
    entries, classes = _files(data, Path(place))
    entries = leave_out(entries, Path(data.skip) if data.skip else None, Path(place), account, "IMAGE")
    require_two_classes(classes, place)
    require_every_class(entries, classes, MISSING, allowed=data.allow_missing_classes)
    return Samples("torchvision", classes, scan(entries, Path(place), progress, account), Path(place))


def _files(data: Data, root: Path) -> tuple[list[Entry], tuple[str, ...]]:
    """The entries of a set of image files, and its classes."""
    assert data.path is not None and data.set is not None
    words = _words(data, FILES[data.set][1])
    split_of = None
    if data.split_file:
        known = ", ".join(_THREE)
        split_of = split_list(Path(data.split_file), lambda word: MEANINGS.get(word.casefold()), known)
    elif not {"train", "test"} <= set(words.values()):
        own = FILES[data.set][1]
        fix = (
            "write one, with the columns file (a path from there) and split: --set data.split_file=split.csv"
        )
        if own:
            fix = "to measure results on val: --set 'data.splits={train: train, val: test}'"
        raise DataError(
            f"{data.set} has no split of its own for {'the test' if own else 'train and test'}: {root}",
            fix=fix,
        )
    entries, unnamed = [], []
    classes: tuple[str, ...] = ()
    for word, means in (words or {"": "train"}).items():
        made = _made(data.set, data.path, word)
        found = _listed(made, data.set)
        named = getattr(made, "classes", None)
        numbers = {label for _, label in found}
        own_classes = tuple(map(str, named or range(max(numbers, default=-1) + 1)))
        if classes and named and own_classes != classes:
            raise DataError(f"{root}: its splits have other classes", fix=AGAIN)
        classes = own_classes if len(own_classes) > len(classes) else classes
        for file, label in found:
            path = Path(os.path.relpath(file, root)).as_posix()
            if path.startswith("..") or not plain(path) or not 0 <= label < len(own_classes):
                raise DataError(f"{root}: {path!a:.200} of class {label} is not of this set", fix=AGAIN)
            split = means if split_of is None else split_of.get(composed(path))
            if split is None:
                unnamed.append(path)
            else:
                entries.append(Entry(key_of(path), path, split, -1 if split == UNLABELLED else label))
    if unnamed:
        raise DataError(
            f"{data.split_file} (data.split_file) does not name {len(unnamed):,} images of the set:\n"
            f"{listing(sorted(unnamed))}",
            fix="give each a line",
        )
    return entries, classes


def _words(data: Data, own: dict[str, str]) -> dict[str, str]:
    """torchvision's words for splits that are read, and what they mean."""
    odd = [word for word in data.splits if word not in own]
    if odd:
        raise ParamsError(
            f"data.splits names {odd[0]}, and {data.set} has no such split",
            fix=f"it has {', '.join(own) or 'none'}",
        )
    words: dict[str, str] = {**data.splits} or own
    for split in words.values():
        twice = [word for word in words if words[word] == split]
        if len(twice) > 1:
            raise ParamsError(f"data.splits: {' and '.join(twice)} both mean {split}", fix="name one of them")
    return words


def _made(name: str, root: str, word: str) -> Any:
    """A data set of torchvision."""
    import torchvision

    try:
        return getattr(torchvision.datasets, name)(root, **({"split": word} if word else {}), download=False)
    except PermissionError as error:
        raise AccessError(error.filename or root) from None
    except Exception as error:  # whatever a damaged set makes it run into
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"torchvision cannot open {name} in {root}", why, AGAIN) from None


def _listed(made: Any, name: str) -> list[tuple[str, int]]:
    """The files and labels of a data set of torchvision, some of them compared with what it gives."""
    pairs = next((getattr(made, one) for one in ("_samples", "samples") if hasattr(made, one)), None)
    if pairs is None:
        files = getattr(made, "_image_files", getattr(made, "_images", None))
        labels = getattr(made, "_labels", None)
        pairs = [] if files is None or labels is None else list(zip(files, labels, strict=True))
    found = [(str(file), int(label)) for file, label in pairs]
    same = len(found) == len(made)
    for place in sorted({0, len(made) // 2, len(made) - 1}) if same and found else []:
        same = same and _same(made, place, *found[place])
    if not same:
        import torchvision

        raise StillroomError(
            f"torchvision {torchvision.__version__} keeps the files of {name} otherwise than is known here",
            fix="list them in a table: --set data.name=table",
        )
    return found


def _same(made: Any, place: int, file: str, label: int) -> bool:
    """Whether a data set gives this file's picture and this label."""
    from PIL import Image

    try:
        picture, given = made[place]
        with Image.open(file) as opened:
            return int(given) == label and picture.tobytes() == opened.convert("RGB").tobytes()
    except Exception:  # damaged: the scan says so
        return True


def _arrays(data: Data, root: Path, folder: Path, progress: Progress, account: Account) -> Samples:
    """A set of arrays, as PNG in shards."""
    assert data.set is not None
    if data.split_file:
        raise ParamsError(f"data.split_file: {data.set} has a split of its own", fix="remove data.split_file")
    words = _words(data, _TWO)
    if not {"train", "test"} <= set(words.values()):
        raise ParamsError("data.splits leaves no train or no test", fix="remove data.splits")
    try:
        classes, blocks = _READERS[data.set](root, data.set)
    except PermissionError as error:
        raise AccessError(error.filename or root) from None
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{error.filename} is not there", f"{root} is to hold {data.set}", AGAIN) from None
    except Exception as error:  # whatever a damaged set runs into
        why = f"{type(error).__name__}: {error}"[:300]
        raise DataError(f"{root} does not hold {data.set} as it is published", why, AGAIN) from None
    for some in blocks.values():
        for block in some:
            if len(block.labels) and not 0 <= block.labels.min() <= block.labels.max() < len(classes):
                raise DataError(f"{block.file} has labels that are none of {len(classes)} classes", fix=AGAIN)
    parts = {split: blocks[word] for word, split in words.items()}
    require_two_classes(classes, root)
    require_every_class(
        [
            SimpleNamespace(split=split, label=label)
            for split, some in parts.items()
            for label in sorted({int(one) for block in some for one in np.unique(block.labels)})
        ],
        classes,
        MISSING,
        allowed=data.allow_missing_classes,
    )
    skip = skip_list(Path(data.skip)) if data.skip else {}
    unknown = dict(skip)
    images = {
        split: _images(split, parts[split], unknown, skip, account) for split in SPLITS if split in parts
    }
    count = sum(len(block.labels) for some in parts.values() for block in some)
    rows, place = write_out("torchvision", classes, images, count, folder, progress, account)
    if unknown:
        raise DataError(
            f"{data.skip} names images that are not in the data set:\n{listing(sorted(unknown.values()))}",
            "a line is a key, such as train/00000000",
            "mend these lines",
        )
    return Samples("torchvision", classes, rows, place)


def _images(
    split: str, blocks: list[Block], unknown: dict[str, str], skip: dict[str, str], account: Account
) -> Iterator[Embedded]:
    """The images of a split. A key is the split and the number of the image in it."""
    number = 0
    for block in blocks:
        mark = stamp(os.stat(block.file))
        for place, label in enumerate(block.labels.tolist()):
            key, number = f"{split}/{number:08d}", number + 1
            if key in skip:
                unknown.pop(key, None)
                account.skipped.append(key)
                continue
            where = f"{block.file.name} image {place + 1}"
            yield Embedded(key, label, png(block.pixels(place)), where, block.file, mark, place)


Blocks = dict[str, list[Block]]  # by torchvision's word for the split


def _cifar(root: Path, name: str) -> tuple[tuple[str, ...], Blocks]:
    """CIFAR-10 or CIFAR-100 as published for Python (Krizhevsky 2009): pickles, read and not run."""
    few = name == "CIFAR10"
    files = {
        "train": [f"data_batch_{number}" for number in range(1, 6)] if few else ["train"],
        "test": ["test_batch" if few else "test"],
    }
    meta = _pickle(root / ("batches.meta" if few else "meta"))
    classes = tuple(map(str, meta["label_names" if few else "fine_label_names"]))
    blocks: Blocks = {"train": [], "test": []}
    for split, names in files.items():
        for one in names:
            content = _pickle(root / one)
            pixels = np.asarray(content["data"])
            labels = np.array(content["labels" if few else "fine_labels"], np.int64)
            if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3072):
                raise ValueError(f"{one}: {pixels.dtype} {pixels.shape} of {len(labels)} labels")
            planes = pixels.reshape(-1, 3, 32, 32)
            blocks[split].append(
                Block(root / one, labels, lambda place, planes=planes: planes[place].transpose(1, 2, 0))  # type: ignore[misc]
            )
    return classes, blocks


def _pickle(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(2, "", str(file))
    found = pickles.load(file, AGAIN)
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} holds no dict")
    return found


def _mnist(root: Path, name: str) -> tuple[tuple[str, ...], Blocks]:
    """MNIST and what is written as it (IDX files; LeCun, Cortes, Burges 1998)."""
    blocks: Blocks = {}
    for split, start in (("train", "train"), ("test", "t10k")):
        images, labels = root / f"{start}-images-idx3-ubyte", root / f"{start}-labels-idx1-ubyte"
        pixels, numbers = _idx(images, 3), _idx(labels, 1)
        if len(pixels) != len(numbers):
            raise ValueError(f"{len(pixels)} images and {len(numbers)} labels")
        blocks[split] = [Block(images, numbers.astype(np.int64), lambda place, pixels=pixels: pixels[place])]  # type: ignore[misc]
    return IDX_CLASSES[name], blocks


def _idx(file: Path, dims: int) -> np.ndarray:
    """An array of bytes from an IDX file, mapped."""
    require_regular(file)
    with file.open("rb") as stream:
        head = stream.read(4 + 4 * dims)
        size = os.fstat(stream.fileno()).st_size
    if len(head) < 4 + 4 * dims or head[:4] != bytes((0, 0, 8, dims)):
        raise ValueError(f"{file.name} is no IDX file of {dims} dimensions")
    shape = struct.unpack(f">{dims}I", head[4:])
    if size != len(head) + int(np.prod([int(one) for one in shape], dtype=object)) or 0 in shape:
        raise ValueError(f"{file.name} has {size:,} bytes, which do not fit to its shape {shape}")
    return np.memmap(file, np.uint8, "r", len(head), shape)


def _stl10(root: Path, name: str) -> tuple[tuple[str, ...], Blocks]:
    """STL-10's labelled images (Coates, Lee, Ng 2011)."""
    classes = tuple((root / "class_names.txt").read_text(encoding="utf-8").split())
    blocks: Blocks = {}
    for split in ("train", "test"):
        labels = np.fromfile(root / f"{split}_y.bin", np.uint8).astype(np.int64) - 1
        file = root / f"{split}_X.bin"
        if file.stat().st_size != len(labels) * 3 * 96 * 96:
            raise ValueError(
                f"{file.name} has {file.stat().st_size:,} bytes, and there are {len(labels)} labels"
            )
        planes = np.memmap(file, np.uint8, "r", shape=(len(labels), 3, 96, 96))
        blocks[split] = [Block(file, labels, lambda place, planes=planes: planes[place].transpose(2, 1, 0))]  # type: ignore[misc]
    return classes, blocks


def _svhn(root: Path, name: str) -> tuple[tuple[str, ...], Blocks]:
    """SVHN's cropped digits (Netzer et al. 2011)."""
    from scipy.io import loadmat, whosmat

    blocks: Blocks = {}
    for split in ("train", "test"):
        file = root / f"{split}_32x32.mat"
        require_regular(file)
        size = sum(int(np.prod(shape, dtype=object)) for _, shape, _ in whosmat(file))  # of bytes, mostly
        if size > FREE + SWELL * file.stat().st_size:
            raise ValueError(f"{file.name} would become {size:,} bytes")
        content = loadmat(file, variable_names=["X", "y"])
        pixels, labels = content["X"], content["y"].astype(np.int64).reshape(-1) % 10  # a 10 is a 0
        if pixels.dtype != np.uint8 or pixels.shape != (32, 32, 3, len(labels)):
            raise ValueError(f"{file.name}: {pixels.dtype} {pixels.shape} of {len(labels)} labels")
        blocks[split] = [Block(file, labels, lambda place, pixels=pixels: pixels[..., place])]  # type: ignore[misc]
    return tuple("0123456789"), blocks


_READERS = {
    "CIFAR10": _cifar,
    "CIFAR100": _cifar,
    "MNIST": _mnist,
    "FashionMNIST": _mnist,
    "KMNIST": _mnist,
    "STL10": _stl10,
    "SVHN": _svhn,
}
