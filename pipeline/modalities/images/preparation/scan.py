"""The scan: every image is read, decoded in full and digested before anything trusts it."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from stillroom.columns import Builder, Rows
from stillroom.errors import DataError, listing
from stillroom.machine import cores
from stillroom.modalities import entries as shared
from stillroom.modalities.entries import require_distinct
from stillroom.modalities.images.decode import UnreadableError, read
from stillroom.modalities.images.samples import Sample
from stillroom.progress import Progress


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample before its file has been opened; the attributes are those of `stillroom.samples.Sample`."""

    key: str
    path: str
    split: str
    label: int
    box: tuple[int, int, int, int] | None = None


@dataclass
class Account(shared.Account):
    """As of every data set.

    Attributes:
        passed_over, skipped: see there.
        formats: the format of each image, by key, as Pillow names it.
    """

    formats: dict[str, str] = field(default_factory=dict)


def scan(entries: list[Entry], root: Path, progress: Progress, account: Account | None = None) -> Rows:
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
    rows = Builder(Sample)
    faults: list[str] = []
    progress.start("scan", len(entries), "images")
    with ThreadPoolExecutor(workers) as pool:
        opened = pool.map(lambda entry: _open(root / entry.path), entries)
        for entry, result in zip(entries, opened, strict=True):
            if isinstance(result, str):
                faults.append(f"{entry.path}: {result}")
            else:
                size, sha256, kind = result
                rows.add(Sample(entry.key, entry.path, entry.split, entry.label, entry.box, size, sha256))
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
    return rows.rows()


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
