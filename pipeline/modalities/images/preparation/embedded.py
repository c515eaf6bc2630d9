"""Images that lie in no files of their own: written once into tar shards below `artifacts/data`, one by one.

The table then has each by its place in a shard, and all later stages read it as any other.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from stillroom.columns import Builder, Rows
from stillroom.errors import DataError, StillroomError, listing
from stillroom.files import as_json
from stillroom.modalities.images.datasets.shards import FORMAT, NAME, require_distinct_keys
from stillroom.modalities.images.preparation import scan
from stillroom.modalities.images.preparation.pack import Shards
from stillroom.modalities.images.preparation.scan import Account, Format, Found
from stillroom.modalities.images.samples import Sample
from stillroom.modalities.remembered import Memory
from stillroom.progress import Progress
from stillroom.samples import UNLABELLED

FOLDER = "images"  # below artifacts/data
SHARD_BYTES = 2**28
AHEAD = 64  # images that wait to be decoded, at most


@dataclass(frozen=True, slots=True)
class Embedded:
    """An image with its bytes.

    Attributes:
        key, label: of its row of the table.
        content: of an image file.
        shown: where it is, for messages.
        source: the file that it is read from.
        stamp: of that file, as `remembered.stamp`.
        number: of the image in that file.
    """

    key: str
    label: int
    content: bytes
    shown: str
    source: Path
    stamp: tuple[int, int, int, int]
    number: int


def write_out(
    dataset: str,
    classes: tuple[str, ...],
    parts: dict[str, Iterator[Embedded]],
    count: int,
    folder: Path,
    progress: Progress,
    account: Account,
) -> tuple[Rows, Path]:
    """Write images as shards into a new folder, each decoded once as training will.

    Args:
        dataset: its name.
        parts: the images of each split, read as they are written.
        count: how many there are.
        folder: what `prepare` writes.
        progress: gets a step an image.
        account: gets formats, and remembers what was decoded.

    Returns:
        the rows, and the folder that their paths start from.

    Raises:
        DataError: images cannot be decoded, or keys are there twice: all are named.
        StillroomError: the disk cannot take them.
    """
    root, memory = folder / FOLDER, account.memory
    rows, faults = Builder(Sample), []
    names: list[str] = []
    unchanged = 0
    try:
        root.mkdir(parents=True)
        progress.start("write", count, "images")
        with ThreadPoolExecutor(scan.workers()) as pool:
            for split, images in parts.items():
                with Shards(root, split, SHARD_BYTES) as shards:
                    for image, found, same in scan.in_order(pool, _examined, _known(images, memory), AHEAD):
                        progress.advance()
                        if isinstance(found, str):
                            faults.append(f"{image.shown}: {found}")
                            continue
                        digest = found.sha256.hex()
                        label = -1 if split == UNLABELLED else image.label
                        row = Sample(image.key, "", split, label, None, found.size, digest)
                        name, start = shards.add(row, image.content, classes[image.label])
                        rows.add(replace(row, path=name, span=(start, len(image.content))))
                        account.formats.add(Format(image.key, found.kind))
                        unchanged += same
                        if not same:
                            memory.note(
                                image.source, image.stamp, found.sha256, image.number, found.size, found.kind
                            )
                names += shards.names
        progress.finish()
        about = {"format": FORMAT, "dataset": dataset, "classes": list(classes), "shards": names}
        (root / NAME).write_bytes(as_json(about))
    except OSError as error:
        raise StillroomError(
            f"{root} cannot be written", error.strerror or str(error), "free the disk, or make it writable"
        ) from None
    memory.save()
    scan.tell_unchanged(unchanged, count, memory, progress)
    if faults:
        raise DataError(
            f"{len(faults):,} {'image' if len(faults) == 1 else 'images'} cannot be used:\n{listing(faults)}",
            "every image is decoded in full before anything is made from it",
            "make the file anew without them, or write their keys into a file, one a line, and set data.skip "
            "to it",
        )
    made = rows.rows()
    require_distinct_keys(made)
    return made, root


def _known(images: Iterator[Embedded], memory: Memory) -> Iterator[tuple[Embedded, Found | None]]:
    """The images, with what is remembered of each."""
    source, rows = None, {}
    for image in images:
        if image.source != source:
            source, rows = image.source, memory.find_in(image.source, image.stamp)
        yield image, scan.remembered(memory, rows[image.number]) if image.number in rows else None


def _examined(given: tuple[Embedded, Found | None]) -> tuple[Embedded, Found | str, bool]:
    image, before = given
    return image, before or scan.examine(image.content), before is not None
