"""The scan: every image is read, decoded in full and digested before anything trusts it."""

import hashlib
import warnings
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from pipeline.errors import DataError, listing
from pipeline.machine import cores
from pipeline.progress import Progress
from pipeline.samples import Sample

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

# What may be decoded. Left open, PIL would also try formats that run other programs (EPS: Ghostscript).
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")

# Pixels above which PIL warns of a decompression bomb by default (a quarter of a GiB as RGB). Our own number:
# PIL's is a global that any library may lift, and a warning stops nothing.
MAX_PIXELS = 89_478_485

EXIF_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class Entry:
    """A sample before its file has been opened; the attributes are those of `pipeline.samples.Sample`."""

    key: str
    path: str
    split: str
    label: int
    box: tuple[int, int, int, int] | None = None


def scan(entries: list[Entry], root: Path, progress: Progress) -> tuple[Sample, ...]:
    """Open every image, in threads (PIL lets others run while it decodes).

    Args:
        entries: what the data set's reader found, in any order.
        root: the folder that their paths start from.
        progress: told of every image.

    Returns:
        One row an entry, in the same order, with (width, height) after EXIF orientation and the sha256 of the
        file's bytes.

    Raises:
        DataError: two entries have one key, files are missing, or files are empty, truncated, too large or no
            image (JPEG, PNG, BMP, WebP). All of them are named, not only the first.
    """
    require_distinct(entries)
    require_files(entries, root)
    workers = min(16, cores().used)
    rows: list[Sample] = []
    faults: list[str] = []
    progress.start("scan", len(entries), "images")
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter(
            "ignore", Image.DecompressionBombWarning
        )  # such an image is a fault here, not a warning
        for entry, found in zip(
            entries, pool.map(lambda entry: _open(root / entry.path), entries), strict=True
        ):
            if isinstance(found, str):
                faults.append(f"{entry.path}: {found}")
            else:
                size, sha256 = found
                rows.append(Sample(entry.key, entry.path, entry.split, entry.label, entry.box, size, sha256))
            progress.advance()
    progress.finish()
    if faults:
        raise DataError(
            f"{_images(len(faults))} under {root} cannot be read:\n{listing(sorted(faults))}",
            "every image is decoded in full before anything is made from it",
            "download or copy these files again, replace them, or take their names out of the split",
        )
    return tuple(rows)


def require_files(entries: list[Entry], root: Path) -> None:
    """Refuse entries whose file is not there, naming all of them."""
    missing = sorted(entry.path for entry in entries if not (root / entry.path).is_file())
    if missing:
        raise DataError(
            f"{_images(len(missing))} named by the split not found under {root}:\n{listing(missing)}",
            fix="download or copy these files again, or take their names out of the split",
        )


def require_distinct(entries: list[Entry]) -> None:
    """Refuse two files with one key (`a.jpg` and `a.png`, or a file named twice), naming all of them."""
    paths: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        paths[entry.key].append(f"{entry.path} ({entry.split})")
    twice = [
        f"{key}: {' and '.join(sorted(found))}" for key, found in sorted(paths.items()) if len(found) > 1
    ]
    if twice:
        raise DataError(
            f"{len(twice)} {'key is' if len(twice) == 1 else 'keys are'} used twice:\n{listing(twice)}",
            "a sample is known by its key, the file name without its suffix, and belongs to one split",
            "rename or remove one file of each, or take it out of one split",
        )


def require_every_class(entries: list[Entry], classes: tuple[str, ...], fix: str) -> None:
    """Refuse a class that has no image in train or none in test: it cannot be learnt, or not be measured."""
    present = {(entry.split, entry.label) for entry in entries}
    faults = [
        f"{name}: no image in {split}"
        for label, name in enumerate(classes)
        for split in ("train", "test")
        if (split, label) not in present
    ]
    if faults:
        raise DataError(f"not every class is in train and in test:\n{listing(faults)}", fix=fix)


def _open(file: Path) -> tuple[tuple[int, int], str] | str:
    """((width, height), sha256) of an image file, or what is wrong with it."""
    try:
        data = file.read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__
    if not data:
        return "empty file"
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                return f"{width} x {height} pixels, more than the limit of {MAX_PIXELS:,}"
            image.load()
            if image.getexif().get(EXIF_ORIENTATION) in SIDEWAYS:
                width, height = height, width
    except Image.UnidentifiedImageError:
        return "not a JPEG, PNG, BMP or WebP image"
    # On damaged bytes PIL raises OSError, SyntaxError, ValueError, struct.error and more.
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return (width, height), hashlib.sha256(data).hexdigest()


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
