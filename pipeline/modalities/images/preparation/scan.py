"""The scan: every image is read, decoded in full and digested before anything trusts it."""

import hashlib
import unicodedata
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from stillroom.errors import DataError, listing
from stillroom.machine import cores
from stillroom.modalities.images.decode import UnreadableError, read
from stillroom.modalities.images.samples import Sample
from stillroom.progress import Progress


@dataclass(frozen=True)
class Entry:
    """A sample before its file has been opened; the attributes are those of `stillroom.samples.Sample`."""

    key: str
    path: str
    split: str
    label: int
    box: tuple[int, int, int, int] | None = None


@dataclass
class Account:
    """What a reader came across beside the samples.

    Attributes:
        formats: the format of each image, by key, as Pillow names it.
        passed_over: names of what was not read, by the reason.
        skipped: names that `data.skip` left out.
    """

    formats: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def pass_over(self, why: str, names: list[str]) -> None:
        """Note files that are not read, if there are any."""
        if names:
            self.passed_over.setdefault(why, []).extend(sorted(names))


def scan(
    entries: list[Entry], root: Path, progress: Progress, account: Account | None = None
) -> tuple[Sample, ...]:
    """Decode every image as training will, in threads (Pillow lets others run while it decodes).

    Args:
        entries: what the data set's reader found, in any order.
        root: the folder that their paths start from.
        progress: gets a step per image.
        account: gets the format of every image.

    Returns:
        One row an entry, in the same order, with (width, height) after EXIF orientation and the sha256 of the
        file's bytes.

    Raises:
        DataError: two entries have one key, files are missing, or files cannot be decoded
            (`stillroom.modalities.images.decode`). All of them are named, not only the first.
    """
    require_distinct(entries)
    require_files(entries, root)
    workers = min(16, cores().used)
    rows: list[Sample] = []
    faults: list[str] = []
    progress.start("scan", len(entries), "images")
    with ThreadPoolExecutor(workers) as pool:
        opened = pool.map(lambda entry: _open(root / entry.path), entries)
        for entry, result in zip(entries, opened, strict=True):
            if isinstance(result, str):
                faults.append(f"{entry.path}: {result}")
            else:
                size, sha256, kind = result
                rows.append(Sample(entry.key, entry.path, entry.split, entry.label, entry.box, size, sha256))
                if account is not None:
                    account.formats[entry.key] = kind
            progress.advance()
    progress.finish()
    if faults:
        raise DataError(
            f"{_images(len(faults))} under {root} cannot be read:\n{listing(sorted(faults))}",
            "every image is decoded in full before anything is made from it",
            "download or copy these files again, replace them, or write their names into a file, one a line, "
            "and set data.skip to it",
        )
    return tuple(rows)


def leave_out(entries: list[Entry], skip: Path | None, root: Path, account: Account) -> list[Entry]:
    """The entries without those that a skip list names.

    Args:
        entries: what the data set's reader found.
        skip: a text file, UTF-8: a path from `root` a line, as messages name it; blank lines and lines that
            begin with # are nothing. None: no such list.
        root: the data set's folder, for the message.
        account: gets what was left out.

    Raises:
        DataError: the file cannot be read, or a line names no file of the data set.
    """
    if skip is None:
        return entries
    try:
        lines = skip.read_bytes().decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(
            f"{skip}, which data.skip names, is not there", fix="set data.skip to where it is"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{skip}, which data.skip names, cannot be read", str(error), "give a text file in UTF-8"
        ) from None
    wanted = {composed(line.strip()): line.strip() for line in lines if line.strip()[:1] not in ("", "#")}
    known = {composed(entry.path) for entry in entries}
    unknown = [line for name, line in wanted.items() if name not in known]
    if unknown:
        raise DataError(
            f"{skip} names files that are not in the data set:\n{listing(unknown)}",
            f"a line is a path from {root}, such as {entries[0].path if entries else 'train/CLASS/IMAGE'}",
            "mend these lines",
        )
    account.skipped += sorted(entry.path for entry in entries if composed(entry.path) in wanted)
    return [entry for entry in entries if composed(entry.path) not in wanted]


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC): accents are written in two ways, which look the same."""
    return unicodedata.normalize("NFC", name)


def require_files(entries: list[Entry], root: Path) -> None:
    """Refuse entries whose file is not there, naming all of them."""
    missing = sorted(entry.path for entry in entries if not (root / entry.path).is_file())
    if missing:
        raise DataError(
            f"{_images(len(missing))} not found under {root}:\n{listing(missing)}",
            "nothing is there, or a link that leads nowhere, or no regular file",
            "download or copy these files again, or leave them out: write their names into a file, and set "
            "data.skip to it",
        )


def require_distinct(entries: list[Entry]) -> None:
    """Refuse two files with one key (`a.jpg` and `a.png`, or a file named twice), naming all of them."""
    paths: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        paths[entry.key].append(f"{entry.path} ({entry.split})")
    twice = [f"{key}: {' and '.join(sorted(uses))}" for key, uses in sorted(paths.items()) if len(uses) > 1]
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
        raise DataError(f"not every class is in train and in test:\n{listing(faults)}", _alike(classes), fix)


def _alike(classes: tuple[str, ...]) -> str:
    """Class names that look the same, told apart."""
    looks: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        looks["".join(unicodedata.normalize("NFKC", name).casefold().split())].append(ascii(name))
    alike = [" and ".join(names) for names in looks.values() if len(names) > 1]
    return f"some names differ only in case, blanks or such: {', '.join(alike[:5])}" if alike else ""


def require_two_classes(classes: tuple[str, ...], root: Path) -> None:
    """Refuse a data set of one class, or of none: every answer would be right."""
    if len(classes) < 2:
        raise DataError(
            f"{root} has {len(classes)} class{'' if len(classes) == 1 else 'es'}"
            + (f": {classes[0]}" if classes else ""),
            "there is nothing to tell apart: accuracy would be 100% whatever a model answers",
            "add the images of another class",
        )


def _open(file: Path) -> tuple[tuple[int, int], str, str] | str:
    """((width, height), sha256, format) of an image file, or what is wrong with it."""
    try:
        content = file.read_bytes()
        pixels, kind = read(content)
    except OSError as error:
        return error.strerror or type(error).__name__
    except UnreadableError as error:
        return str(error)
    height, width, _ = pixels.shape
    return (width, height), hashlib.sha256(content).hexdigest(), kind


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
