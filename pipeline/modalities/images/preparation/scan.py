"""The scan: every image is read, decoded in full and digested before anything trusts it."""

import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from stillroom.columns import Builder, Rows
from stillroom.errors import DataError, listing
from stillroom.machine import cores
from stillroom.modalities import entries as shared
from stillroom.modalities.entries import require_distinct
from stillroom.modalities.images.decode import UnreadableError, read
from stillroom.modalities.images.samples import Sample
from stillroom.modalities.remembered import Memory, stamp
from stillroom.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample before its file has been opened; the attributes are those of `stillroom.samples.Sample`."""

    key: str
    path: str
    split: str
    label: int
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """The format of an image, as Pillow names it."""

    key: str
    format: str


@dataclass
class Account(shared.Account):
    """As of every data set.

    Attributes:
        passed_over, skipped: see there.
        formats: gets the format of each image, a `Format` each.
        memory: what earlier runs found; what has not changed is not read again.
    """

    formats: Builder = field(default_factory=lambda: Builder(Format))
    memory: Memory = field(default_factory=lambda: Memory(None))


@dataclass(frozen=True, slots=True)
class Found:
    """What is in an image file: (width, height) after EXIF orientation, digest and format."""

    size: tuple[int, int]
    sha256: bytes
    kind: str


def scan(entries: list[Entry], root: Path, progress: Progress, account: Account | None = None) -> Rows:
    """Decode every image as training will, in threads (Pillow lets others run while it decodes).

    Args:
        entries: what the data set's reader found, in any order.
        root: the folder that their paths start from.
        progress: gets a step per image.
        account: gets the format of every image, and remembers what was read.

    Returns:
        One row an entry, in the same order, with (width, height) after EXIF orientation and the sha256 of the
        file's bytes.

    Raises:
        DataError: two entries have one key, files are missing, or files cannot be decoded
            (`stillroom.modalities.images.decode`). All of them are named, not only the first.
    """
    account = Account() if account is None else account
    require_distinct(entries)
    stamps = require_files(entries, root)
    memory, rows = account.memory, Builder(Sample)
    known = memory.find([root / entry.path for entry in entries], stamps)
    faults: list[str] = []
    unchanged = 0

    before = [remembered(memory, row) if row >= 0 else None for row in known.tolist()]
    unknown = (root / entry.path for entry, found in zip(entries, before, strict=True) if found is None)
    progress.start("scan", len(entries), "images")
    with ThreadPoolExecutor(workers()) as pool:
        opened = in_order(pool, _open, unknown)
        for entry, mark, same in zip(entries, stamps, before, strict=True):
            found = next(opened) if same is None else same
            if isinstance(found, str):
                faults.append(f"{entry.path}: {found}")
            else:
                digest = found.sha256.hex()
                rows.add(
                    Sample(entry.key, entry.path, entry.split, entry.label, entry.box, found.size, digest)
                )
                account.formats.add(Format(entry.key, found.kind))
                unchanged += same is not None
                if same is None:
                    memory.note(root / entry.path, mark, found.sha256, size=found.size, kind=found.kind)
            progress.advance()
    progress.finish()
    memory.save()
    tell_unchanged(unchanged, len(entries), memory, progress)
    if faults:
        raise unread(faults, str(root))
    return rows.rows()


def workers() -> int:
    """Threads that decode."""
    return min(16, cores().used)


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int = 256
) -> Iterator[Result]:
    """What `work` makes of each item, in order; only so many are in work or wait at a time."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def remembered(memory: Memory, row: int) -> Found | None:
    """What the memory has of an image; None: not all of it."""
    picture = memory.picture(row)
    return None if picture is None else Found(picture[0], memory.sha256(row), picture[1])


def tell_unchanged(unchanged: int, count: int, memory: Memory, progress: Progress) -> None:
    """Say how many files were not read again, if any."""
    if unchanged:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(memory.since))
        progress.note(f"{unchanged:,} of {count:,} files unchanged since {when} (--full reads them again)")


def unread(faults: list[str], root: str) -> DataError:
    """Images that give no pixels, all of them."""
    return DataError(
        f"{_images(len(faults))} under {root} cannot be read:\n{listing(sorted(faults))}",
        "every image is decoded in full before anything is made from it",
        "download or copy these files again, replace them, or write their names into a file, one a line, "
        "and set data.skip to it",
    )


def require_files(entries: list[Entry], root: Path) -> np.ndarray:
    """Refuse entries whose file is not there, naming all of them.

    Returns:
        `remembered.stamp` of each, int64 [n, 4].
    """
    stamps = np.empty((len(entries), 4), np.int64)
    missing = []
    for place, entry in enumerate(entries):
        try:
            status = os.stat(root / entry.path)
            there = stat.S_ISREG(status.st_mode)
        except (OSError, ValueError):
            there = False
        if there:
            stamps[place] = stamp(status)
        else:
            missing.append(entry.path)
    if missing:
        raise DataError(
            f"{_images(len(missing))} not found under {root}:\n{listing(sorted(missing))}",
            "nothing is there, or a link that leads nowhere, or no regular file",
            "download or copy these files again, or leave them out: write their names into a file, and set "
            "data.skip to it",
        )
    return stamps


def examine(content: bytes) -> Found | str:
    """What is in the bytes of an image file, or what is wrong with them."""
    try:
        pixels, kind = read(content)
    except UnreadableError as error:
        return str(error)
    height, width, _ = pixels.shape
    return Found((width, height), hashlib.sha256(content).digest(), kind)


def _open(file: Path) -> Found | str:
    try:
        content = file.read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__
    return examine(content)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
