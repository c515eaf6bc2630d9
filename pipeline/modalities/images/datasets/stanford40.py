"""Stanford 40 Actions: the official layout read and checked, its zip files unpacked or downloaded.

Yao, Jiang, Khosla, Lin, Guibas, Fei-Fei: Human Action Recognition by Learning Bases of Action Attributes and
Parts, ICCV 2011; http://vision.stanford.edu/Datasets/40actions.html
"""

import difflib
import hashlib
import math
import os
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from stillroom.errors import DataError, listing
from stillroom.modalities.entries import (
    leave_out,
    require_distinct,
    require_every_class,
    require_two_classes,
)
from stillroom.modalities.images.decode import SUFFIXES
from stillroom.modalities.images.preparation.scan import Account, Entry, require_files, scan
from stillroom.modalities.images.settings import Data
from stillroom.modalities.unzip import unzip
from stillroom.progress import Progress
from stillroom.samples import Samples

ADDRESS = "http://vision.stanford.edu/Datasets"
ADDRESS_VARIABLE = "STILLROOM_STANFORD40_URL"  # environment: a mirror to download from instead of ADDRESS
DOWNLOADS = Path("artifacts/downloads/stanford40")
TAKES = ("skip",)  # of data's keys
PARTS = ("ImageSplits", "XMLAnnotations", "JPEGImages")  # small ones first: a wrong address shows at once

TRAIN_PER_CLASS = 100
TRAIN_IMAGES = 4_000
TEST_IMAGES = 5_532
# of the files as published, with their CRLF line ends
SPLIT_SHA256 = {
    "train": "e1c27a2ef8a4b8100a7c385fc614c35014a42b07acbaad31323d1821d2134cfa",
    "test": "7bb1829a583031e23fde94dba8bfa195d8d3e626580c5ee19c56e937e5ace05f",
}
OTHER_COPY = "use another copy, or set data.official: false if the data set is meant to differ"

MAX_XML_BYTES = 2**20  # an official annotation has under 1 KB

# The published names and spelling ("frisby"), sorted: the class order, which is also the order of the labels.
CLASSES = (
    "applauding",
    "blowing_bubbles",
    "brushing_teeth",
    "cleaning_the_floor",
    "climbing",
    "cooking",
    "cutting_trees",
    "cutting_vegetables",
    "drinking",
    "feeding_a_horse",
    "fishing",
    "fixing_a_bike",
    "fixing_a_car",
    "gardening",
    "holding_an_umbrella",
    "jumping",
    "looking_through_a_microscope",
    "looking_through_a_telescope",
    "phoning",
    "playing_guitar",
    "playing_violin",
    "pouring_liquid",
    "pushing_a_cart",
    "reading",
    "riding_a_bike",
    "riding_a_horse",
    "rowing_a_boat",
    "running",
    "shooting_an_arrow",
    "smoking",
    "taking_photos",
    "texting_message",
    "throwing_frisby",
    "using_a_computer",
    "walking_the_dog",
    "washing_dishes",
    "watching_TV",
    "waving_hands",
    "writing_on_a_board",
    "writing_on_a_book",
)


def read(
    root: Path,
    *,
    official: bool,
    progress: Progress,
    dataset: str = "stanford40",
    skip: Path | None = None,
    account: Account | None = None,
) -> Samples:
    """Read a folder of the official layout.

    `JPEGImages/CLASS_123.jpg`; `ImageSplits/train.txt` and `test.txt` with an image name a line;
    `ImageSplits/actions.txt` with a header and a class name a line, counts after tabs;
    `XMLAnnotations/CLASS_123.xml` with the person's box. LF and CRLF line ends are read alike. Where one of
    the three folders is missing and `Stanford40_FOLDER.zip` lies in `root`, that is unpacked beside it first.

    The class order is the sorted order of the names in `actions.txt`. A box is (xmin, ymin, xmax, ymax) in
    pixels, cut to the image. It is None where there is no annotation, or where the annotation was made on an
    image of another size (its `<size>` says so); `progress` gets a note of how many.

    Args:
        root: the folder.
        official: check names, counts and split digests against the published data set, and want every
            annotation.
        progress: gets the steps of unpacking and of the scan.
        dataset: the name in the table.
        skip: a list of images to leave out (`entries.leave_out`); not with `official`.
        account: gets the formats, and what was left out.

    Raises:
        DataError: something is missing, malformed or unreadable, or an official check failed. All faults of a
            kind are named at once, with what was expected and found.
    """
    _unpack(root, official, progress)
    actions = _read_actions(root / "ImageSplits" / "actions.txt")
    classes = CLASSES if official else actions
    entries = _read_splits(root, classes)
    account = Account() if account is None else account
    if official:
        _check_official(root, actions, entries)
        if skip is not None:
            raise DataError(
                f"data.skip = {str(skip)!r} would leave out images of the published data set",
                "results are compared with published ones only on the published images and splits",
                "set data.official to false, or remove data.skip",
            )
    entries = leave_out(entries, skip, root, account)
    require_two_classes(classes, root)
    require_distinct(entries)
    require_every_class(
        entries,
        classes,
        f"take these names out of {root / 'ImageSplits' / 'actions.txt'}, or add images to the splits",
    )
    require_files(entries, root)
    boxes, drawn_on = _read_annotations(root, entries, official)
    rows = scan([replace(entry, box=boxes.get(entry.key)) for entry in entries], root, progress, account)

    left_out = 0
    faults = []
    checked = []
    for row in rows:
        box = row.box
        if box and drawn_on[row.key] not in (None, row.size):
            left_out += 1
            box = None
        if box:
            width, height = row.size
            box = (max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height))
            if box[0] >= box[2] or box[1] >= box[3]:
                faults.append(
                    f"{row.key}.xml: the box {row.box} has no pixel of the {width} x {height} image"
                )
        checked.append(replace(row, box=box))
    if faults:
        raise _bad_annotations(root, faults)
    if left_out:
        progress.note(
            f"{left_out:,} of {len(rows):,} annotations were made on images of another size: "
            "these samples have no box"
        )
    return Samples(dataset, classes, tuple(checked), root)


def load(data: Data, folder: Path, progress: Progress, account: Account) -> Samples:
    """The data set at `data.path`, or downloaded; see `datasets.load`."""
    root = DOWNLOADS if data.path is None else Path(data.path)
    if data.path is None:
        download(root, progress=progress)
    skip = Path(data.skip) if data.skip else None
    return read(root, official=data.official, progress=progress, skip=skip, account=account)


def download(
    folder: Path, base: str | None = None, progress: Progress | None = None, pause: float = 1.0
) -> None:
    """Bring the three official zip files into `folder`, each resumed where it stopped, and unpack them there.

    What is there already (a folder, or a complete zip file) is not fetched again.

    Args:
        folder: where to.
        base: the address that the file names are put behind. None: the environment variable
            `STILLROOM_STANFORD40_URL` (for mirrors), or else `ADDRESS`.
        progress: gets the steps of downloads and of unpacking.
        pause: seconds before the second attempt of a failed request.

    Raises:
        DataError: a file cannot be downloaded, or is no zip; the message says how to place the files by hand.
    """
    from stillroom.modalities.images.preparation.download import (
        fetch,  # here: reading a local copy needs no HTTP client
    )

    progress = progress or Progress()
    base = (base or os.environ.get(ADDRESS_VARIABLE) or ADDRESS).rstrip("/")
    by_hand = (
        f"put {', '.join(_zip_name(part) for part in PARTS)} into a folder by hand and set data.path to it; "
        f"or set {ADDRESS_VARIABLE} to the address of a mirror; or run the command again to go on"
    )
    for part in PARTS:
        file = folder / _zip_name(part)
        if (folder / part).is_dir():
            continue
        fetch(f"{base}/{file.name}", file, progress, by_hand=by_hand, pause=pause)
        if not zipfile.is_zipfile(file):
            with file.open("rb") as source:
                start = source.read(60)
            file.unlink()
            raise DataError(f"{base}/{file.name} is not a zip file", f"it begins with {start!r}", by_hand)
        unzip(file, folder / part, progress)


def _zip_name(part: str) -> str:
    return f"Stanford40_{part}.zip"


def _unpack(root: Path, official: bool, progress: Progress) -> None:
    if not root.is_dir():
        raise DataError(f"{root} is not a folder", fix="set data.path to the folder that holds the data set")
    wanted = [part for part in PARTS if not (root / part).is_dir() and (official or part != "XMLAnnotations")]
    missing = [part for part in wanted if not (root / _zip_name(part)).is_file()]
    if missing:
        raise DataError(
            f"{root} does not hold the official layout:\n"
            + listing([f"neither {part}/ nor {_zip_name(part)}" for part in missing]),
            fix=f"set data.path to the folder that holds {', '.join(PARTS)}, as folders or as zip files",
        )
    for part in PARTS:
        if not (root / part).is_dir() and (root / _zip_name(part)).is_file():
            unzip(root / _zip_name(part), root / part, progress)


def _lines(file: Path) -> list[str]:
    """The lines of a text file that are not blank, without line ends (LF, CRLF) and outer white space."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read", str(error), "use another copy of it") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read_actions(file: Path) -> tuple[str, ...]:
    names = [line.split()[0] for line in _lines(file)]
    if names[:1] == ["action_name"]:
        names = names[1:]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise DataError(
            f"{file} " + (f"names classes twice:\n{listing(twice)}" if twice else "names no class"),
            fix="edit it",
        )
    return tuple(sorted(names))


def _read_splits(root: Path, classes: tuple[str, ...]) -> list[Entry]:
    entries = []
    faults = []
    for split in ("train", "test"):
        for name in _lines(root / "ImageSplits" / f"{split}.txt"):
            form = re.fullmatch(r"([^/\\]+)_(\d+)(\.\w+)", name)
            if not form or form[3].lower() not in SUFFIXES:
                faults.append(f"{split}.txt: {name!r} is not of the form CLASS_123.jpg")
            elif form[1] not in classes:
                near = difflib.get_close_matches(form[1], classes, n=3, cutoff=0.5)
                hint = f"nearest: {', '.join(near)}" if near else f"classes: {', '.join(classes)}"
                faults.append(f"{split}.txt: {name}: unknown class {form[1]!r}; {hint}")
            else:
                key = name.removesuffix(form[3])
                entries.append(Entry(key, f"JPEGImages/{name}", split, classes.index(form[1])))
    if faults:
        raise DataError(
            f"{root / 'ImageSplits'} has lines that cannot be used:\n{listing(faults)}",
            "a line names an image, and the image's name begins with a class of actions.txt",
            "mend these lines, or use another copy of the files",
        )
    return entries


def _check_official(root: Path, actions: tuple[str, ...], entries: list[Entry]) -> None:
    """Compare with the published data set, by content; every failed check is named."""
    faults = []
    if actions != CLASSES:
        faults.append(
            f"actions.txt: expected the {len(CLASSES)} published names, found {len(actions)}; "
            f"lacking: {', '.join(sorted(set(CLASSES) - set(actions))) or 'none'}; "
            f"not published: {', '.join(sorted(set(actions) - set(CLASSES))) or 'none'}"
        )
    for split, expected in SPLIT_SHA256.items():
        # line ends are no content: git writes LF where the published file has CRLF
        lines = (root / "ImageSplits" / f"{split}.txt").read_bytes().splitlines()
        digest = hashlib.sha256(b"".join(line + b"\r\n" for line in lines)).hexdigest()
        if digest != expected:
            faults.append(f"{split}.txt: expected sha256 {expected}, found {digest} (with CRLF line ends)")
    names = {split: [entry.path for entry in entries if entry.split == split] for split in SPLIT_SHA256}
    for split, count in (("train", TRAIN_IMAGES), ("test", TEST_IMAGES)):
        if len(names[split]) != count:
            faults.append(f"{split}.txt: expected {count:,} images, found {len(names[split]):,}")
    for label, name in enumerate(CLASSES):
        in_train = sum(entry.label == label and entry.split == "train" for entry in entries)
        if in_train != TRAIN_PER_CLASS:
            faults.append(f"train.txt: expected {TRAIN_PER_CLASS} images of {name}, found {in_train}")
    both = sorted(set(names["train"]) & set(names["test"]))
    if both:
        faults.append(f"expected no image in both splits, found {len(both)}: {', '.join(both[:5])}")
    present = {
        f"JPEGImages/{file.name}"
        for file in (root / "JPEGImages").iterdir()
        if file.suffix.lower() in SUFFIXES
    }
    if len(present) != TRAIN_IMAGES + TEST_IMAGES:
        listed = set(names["train"]) | set(names["test"])
        faults.append(
            f"JPEGImages: expected {TRAIN_IMAGES + TEST_IMAGES:,} images, found {len(present):,}; "
            f"lacking: {_some(listed - present)}; in no split: {_some(present - listed)}"
        )
    if faults:
        raise DataError(
            f"{root} is not the published Stanford 40 Actions:\n{listing(faults)}",
            "results are compared with published ones only on the published images and splits",
            OTHER_COPY,
        )


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:10]) or "none"
    return shown + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


Box = tuple[int, int, int, int]


def _read_annotations(
    root: Path, entries: list[Entry], official: bool
) -> tuple[dict[str, Box], dict[str, tuple[int, int] | None]]:
    """The person boxes by key, and the image size that each was made on where the annotation says."""
    boxes = {}
    drawn_on = {}
    missing = []
    faults = []
    for entry in entries:
        file = root / "XMLAnnotations" / f"{entry.key}.xml"
        try:
            boxes[entry.key], drawn_on[entry.key] = _read_annotation(file)
        except FileNotFoundError:
            missing.append(file.name)
        except (OSError, ValueError, OverflowError, ElementTree.ParseError) as error:
            faults.append(f"{file.name}: {error}")
    if faults:
        raise _bad_annotations(root, faults)
    if missing and official:
        raise DataError(
            f"{len(missing):,} annotations are not in {root / 'XMLAnnotations'}:\n{listing(sorted(missing))}",
            "the published data set has one for every image",
            f"unpack {_zip_name('XMLAnnotations')} again, or set data.official: false",
        )
    return boxes, drawn_on


def _read_annotation(file: Path) -> tuple[Box, tuple[int, int] | None]:
    """The first object's box and the `<size>` of one annotation; ValueError says what is wrong with it.

    A document type or an entity is refused before the parser sees it: entities can be nested to fill the
    memory, and can name other files (the "XML vulnerabilities" section of Python's documentation). Decoding
    first makes sure of it: in UTF-16 the words would not be found among the bytes.
    """
    with file.open("rb") as source:
        data = source.read(MAX_XML_BYTES + 1)
    if len(data) > MAX_XML_BYTES:
        raise ValueError(f"more than {MAX_XML_BYTES:,} bytes")
    text = data.decode("utf-8-sig")
    for word in ("<!DOCTYPE", "<!ENTITY"):
        if word.lower() in text.lower():
            raise ValueError(f"holds {word}, which no annotation needs")
    tree = ElementTree.fromstring(text)
    box = tree.find("object/bndbox")
    if box is None:
        raise ValueError("no object with a bndbox")
    xmin, ymin, xmax, ymax = (_pixels(box, name) for name in ("xmin", "ymin", "xmax", "ymax"))
    if xmin >= xmax or ymin >= ymax:
        raise ValueError(f"the box ({xmin}, {ymin}, {xmax}, {ymax}) is empty")
    size = tree.find("size")
    return (xmin, ymin, xmax, ymax), None if size is None else (
        _pixels(size, "width"),
        _pixels(size, "height"),
    )


def _pixels(parent: ElementTree.Element, name: str) -> int:
    text = parent.findtext(name, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{parent.tag}/{name} is {text!r}, expected a number of pixels")
    return round(value)


def _bad_annotations(root: Path, faults: list[str]) -> DataError:
    return DataError(
        f"{len(faults):,} bad annotations in {root / 'XMLAnnotations'}:\n{listing(sorted(faults))}",
        fix="use another copy of these files, or remove them and set data.official: false",
    )
