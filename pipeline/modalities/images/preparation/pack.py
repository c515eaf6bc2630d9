"""A data set of images as tar shards, in WebDataset's layout: the same table makes the same bytes.

A sample is three members beside each other: `KEY.cls` (its label, if any), `KEY.jpg` (the file as it was) and
`KEY.json` (what else the table has of it). `dataset.json` beside the shards names the classes in label order.
"""

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from stillroom.errors import StillroomError
from stillroom.files import as_json, sync
from stillroom.modalities.images.datasets.shards import FORMAT, NAME
from stillroom.modalities.images.decode import SUFFIXES
from stillroom.modalities.images.pixels import Pixels
from stillroom.modalities.images.samples import Sample
from stillroom.progress import Progress
from stillroom.samples import SPLITS, Samples

# How the bytes of each format begin, for an image whose table no longer says its suffix
_BEGINNINGS = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"BM", ".bmp"),
    (b"GIF8", ".gif"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"RIFF", ".webp"),
)
LONGEST = 200  # bytes of a member's last name, which file systems can hold when a shard is unpacked


def pack(samples: Samples, folder: Path, shard_bytes: int, progress: Progress) -> int:
    """Write the samples of a table as shards; see `Modality.write_shards`.

    Samples are in the order of their keys, one split after the other. The folder appears when all of it is
    there.

    Raises:
        StillroomError: the folder is not empty, or cannot be written.
        DataError: an image cannot be read, or is not the one that `prepare` saw.
        AccessError: this user may not read it.
    """
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise StillroomError(
            f"{folder} is there already" + (", and not empty" if folder.is_dir() else ""),
            "shards are written into a new folder",
            "name another folder, or remove this one",
        )
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    content = Pixels(samples, budget=0)
    names: list[str] = []
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
        unfinished.mkdir(parents=True)
        progress.start("pack", len(samples), "images")
        for split in SPLITS:
            names += _split(samples.in_splits(split), split, unfinished, shard_bytes, content, progress)
        about = {
            "format": FORMAT,
            "dataset": samples.dataset,
            "classes": list(samples.classes),
            "shards": names,
        }
        (unfinished / NAME).write_bytes(as_json(about))
        sync(unfinished / NAME)
        sync(unfinished)
        if folder.is_dir() and not folder.is_symlink():
            folder.rmdir()
        unfinished.rename(folder)
        progress.finish()
    except OSError as error:
        raise StillroomError(
            f"{folder} cannot be written",
            error.strerror or str(error),
            "free the disk, or name another folder",
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return len(names)


def _split(
    samples: Samples, split: str, folder: Path, shard_bytes: int, content: Pixels, progress: Progress
) -> Iterator[str]:
    """Write the shards of one split; the name of each."""
    place, number = 0, 0
    while place < len(samples):
        name = f"{split}-{number:06d}.tar"
        with (folder / name).open("xb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                while place < len(samples) and (not stream.tell() or stream.tell() < shard_bytes):
                    row = samples.rows[place]
                    _add(archive, row, content.bytes_of(row), samples.classes)
                    archive.members.clear()  # type: ignore[attr-defined]  # it would keep all
                    place += 1
                    progress.advance()
            stream.flush()
            os.fsync(stream.fileno())
        yield name
        number += 1


def _add(archive: tarfile.TarFile, row: Sample, content: bytes, classes: tuple[str, ...]) -> None:
    known = row.label >= 0
    about = {
        "key": row.key,
        "label": row.label if known else None,
        "class": classes[row.label] if known else None,
        "split": row.split,
        "box": row.box,
        "group": row.group,
    }
    key = member_key(row.key)
    for suffix, part in (
        *([(".cls", str(row.label).encode())] if known else []),
        (_suffix(row, content), content),
        (".json", json.dumps(about, ensure_ascii=False).encode()),
    ):
        info = tarfile.TarInfo(f"{key}{suffix}")
        info.size, info.mode = len(part), 0o644  # no time, no owner: the same on every machine
        archive.addfile(info, io.BytesIO(part))


def member_key(key: str) -> str:
    """A key as other readers of WebDataset take it: without a dot in its last name, where it would end for
    them, and no name that is hidden, or too long for a file. `KEY.json` has it as it is.
    """
    *folders, last = key.split("/")
    return "/".join([*(_safe(part, r"[%\\]") for part in folders), _safe(last, r"[.%\\]")])


def _safe(part: str, odd: str) -> str:
    """A part of a key with %XX for what is odd in it."""
    safe = re.sub(odd, lambda match: f"%{ord(match[0]):02X}", part)
    if safe.startswith((".", "__")):
        safe = f"%{ord(safe[0]):02X}{safe[1:]}"
    if len(safe.encode()) > LONGEST:
        digest = hashlib.sha256(part.encode()).hexdigest()
        safe = f"{safe.encode()[: LONGEST - 65].decode(errors='ignore')}~{digest}"
    return safe


def _suffix(row: Sample, content: bytes) -> str:
    suffix = Path(row.path).suffix.lower() if row.span is None else ""
    if suffix in SUFFIXES:
        return suffix
    return next((suffix for mark, suffix in _BEGINNINGS if content.startswith(mark)), ".avif")
